//go:build engine

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	classic "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	classictypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

func TestOnTheEngine(t *testing.T) {
	either := []any{false, true}
	var shared *actiontest.Network
	var pool []string
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "isolate-instance",
		Act: func(_ ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(access)
		},
		Factors: []actiontest.Factor{
			{Name: "interfaces", Levels: []any{1, 2, 3, 4}},
			{Name: "groups", Levels: []any{1, 2, 5, 16}},
			{Name: "dual stack", Levels: either},
			{Name: "volumes", Levels: []any{1, 3}},
			{Name: "protected", Levels: either}, {Name: "ends", Levels: either}, {Name: "keeps", Levels: either},
			{Name: "place", Levels: []any{"none", "scaling", "at its minimum", "balancers"}},
			{Name: "in a new network", Levels: either},
		},
		Usual: actiontest.Choice{"interfaces": 3, "groups": 2, "dual stack": true, "volumes": 2, "protected": false, "ends": true, "keeps": false, "place": "none", "in a new network": true},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			network, groups := actiontest.NewNetwork(t, e), []string(nil)
			if c.Is("in a new network") {
				for range c.Number("groups") + 1 {
					groups = append(groups, network.Group(t, e))
				}
			} else {
				if shared == nil {
					shared = &network
					for range 20 {
						pool = append(pool, network.Group(t, e))
					}
				}
				network, groups = *shared, pool
			}
			launch := actiontest.Launch{Network: &network, DualStack: c.Is("dual stack"), Volumes: c.Number("volumes"), Protected: c.Is("protected"), Ends: c.Is("ends"), Keeps: c.Is("keeps")}
			for i := range c.Number("interfaces") {
				var worn []string
				for n := range c.Number("groups") {
					worn = append(worn, groups[(i+n)%len(groups)])
				}
				launch.Interfaces = append(launch.Interfaces, worn)
			}
			in := actiontest.NewInstance(t, e, launch)
			serves, open := serve(t, e, in, network, c.Text("place"))
			return actiontest.Subject{
				Target: in.ARN,
				Stands: func() any {
					out := in.State(t)
					maps.Copy(out, serves())
					return out
				},
				Open: func() string {
					s := in.State(t)
					list := []string{in.Reachable(t), open()}
					if s["protected"] != true || s["shutdown"] != "stop" {
						list = append(list, fmt.Sprintf("protected %v, a shutdown means %v", s["protected"], s["shutdown"]))
					}
					for _, v := range in.Volumes {
						if s[v+" goes with it"] == true {
							list = append(list, v+" goes with it")
						}
					}
					return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), "; ")
				},
				Change: func() {
					actiontest.Must(ec2.NewFromConfig(e.Owner).ModifyNetworkInterfaceAttribute(t.Context(), &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &in.Interfaces[0], Groups: groups[:1]}))(t)
				},
				Delete: in.Terminate(t),
				// the second of three interfaces
				Role: account.Network, Lacks: []string{"ec2:ModifyNetworkInterfaceAttribute"}, On: []string{"arn:aws:ec2:us-east-1:" + actiontest.Account + ":network-interface/" + in.Interfaces[1%len(in.Interfaces)]},
			}
		},
	})
}

// serve puts an instance behind balancers or into an Auto Scaling group. serves reads where it is, open says where it serves.
func serve(t *testing.T, e *actiontest.Engine, in *actiontest.Instance, n actiontest.Network, where string) (serves func() map[string]any, open func() string) {
	t.Helper()
	ctx, id := t.Context(), actiontest.Name("clinic")
	switch where {
	case "scaling", "at its minimum":
		api := autoscaling.NewFromConfig(e.Owner)
		actiontest.Must(api.CreateLaunchConfiguration(ctx, &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: &id, ImageId: aws.String("ami-12c6146b"), InstanceType: aws.String("t3.micro")}))(t)
		actiontest.Must(api.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: &id, LaunchConfigurationName: &id, MinSize: aws.Int32(0), MaxSize: aws.Int32(4), DesiredCapacity: aws.Int32(0), AvailabilityZones: []string{"us-east-1a"}}))(t)
		actiontest.Must(api.AttachInstances(ctx, &autoscaling.AttachInstancesInput{AutoScalingGroupName: &id, InstanceIds: []string{in.ID}}))(t)
		if where == "at its minimum" {
			actiontest.Must(api.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &id, MinSize: aws.Int32(1)}))(t)
		}
		t.Cleanup(func() {
			api.DeleteAutoScalingGroup(context.Background(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &id, ForceDelete: aws.Bool(true)})
		})
		state := func() string {
			scaled := actiontest.Must(api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{in.ID}}))(t).AutoScalingInstances
			if len(scaled) == 0 {
				return "none"
			}
			return *scaled[0].LifecycleState
		}
		return func() map[string]any { return map[string]any{"scaling": state()} }, func() string {
			if s := state(); !strings.HasPrefix(s, "Standby") && s != "EnteringStandby" && s != "none" {
				return "Auto Scaling has it " + s
			}
			return ""
		}
	case "balancers":
		api, old := elb.NewFromConfig(e.Owner), classic.NewFromConfig(e.Owner)
		group := actiontest.Must(api.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: &id, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: &n.VPC, TargetType: elbtypes.TargetTypeEnumInstance}))(t).TargetGroups[0].TargetGroupArn
		actiontest.Must(old.CreateLoadBalancer(ctx, &classic.CreateLoadBalancerInput{LoadBalancerName: &id, AvailabilityZones: []string{"us-east-1a"},
			Listeners: []classictypes.Listener{{InstancePort: aws.Int32(80), LoadBalancerPort: 80, Protocol: aws.String("http")}}}))(t)
		actiontest.Must(old.RegisterInstancesWithLoadBalancer(ctx, &classic.RegisterInstancesWithLoadBalancerInput{LoadBalancerName: &id, Instances: []classictypes.Instance{{InstanceId: &in.ID}}}))(t)
		actiontest.Must(api.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: group, Targets: []elbtypes.TargetDescription{{Id: &in.ID}, {Id: &in.ID, Port: aws.Int32(8080)}}}))(t)
		t.Cleanup(func() { // each is looked at by every isolation
			api.DeleteTargetGroup(context.Background(), &elb.DeleteTargetGroupInput{TargetGroupArn: group})
			old.DeleteLoadBalancer(context.Background(), &classic.DeleteLoadBalancerInput{LoadBalancerName: &id})
		})
		state := func() map[string]any {
			out := map[string]any{}
			for _, h := range actiontest.Must(api.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: group}))(t).TargetHealthDescriptions {
				if *h.Target.Id == in.ID && h.TargetHealth.State != elbtypes.TargetHealthStateEnumDraining {
					out[fmt.Sprintf("target at port %d", *h.Target.Port)] = true
				}
			}
			b := actiontest.Must(old.DescribeLoadBalancers(ctx, &classic.DescribeLoadBalancersInput{LoadBalancerNames: []string{id}}))(t)
			if len(b.LoadBalancerDescriptions[0].Instances) > 0 {
				out["classic balancer"] = true
			}
			return out
		}
		return state, func() string {
			if s := state(); len(s) > 0 {
				return fmt.Sprint("it serves behind ", s)
			}
			return ""
		}
	}
	return func() map[string]any { return nil }, func() string { return "" }
}

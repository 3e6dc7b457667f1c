//go:build engine

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	classic "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	classictypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// An instance of an Auto Scaling group, behind a target group and a classic balancer.
func TestPlaceOnTheEngine(t *testing.T) {
	cfg, ctx := actiontest.Engine(t), t.Context()
	machines, scaler, balancer, old := ec2.NewFromConfig(cfg), autoscaling.NewFromConfig(cfg), elb.NewFromConfig(cfg), classic.NewFromConfig(cfg)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := fmt.Sprintf("clinic-%d", time.Now().UnixNano()%1e9)
	subnets, err := machines.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	must(err)
	image, err := machines.RegisterImage(ctx, &ec2.RegisterImageInput{Name: &id, RootDeviceName: aws.String("/dev/sda1")})
	must(err)
	_, err = scaler.CreateLaunchConfiguration(ctx, &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: &id, ImageId: image.ImageId, InstanceType: aws.String("t3.micro")})
	must(err)
	group, err := balancer.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: &id, Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: subnets.Subnets[0].VpcId, TargetType: elbtypes.TargetTypeEnumInstance})
	must(err)
	arn := group.TargetGroups[0].TargetGroupArn
	_, err = old.CreateLoadBalancer(ctx, &classic.CreateLoadBalancerInput{LoadBalancerName: &id, AvailabilityZones: []string{"us-east-1a"},
		Listeners: []classictypes.Listener{{InstancePort: aws.Int32(80), LoadBalancerPort: 80, Protocol: aws.String("http")}}})
	must(err)
	_, err = scaler.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: &id, LaunchConfigurationName: &id, MinSize: aws.Int32(1), MaxSize: aws.Int32(4), DesiredCapacity: aws.Int32(2),
		VPCZoneIdentifier: subnets.Subnets[0].SubnetId, TargetGroupARNs: []string{*arn}})
	must(err)
	groups, err := scaler.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{id}})
	must(err)
	instance := groups.AutoScalingGroups[0].Instances[0].InstanceId
	_, err = old.RegisterInstancesWithLoadBalancer(ctx, &classic.RegisterInstancesWithLoadBalancerInput{LoadBalancerName: &id, Instances: []classictypes.Instance{{InstanceId: instance}}})
	must(err)
	_, err = balancer.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: arn, Targets: []elbtypes.TargetDescription{{Id: instance, Port: aws.Int32(8080)}}})
	must(err)

	act := isolation{
		reads:   func(context.Context, action.Call) (reads, error) { return machines, nil },
		changes: func(context.Context, action.Call, ...account.Statement) (changes, error) { return machines, nil },
		looks:   func(context.Context, action.Call) (looks, error) { return looks{scaler, balancer, old}, nil },
		moves: func(context.Context, action.Call, ...account.Statement) (moves, error) {
			return moves{scaler, balancer, old}, nil
		},
		remarks: &sync.Map{}, found: &sync.Map{},
	}
	stands := func() any {
		out := map[string]any{}
		in, err := machines.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{*instance}}}})
		must(err)
		for _, n := range in.NetworkInterfaces {
			var worn []string
			for _, g := range n.Groups {
				worn = append(worn, *g.GroupId)
			}
			out[*n.NetworkInterfaceId] = slices.Sorted(slices.Values(worn))
		}
		scaled, err := scaler.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{*instance}})
		must(err)
		groups, err := scaler.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{id}})
		must(err)
		out["scaling"] = fmt.Sprintf("%s %d", *scaled.AutoScalingInstances[0].LifecycleState, *groups.AutoScalingGroups[0].DesiredCapacity)
		health, err := balancer.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: arn})
		must(err)
		for _, h := range health.TargetHealthDescriptions {
			if *h.Target.Id == *instance && h.TargetHealth.State != elbtypes.TargetHealthStateEnumDraining {
				out[fmt.Sprintf("target %d", *h.Target.Port)] = true
			}
		}
		b, err := old.DescribeLoadBalancers(ctx, &classic.DescribeLoadBalancersInput{LoadBalancerNames: []string{id}})
		must(err)
		out["classic"] = len(b.LoadBalancerDescriptions[0].Instances)
		return out
	}
	t.Log(stands())
	actiontest.RoundTrip(t, actiontest.New(t, "isolate-instance", act), "arn:aws:ec2:us-east-1:222222222222:instance/"+*instance, nil, stands, func(got incident.Result) {
		now := stands().(map[string]any)
		if !strings.HasPrefix(now["scaling"].(string), "Standby") || now["target 80"] != nil || now["target 8080"] != nil || now["classic"] != 0 {
			t.Errorf("%s, but %v", got.Outcome, now)
		}
		t.Log(got.Changes)
	})
}

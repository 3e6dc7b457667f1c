// isolate-instance cuts an instance off the network: every interface gets nothing but the isolation group of its VPC, which
// has no rule in either direction and family, and tracked connections die, but for those that AWS tracks under every group, as
// through a NAT gateway: the result says so. Before that it turns termination protection on, keeps the volumes on termination,
// makes a shutdown a stop, and takes the instance out of the service of its Auto Scaling group and its balancers, so that the
// evidence stays.
//
// Second time: what is isolated already is left alone; what a broken run left is finished, the interfaces first that it left
// open. The groups before are the ones that were first recorded.
//
// Undo: exactly the earlier groups of each interface, the earlier attributes, and the earlier place in Auto Scaling and behind
// balancers.
package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	classic "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
)

// reads are the calls made with the role Read.
type reads interface {
	instance.API
	DescribeInstanceAttribute(context.Context, *ec2.DescribeInstanceAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceAttributeOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput, ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error)
}

// changes are the calls made with the role Network.
type changes interface {
	ModifyInstanceAttribute(context.Context, *ec2.ModifyInstanceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyInstanceAttributeOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	CreateSecurityGroup(context.Context, *ec2.CreateSecurityGroupInput, ...func(*ec2.Options)) (*ec2.CreateSecurityGroupOutput, error)
	AuthorizeSecurityGroupIngress(context.Context, *ec2.AuthorizeSecurityGroupIngressInput, ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error)
	AuthorizeSecurityGroupEgress(context.Context, *ec2.AuthorizeSecurityGroupEgressInput, ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupEgressOutput, error)
	RevokeSecurityGroupEgress(context.Context, *ec2.RevokeSecurityGroupEgressInput, ...func(*ec2.Options)) (*ec2.RevokeSecurityGroupEgressOutput, error)
}

// isolation is the action. Its fields: eni-…/groups, eni-…/vpc (never changed), disableApiTermination, shutdownBehavior,
// vol-…/deleteOnTermination, and those of its place. A field that AWS does not let anybody set is absent.
type isolation struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call, ...account.Statement) (changes, error)
	looks   func(context.Context, action.Call) (looks, error)
	moves   func(context.Context, action.Call, ...account.Statement) (moves, error)
	// remarks has what Apply has to say of a target since the last Notes, found which target groups have it.
	remarks, found *sync.Map
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("isolate-instance", wired(b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(access account.Access) isolation {
	return isolation{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{Actions: []string{
				"ec2:DescribeInstances", "ec2:DescribeInstanceAttribute", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups",
			}, Resources: []string{"*"}}) // EC2 has no resource level for Describe
			return ec2.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call, allow ...account.Statement) (changes, error) {
			cfg, err := access.Config(ctx, account.Network, c.Scope(), allow...)
			return ec2.NewFromConfig(cfg), err
		},
		looks: func(ctx context.Context, c action.Call) (looks, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{Actions: []string{
				"autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeAutoScalingGroups",
				"elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeLoadBalancers",
			}, Resources: []string{"*"}}) // none of them has a resource level
			return looks{autoscaling.NewFromConfig(cfg), elb.NewFromConfig(cfg), classic.NewFromConfig(cfg)}, err
		},
		moves: func(ctx context.Context, c action.Call, allow ...account.Statement) (moves, error) {
			cfg, err := access.Config(ctx, account.Network, c.Scope(), allow...)
			return moves{autoscaling.NewFromConfig(cfg), elb.NewFromConfig(cfg), classic.NewFromConfig(cfg)}, err
		},
		remarks: &sync.Map{}, found: &sync.Map{},
	}
}

// Observe reads interfaces with their groups, the attributes that guard the evidence, and the instance's place.
func (i isolation) Observe(ctx context.Context, c action.Call) (action.State, error) {
	v, err := i.look(ctx, c)
	if err != nil {
		return nil, err
	}
	s, err := v.state(ctx)
	if err != nil {
		return nil, err
	}
	p, err := i.locate(ctx, c, v)
	switch {
	case err == nil:
		maps.Copy(s, p.state())
	case v.isolated():
		return nil, err
	default:
		// The network does not wait for what is slow or broken elsewhere; the next look sees the place, or fails.
		i.remark(c, "not known before its network was cut: "+err.Error())
	}
	return s, nil
}

// contained is what the attributes are when the instance is contained.
func contained(field string) (string, bool) {
	switch {
	case field == "disableApiTermination":
		return "true", true
	case field == "shutdownBehavior":
		return "stop", true
	case strings.HasSuffix(field, "/deleteOnTermination"):
		return "false", true
	}
	return "", false
}

// Contained: every interface holds only isolation groups that were read to be without any rule, and the evidence is guarded.
func (i isolation) Contained(_ action.Call, s action.State) bool {
	for f, v := range s {
		if want, ok := contained(f); ok && v != want {
			return false
		}
		if want, ok := placed(f, v); ok && v != want {
			return false
		}
		if eni, ok := strings.CutSuffix(f, "/vpc"); ok && !strings.HasSuffix(s[eni+"/groups"], noRules) {
			return false
		}
	}
	return true
}

// Intent names the isolation groups by their VPC, because looking for them is Prepare's.
func (i isolation) Intent(_ action.Call, now action.State) (action.State, error) {
	return intent(now, func(vpc string) string { return "isolation group of " + vpc }), nil
}

// Prepare finds or makes the isolation group of each VPC that the instance has interfaces in.
func (i isolation) Prepare(ctx context.Context, c action.Call, now action.State) (action.State, error) {
	made := map[string]string{}
	var failed error
	s := intent(now, func(vpc string) string {
		if made[vpc] == "" && failed == nil {
			made[vpc], failed = i.group(ctx, c, vpc, isolating)
		}
		return made[vpc] + noRules
	})
	return s, failed
}

func intent(now action.State, group func(vpc string) string) action.State {
	s := action.State{}
	for f, v := range now {
		if want, ok := contained(f); ok {
			s[f] = want
		}
		if want, ok := placed(f, v); ok {
			s[f] = want
		}
		if eni, ok := strings.CutSuffix(f, "/vpc"); ok && !strings.HasSuffix(now[eni+"/groups"], noRules) {
			s[eni+"/groups"] = group(v)
		}
	}
	return s
}

// Apply guards the evidence, leaves Auto Scaling and balancers, then cuts the network; a failure does not keep it from what
// comes after.
func (i isolation) Apply(ctx context.Context, c action.Call, observed, intent action.State) error {
	v, err := i.look(ctx, c)
	if err != nil {
		return err
	}
	now, err := v.state(ctx)
	if err != nil {
		return err
	}
	api, err := i.changes(ctx, c, v.allow()...)
	if err != nil {
		return err
	}
	return errors.Join(v.attributes(ctx, api, now, intent), i.leave(ctx, c, v, observed), i.cut(ctx, c, v, api, intent))
}

// Restore gives the interfaces their earlier groups and the instance its earlier attributes and place.
func (i isolation) Restore(ctx context.Context, c action.Call, now, before action.State) error {
	v, err := i.look(ctx, c)
	if err != nil {
		return err
	}
	api, err := i.changes(ctx, c, v.allow()...)
	if err != nil {
		return err
	}
	return errors.Join(v.regroup(ctx, api, before), v.attributes(ctx, api, now, before), i.comeBack(ctx, c, v, before))
}

// Tags are the instance's.
func (i isolation) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	v, err := i.look(ctx, c)
	if err != nil {
		return nil, err
	}
	return v.tags(), nil
}

func (i isolation) remark(c action.Call, text string) {
	said, _ := i.remarks.LoadOrStore(c.Target.ARN, []string(nil))
	if have := said.([]string); !slices.Contains(have, text) {
		i.remarks.Store(c.Target.ARN, append(slices.Clone(have), text))
	}
}

// Notes say what no security group cuts and no attribute keeps.
func (i isolation) Notes(c action.Call, s action.State) []string {
	notes := []string{
		"not cut by security groups: the VPC's DNS resolver, instance metadata, time synchronization, the EC2 serial console",
		// AWS: Amazon EC2 security group connection tracking, "Automatically tracked connections".
		"connections through a NAT gateway, a Network Load Balancer, a VPC endpoint, an egress-only internet gateway, Global Accelerator or Network Firewall are tracked under every group: those that were open may live for up to five days",
	}
	if said, ok := i.remarks.LoadAndDelete(c.Target.ARN); ok {
		notes = append(notes, said.([]string)...)
	}
	_, protected := s["disableApiTermination"]
	_, stops := s["shutdownBehavior"]
	switch {
	case !protected:
		notes = append(notes, "a Spot instance: it has no termination protection, and AWS may take it back at any time")
	case !stops:
		notes = append(notes, "its root is on an instance store: it cannot be stopped, a shutdown ends it")
	}
	return append(notes, "not kept: what is in memory or on instance-store volumes, if it is stopped or terminated")
}

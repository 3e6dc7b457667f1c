package main

import (
	"context"
	"fmt"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// scalingReads are the calls made with the role Read.
type scalingReads interface {
	DescribeAutoScalingInstances(context.Context, *autoscaling.DescribeAutoScalingInstancesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingInstancesOutput, error)
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
}

// scalingChanges are the calls made with the role Network.
type scalingChanges interface {
	EnterStandby(context.Context, *autoscaling.EnterStandbyInput, ...func(*autoscaling.Options)) (*autoscaling.EnterStandbyOutput, error)
	ExitStandby(context.Context, *autoscaling.ExitStandbyInput, ...func(*autoscaling.Options)) (*autoscaling.ExitStandbyOutput, error)
	DetachInstances(context.Context, *autoscaling.DetachInstancesInput, ...func(*autoscaling.Options)) (*autoscaling.DetachInstancesOutput, error)
	AttachInstances(context.Context, *autoscaling.AttachInstancesInput, ...func(*autoscaling.Options)) (*autoscaling.AttachInstancesOutput, error)
}

// scaling is an instance's part in an Auto Scaling group; no group means none.
type scaling struct {
	group string
	state string // inService, inStandby, ending
	// spare tells that the group may have one instance less.
	spare bool
}

const (
	inService = " in service"
	inStandby = " standby"
	ending    = " ending"
	noScaling = "none"
)

func (s scaling) value() string {
	if s.group == "" {
		return noScaling
	}
	return s.group + s.state
}

// scalingOf reads a value of the field "scaling".
func scalingOf(value string) scaling {
	for _, state := range []string{inService, inStandby, ending} {
		if group, ok := strings.CutSuffix(value, state); ok {
			return scaling{group: group, state: state}
		}
	}
	return scaling{}
}

func (s scaling) arn(v *view) string {
	t := v.call.Target
	return fmt.Sprintf("arn:%s:autoscaling:%s:%s:autoScalingGroup:*:autoScalingGroupName/%s", t.Partition, t.Region, t.Account, s.group)
}

// readScaling reads the instance's group. A state on the way counts as the one that it leads to: draining connections can take
// minutes, and health checks end with the beginning.
func readScaling(ctx context.Context, api scalingReads, v *view) (scaling, error) {
	out, err := api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{*v.instance.InstanceId}})
	if err != nil {
		return scaling{}, fmt.Errorf("read the Auto Scaling group of %s: %w", *v.instance.InstanceId, err)
	}
	if len(out.AutoScalingInstances) == 0 {
		return scaling{}, nil
	}
	in := out.AutoScalingInstances[0]
	s := scaling{group: aws.ToString(in.AutoScalingGroupName), state: inService}
	switch state := types.LifecycleState(aws.ToString(in.LifecycleState)); {
	case state == types.LifecycleStateStandby, state == types.LifecycleStateEnteringStandby:
		s.state = inStandby
	case state == types.LifecycleStateDetaching, state == types.LifecycleStateDetached:
		return scaling{}, nil
	case strings.Contains(string(state), "Terminat"):
		s.state = ending
	}
	if s.state != inService {
		return s, nil
	}
	groups, err := api.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{s.group}})
	if err != nil {
		return scaling{}, fmt.Errorf("read Auto Scaling group %s: %w", s.group, err)
	}
	for _, g := range groups.AutoScalingGroups {
		s.spare = aws.ToInt32(g.DesiredCapacity) > aws.ToInt32(g.MinSize)
	}
	return s, nil
}

// standby takes the instance out of its group's service. Where the group may have one instance less it gets one less, which
// coming back makes good exactly; where not, it starts another in this one's place. Where standby is not possible (the
// instance is not in service yet, say) it is detached.
func (i isolation) standby(ctx context.Context, c action.Call, api scalingChanges, v *view, s scaling) error {
	switch s.state {
	case ending:
		i.remark(c, "Auto Scaling group "+s.group+" is ending it already: its volumes stay, the instance does not")
		return nil
	case inService:
	default:
		return nil
	}
	ids := []string{*v.instance.InstanceId}
	_, err := api.EnterStandby(ctx, &autoscaling.EnterStandbyInput{AutoScalingGroupName: &s.group, InstanceIds: ids, ShouldDecrementDesiredCapacity: &s.spare})
	if err == nil {
		if !s.spare {
			i.remark(c, "Auto Scaling group "+s.group+" is at its minimum: it starts another instance in this one's place")
		}
		return nil
	}
	if instance.Code(err) != "ValidationError" {
		return fmt.Errorf("put %s into standby in Auto Scaling group %s: %w", ids[0], s.group, err)
	}
	if err := c.Instead(ctx, action.State{"scaling": noScaling}); err != nil {
		return err
	}
	_, again := api.DetachInstances(ctx, &autoscaling.DetachInstancesInput{AutoScalingGroupName: &s.group, InstanceIds: ids, ShouldDecrementDesiredCapacity: &s.spare})
	if again != nil {
		return fmt.Errorf("standby in Auto Scaling group %s is not possible (%w), nor is detaching %s: %w", s.group, err, ids[0], again)
	}
	i.remark(c, "detached from Auto Scaling group "+s.group+", because standby was not possible")
	return nil
}

// resume puts the instance back into its group's service. The desired capacity grows by one; a group that is at its maximum
// takes nobody.
func (i isolation) resume(ctx context.Context, api scalingChanges, v *view, now, was scaling) (err error) {
	ids := []string{*v.instance.InstanceId}
	switch {
	case was.state != inService || now.state == inService:
		return nil
	case now.group == was.group && now.state == inStandby:
		_, err = api.ExitStandby(ctx, &autoscaling.ExitStandbyInput{AutoScalingGroupName: &was.group, InstanceIds: ids})
	case now.group == "":
		_, err = api.AttachInstances(ctx, &autoscaling.AttachInstancesInput{AutoScalingGroupName: &was.group, InstanceIds: ids})
	default:
		return fault.New(fault.NotVerified, "%s was %s and is %s now: put it where it belongs by hand", ids[0], was.value(), now.value())
	}
	if err != nil {
		return fmt.Errorf("put %s back into Auto Scaling group %s (a group at its maximum takes nobody: raise it first): %w", ids[0], was.group, err)
	}
	return nil
}

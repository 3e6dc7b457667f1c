package main

import (
	"context"
	"fmt"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Apply begins the set, of the volumes that have no snapshot yet.
func (s snapshots) Apply(ctx context.Context, c action.Call, _, _ action.State) error {
	now, err := s.Observe(ctx, c)
	if err != nil || s.Contained(c, now) {
		return err
	}
	read, err := s.reads(ctx, c)
	if err != nil {
		return err
	}
	in, err := instance.Read(ctx, read, c.Target)
	if err != nil {
		return err
	}
	set := &types.InstanceSpecification{InstanceId: in.InstanceId}
	targets := []string{instance.ARN(c.Target, "instance", c.Target.Name()), instance.ARN(c.Target, "snapshot", "*")}
	for _, m := range in.BlockDeviceMappings {
		if m.Ebs == nil {
			continue
		}
		id, root := aws.ToString(m.Ebs.VolumeId), aws.ToString(m.DeviceName) == aws.ToString(in.RootDeviceName)
		targets = append(targets, instance.ARN(c.Target, "volume", id)) // AWS does not say that it asks for no right on what is left out
		switch {
		case now[field(id)] == "":
		case root:
			set.ExcludeBootVolume = aws.Bool(true)
		default:
			set.ExcludeDataVolumeIds = append(set.ExcludeDataVolumeIds, id)
		}
	}
	const room = 10 // below the 2,048 characters of a session policy
	if len(targets) > room {
		targets = append(targets[:2:2], instance.ARN(c.Target, "volume", "*"))
	}
	api, err := s.changes(ctx, c, account.Statement{Actions: []string{"ec2:CreateSnapshots"}, Resources: targets}, account.Statement{
		Actions: []string{"ec2:CreateTags"}, Resources: []string{instance.ARN(c.Target, "snapshot", "*")},
		Condition: map[string]map[string]string{"StringEquals": {"ec2:CreateAction": "CreateSnapshots"}},
	})
	if err != nil {
		return err
	}
	_, err = api.CreateSnapshots(ctx, &ec2.CreateSnapshotsInput{
		InstanceSpecification: set,
		Description:           aws.String("Firebreak evidence of " + c.Target.Name() + " for " + c.Incident.ID),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{
			{Key: aws.String(instance.IncidentTag), Value: &c.Incident.ID},
			{Key: aws.String(instance.Tag), Value: set.InstanceId},
		}}},
	}, func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
	switch code := instance.Code(err); {
	case code == "SnapshotCreationPerVolumeRateExceeded", code == "ConcurrentSnapshotLimitExceeded":
		return fault.Wrap(fault.Throttled, err, "take snapshots of %s", c.Target.Name())
	case err != nil:
		return fmt.Errorf("take snapshots of %s: %w", c.Target.Name(), err)
	}
	return s.listed(ctx, c)
}

// listed waits until AWS lists what was begun. Errors: Throttled where it does not, so that the next run looks again first.
func (s snapshots) listed(ctx context.Context, c action.Call) error {
	for end := time.Now().Add(s.patience); ; {
		now, err := s.Observe(ctx, c)
		if err != nil || s.Contained(c, now) {
			return err
		}
		if time.Now().After(end) {
			return fault.New(fault.Throttled, "snapshots of %s were begun, but AWS does not list them yet: look again", c.Target.Name())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.patience / 30):
		}
	}
}

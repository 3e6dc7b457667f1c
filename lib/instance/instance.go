// Package instance reads the EC2 instance that a step names.
package instance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// Tags of the snapshots that are kept as evidence: the incident they were first taken for, and the instance.
const (
	IncidentTag = "firebreak:incident"
	Tag         = "firebreak:instance"
)

// API is the call that this package makes.
type API interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
}

// Read gives the instance. Errors: ErrGone where there is none, or it is terminated or on its way there (there is no way
// back from shutting-down); BadInput where the target is no instance.
func Read(ctx context.Context, api API, t incident.Target) (types.Instance, error) {
	id, ok := strings.CutPrefix(t.Resource, "instance/")
	if t.Service != "ec2" || !ok {
		return types.Instance{}, fault.New(fault.BadInput, "%s is not an instance", t.ARN)
	}
	out, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	switch code := Code(err); {
	case code == "InvalidInstanceID.NotFound":
		return types.Instance{}, fmt.Errorf("%s: %w", id, action.ErrGone)
	case code == "InvalidInstanceID.Malformed":
		return types.Instance{}, fault.Wrap(fault.BadInput, err, "read instance %s", id)
	case err != nil:
		return types.Instance{}, fmt.Errorf("read instance %s: %w", id, err)
	}
	for _, r := range out.Reservations {
		for _, in := range r.Instances {
			if aws.ToString(in.InstanceId) != id {
				continue
			}
			if ended(in) {
				return in, fmt.Errorf("%s is %s: %w", id, in.State.Name, action.ErrGone)
			}
			return in, nil
		}
	}
	return types.Instance{}, fmt.Errorf("%s: %w", id, action.ErrGone)
}

// ended tells whether the instance is terminated or irrevocably on its way there.
func ended(in types.Instance) bool {
	return in.State != nil && (in.State.Name == types.InstanceStateNameTerminated || in.State.Name == types.InstanceStateNameShuttingDown)
}

// Volumes lists the EBS volumes of an instance, sorted. Instance-store volumes are in no listing of this kind.
func Volumes(in types.Instance) []string {
	var out []string
	for _, m := range in.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.VolumeId != nil {
			out = append(out, *m.Ebs.VolumeId)
		}
	}
	slices.Sort(out)
	return out
}

// Volumeless tells whether an instance that shows no EBS volume may have none: only one that boots from an instance store. Another one
// shows none while it is being launched, or because somebody has detached its root, and with it the evidence. Errors: Throttled,
// NotVerified.
func Volumeless(in types.Instance) error {
	switch {
	case in.RootDeviceType != types.DeviceTypeEbs:
		return nil
	case in.State != nil && in.State.Name == types.InstanceStateNamePending:
		return fault.New(fault.Throttled, "%s is being launched and shows no volume yet: look again", aws.ToString(in.InstanceId))
	}
	return fault.New(fault.NotVerified, "%s boots from a volume and has none attached: somebody has detached it, look for it in CloudTrail (DetachVolume) and take its snapshot by hand", aws.ToString(in.InstanceId))
}

// Since is from when on a snapshot counts: the finding was seen, which cannot be later than this execution began. Whole
// seconds, so that a start time which is given in them does not seem earlier.
func Since(c action.Call) time.Time {
	if seen := c.Incident.Seen; !seen.IsZero() && seen.Before(c.Since) {
		return seen.Truncate(time.Second)
	}
	return c.Since.Truncate(time.Second)
}

// ARN names a resource in the account and region of t, for instance ARN(t, "volume", "vol-…"). Snapshots and images carry no
// account in their ARN (AWS: service authorization reference of EC2).
func ARN(t incident.Target, kind, id string) string {
	owner := t.Account
	if kind == "snapshot" || kind == "image" {
		owner = ""
	}
	return fmt.Sprintf("arn:%s:ec2:%s:%s:%s/%s", t.Partition, t.Region, owner, kind, id)
}

// Code gives the code of an answer of AWS, "" where err is none.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

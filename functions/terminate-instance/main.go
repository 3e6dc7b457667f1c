// terminate-instance ends an instance for good, on approval of exactly what people were shown, with completed snapshots of
// every volume, and only while its finding still stands at its source.
//
// Second time: an instance that is shutting down or terminated is destroyed already.
//
// Undo: none, which is why two people approve it.
package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/evidence"
	"firebreak/lib/instance"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
)

// reads are the calls made with the role Read.
type reads interface {
	instance.API
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
}

// changes are the calls made with the role Destroy.
type changes interface {
	ModifyInstanceAttribute(context.Context, *ec2.ModifyInstanceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyInstanceAttributeOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// termination is the action.
type termination struct {
	store   ledger.Store
	inst    *setting.Installation
	reads   func(context.Context, action.Call) (reads, error)
	source  func(context.Context, action.Call) (source, error)
	changes func(context.Context, action.Call) (changes, error)
	// taken has the manifest of a target, as Identity read it. It is no part of what people approve: when a snapshot is complete changes.
	taken *sync.Map
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Eradicating("terminate-instance", wired(b.Store(), b.Installation(), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, inst *setting.Installation, access account.Access) termination {
	return termination{
		store: store,
		inst:  inst,
		taken: &sync.Map{},
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{
				Actions: []string{"ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSnapshots"}, Resources: []string{"*"}, // EC2 has no resource level for Describe
			})
			return ec2.NewFromConfig(cfg), err
		},
		source: func(ctx context.Context, c action.Call) (source, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{
				Actions: []string{"guardduty:GetFindings"}, Resources: []string{"*"}, // no resource level (AWS: service authorization reference of GuardDuty)
			})
			return guardduty.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Destroy, c.Scope(), account.Statement{
				Actions: []string{"ec2:ModifyInstanceAttribute", "ec2:TerminateInstances"}, Resources: []string{c.Target.ARN},
			})
			return ec2.NewFromConfig(cfg), err
		},
	}
}

// Identity reads when the instance was launched, the groups that each interface wears now, and which snapshot on record keeps
// each volume (vol-…, empty where there is none).
func (t termination) Identity(ctx context.Context, c action.Call) (action.State, error) {
	api, err := t.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	in, err := instance.Read(ctx, api, c.Target)
	if err != nil {
		return nil, err
	}
	kept, err := ledger.Load[ledger.Hold](ctx, t.store, ledger.HoldKey(c.Target.ARN, "snapshot-volumes"))
	if err != nil {
		return nil, err
	}
	s := action.State{"instanceId": c.Target.Name(), "launchTime": aws.ToTime(in.LaunchTime).UTC().Format(time.RFC3339)}
	for _, v := range instance.Volumes(in) {
		s[v] = kept.Value.After[v+"/snapshot"]
	}
	taken, err := ledger.Load[evidence.Manifest](ctx, t.store, evidence.ManifestKey(c.Target.ARN))
	if err != nil {
		return nil, err
	}
	t.taken.Store(c.Target.ARN, taken.Value)
	out, err := api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{c.Target.Name()}}},
	})
	if err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	for _, n := range out.NetworkInterfaces {
		var groups []string
		for _, g := range n.Groups {
			groups = append(groups, aws.ToString(g.GroupId))
		}
		slices.Sort(groups)
		s[aws.ToString(n.NetworkInterfaceId)+"/groups"] = strings.Join(groups, ",")
	}
	return s, nil
}

// Destroys says what ends and what stays.
func (t termination) Destroys(c action.Call, identity action.State) []string {
	out := []string{fmt.Sprintf("%s, launched %s: terminated, and with it what is in memory and on instance-store volumes", identity["instanceId"], identity["launchTime"])}
	kept, volumes := manifest(identity)
	for _, v := range volumes {
		if kept[v] == "" {
			out = append(out, v+": in no snapshot")
			continue
		}
		seen, _ := t.taken.Load(c.Target.ARN)
		taken, _ := seen.(evidence.Manifest)
		if e, ok := taken.Entry(kept[v]); ok {
			out = append(out, "kept: "+e.String())
			continue
		}
		out = append(out, v+": kept in "+kept[v])
	}
	return out
}

// Destroy reads the finding again at its source, lifts termination protection and terminates. Errors: NotVerified where the
// finding does not stand any more; nothing is changed then.
func (t termination) Destroy(ctx context.Context, c action.Call, identity action.State) error {
	if err := t.stands(ctx, c); err != nil {
		return fmt.Errorf("nothing was destroyed: %w", err)
	}
	if err := t.note(ctx, c, identity); err != nil {
		return fmt.Errorf("nothing was destroyed: %w", err)
	}
	api, err := t.changes(ctx, c)
	if err != nil {
		return err
	}
	id := c.Target.Name()
	_, err = api.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &id, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(false)}})
	// A Spot instance has no termination protection to lift; an instance that ends meanwhile needs none lifted.
	if code := instance.Code(err); err != nil && code != "UnsupportedOperation" && code != "IncorrectInstanceState" && code != "InvalidInstanceID.NotFound" {
		return fmt.Errorf("lift termination protection of %s: %w", id, err)
	}
	_, err = api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	if err != nil && instance.Code(err) != "InvalidInstanceID.NotFound" {
		return fmt.Errorf("terminate %s, whose termination protection is lifted: %w", id, err)
	}
	return nil
}

// Destroyed tells whether the instance is terminated or irrevocably on its way.
func (t termination) Destroyed(ctx context.Context, c action.Call) (bool, error) {
	api, err := t.reads(ctx, c)
	if err != nil {
		return false, err
	}
	_, err = instance.Read(ctx, api, c.Target)
	return false, err // ErrGone tells that it is
}

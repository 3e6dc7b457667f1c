// snapshot-volumes takes one crash-consistent set of snapshots of all EBS volumes of an instance, tagged with the incident.
//
// Second time: a volume that has a snapshot of any incident, begun after the finding was seen, gets no other. CreateSnapshots
// takes no token that would make it idempotent, so it is never sent twice blindly: the SDK does not retry it, and the function
// waits until AWS lists what was begun. Where AWS has not, it asks for no more than one snapshot of a volume in 15 seconds
// (AWS: SnapshotCreationPerVolumeRateExceeded), by when the list is current.
//
// Undo: none, a snapshot is evidence.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/instance"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// reads are the calls made with the role Read.
type reads interface {
	instance.API
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
}

// changes are the calls made with the role Data.
type changes interface {
	CreateSnapshots(context.Context, *ec2.CreateSnapshotsInput, ...func(*ec2.Options)) (*ec2.CreateSnapshotsOutput, error)
}

// snapshots is the action. Its fields: vol-…/snapshot.
type snapshots struct {
	store   ledger.Store
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call, ...account.Statement) (changes, error)
	// patience is how long AWS gets to list what was begun.
	patience time.Duration
	// seen has the snapshots of a target that the latest Observe counted.
	seen *sync.Map
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("snapshot-volumes", wired(b.Store(), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, access account.Access) snapshots {
	return snapshots{
		store: store, seen: &sync.Map{},
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{
				Actions: []string{"ec2:DescribeInstances", "ec2:DescribeSnapshots"}, Resources: []string{"*"}, // EC2 has no resource level for Describe
			})
			return ec2.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call, allow ...account.Statement) (changes, error) {
			cfg, err := access.Config(ctx, account.Data, c.Scope(), allow...)
			return ec2.NewFromConfig(cfg), err
		},
		patience: 15 * time.Second,
	}
}

// field is the owned field of a volume.
func field(volume string) string { return volume + "/snapshot" }

// Observe reads the newest snapshot of each volume that counts: taken for an incident and for this instance, not failed, begun
// after the finding was seen.
func (s snapshots) Observe(ctx context.Context, c action.Call) (action.State, error) {
	api, err := s.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	in, err := instance.Read(ctx, api, c.Target)
	if err != nil {
		return nil, err
	}
	state, begun, counted := action.State{}, map[string]time.Time{}, map[string]types.Snapshot{}
	defer func() { s.seen.Store(c.Target.ARN, counted) }()
	for _, id := range instance.Volumes(in) {
		state[field(id)] = ""
	}
	if len(state) == 0 {
		return state, instance.Volumeless(in)
	}
	pages := ec2.NewDescribeSnapshotsPaginator(api, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{
		{Name: aws.String("volume-id"), Values: instance.Volumes(in)},
		{Name: aws.String("tag-key"), Values: []string{instance.IncidentTag}},
		{Name: aws.String("tag:" + instance.Tag), Values: []string{c.Target.Name()}},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("read snapshots: %w", err)
		}
		for _, snap := range page.Snapshots {
			f, at := field(aws.ToString(snap.VolumeId)), aws.ToTime(snap.StartTime)
			if _, ours := state[f]; !ours || at.Before(instance.Since(c)) || at.Before(begun[f]) {
				continue
			}
			if snap.State == types.SnapshotStatePending || snap.State == types.SnapshotStateCompleted {
				state[f], begun[f], counted[f] = aws.ToString(snap.SnapshotId), at, snap
			}
		}
	}
	return state, nil
}

// Contained: each volume has its snapshot. An instance without EBS volumes has nothing to keep.
func (s snapshots) Contained(_ action.Call, state action.State) bool {
	for _, snap := range state {
		if snap == "" {
			return false
		}
	}
	return true
}

// Intent says which volumes get a snapshot; its id is AWS's to give.
func (s snapshots) Intent(_ action.Call, now action.State) (action.State, error) {
	intent := action.State{}
	for f, snap := range now {
		if snap == "" {
			intent[f] = "new snapshot"
		}
	}
	return intent, nil
}

// Restore is never called.
func (s snapshots) Restore(context.Context, action.Call, action.State, action.State) error {
	return fault.New(fault.BadInput, "%s", s.NoUndo())
}

// NoUndo says why there is none.
func (s snapshots) NoUndo() string {
	return "a snapshot is evidence: people delete it when nobody needs it any more"
}

// Follow writes the manifest: which snapshot keeps which volume, how large it is, under which key, from when. When they are complete is
// added by preserve-evidence, which EBS and the clock wake, and before anything is destroyed.
func (s snapshots) Follow(ctx context.Context, c action.Call) []string {
	seen, _ := s.seen.Load(c.Target.ARN)
	counted, _ := seen.(map[string]types.Snapshot)
	if len(counted) == 0 {
		return nil
	}
	t := c.Target
	m := evidence.Manifest{Instance: t.ARN, Incident: c.Incident.ID, Partition: t.Partition, Account: t.Account, Region: t.Region}
	if err := evidence.Note(ctx, s.store, m, slices.Collect(maps.Values(counted)), time.Now()); err != nil {
		return []string{fmt.Sprintf("the snapshots are taken, but their manifest could not be written (%v): preserve-evidence does it later", err)}
	}
	return nil
}

// Notes say what is in no snapshot.
func (s snapshots) Notes(_ action.Call, state action.State) []string {
	if len(state) == 0 {
		return []string{"the instance has no EBS volume: what is in memory or on instance-store volumes cannot be kept"}
	}
	return []string{"not kept: what is in memory or on instance-store volumes"}
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// note writes into the manifest, before the instance ends, when its snapshots were complete.
func (t termination) note(ctx context.Context, c action.Call, identity action.State) error {
	kept, volumes := manifest(identity)
	if len(volumes) == 0 {
		return nil
	}
	api, err := t.reads(ctx, c)
	if err != nil {
		return err
	}
	out, err := api.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{c.Target.Account}, Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: slices.Collect(maps.Values(kept))}},
	})
	if err != nil {
		return fmt.Errorf("read snapshots for the manifest: %w", err)
	}
	m := evidence.Manifest{Instance: c.Target.ARN, Incident: c.Incident.ID, Partition: c.Target.Partition, Account: c.Target.Account, Region: c.Target.Region}
	return evidence.Note(ctx, t.store, m, out.Snapshots, time.Now())
}

// manifest is which snapshot keeps which volume, and the volumes in order.
func manifest(identity action.State) (kept map[string]string, volumes []string) {
	kept = map[string]string{}
	for f, v := range identity {
		if strings.HasPrefix(f, "vol-") {
			kept[f] = v
			volumes = append(volumes, f)
		}
	}
	slices.Sort(volumes)
	return kept, volumes
}

// Evidence reads the snapshots themselves: each must be this account's, of its volume, tagged as evidence, begun after the
// finding was seen, and completed; and where there is a forensic account, a copy of it must be locked there.
func (t termination) Evidence(ctx context.Context, c action.Call, identity action.State) (string, error) {
	kept, volumes := manifest(identity)
	api, err := t.reads(ctx, c)
	if err != nil {
		return "", err
	}
	if len(volumes) == 0 {
		in, err := instance.Read(ctx, api, c.Target)
		if err != nil {
			return "", err
		}
		return "", instance.Volumeless(in)
	}
	var ids []string
	for _, v := range volumes {
		if kept[v] == "" {
			return "", fault.New(fault.NotVerified, "no snapshot of %s is on record: redrive snapshot-volumes", v)
		}
		ids = append(ids, kept[v])
	}
	// A filter, unlike a list of ids, does not fail as a whole for one that is gone.
	out, err := api.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{c.Target.Account}, Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: ids}},
	})
	if err != nil {
		return "", fmt.Errorf("read snapshots: %w", err)
	}
	found := map[string]types.Snapshot{}
	for _, s := range out.Snapshots {
		found[aws.ToString(s.SnapshotId)] = s
	}
	var pending []string
	for _, v := range volumes {
		switch s, ok := found[kept[v]]; {
		case !ok:
			return "", fault.New(fault.NotVerified, "%s, the snapshot of %s, does not exist any more", kept[v], v)
		case aws.ToString(s.VolumeId) != v:
			return "", fault.New(fault.NotVerified, "%s is a snapshot of %s, not of %s", kept[v], aws.ToString(s.VolumeId), v)
		case !slices.ContainsFunc(s.Tags, func(t types.Tag) bool { return aws.ToString(t.Key) == instance.IncidentTag }):
			return "", fault.New(fault.NotVerified, "%s, the snapshot of %s, has lost its tag %s", kept[v], v, instance.IncidentTag)
		case !c.Incident.Seen.IsZero() && aws.ToTime(s.StartTime).Before(instance.Since(c)):
			// The record is the resource's: it may be an earlier incident's, whose snapshot shows nothing of what happened since.
			return "", fault.New(fault.NotVerified, "%s, the snapshot of %s, was begun before the finding was seen: redrive snapshot-volumes", kept[v], v)
		case s.State == types.SnapshotStatePending:
			pending = append(pending, strings.TrimSpace(kept[v]+" "+aws.ToString(s.Progress)))
		case s.State != types.SnapshotStateCompleted:
			return "", fault.New(fault.NotVerified, "%s, the snapshot of %s, is in state %s (%s)", kept[v], v, s.State, aws.ToString(s.StateMessage))
		}
	}
	if len(pending) > 0 {
		return strings.Join(pending, ", "), nil
	}
	installed, err := t.inst.Read(ctx)
	if err != nil || installed.Forensics.Account == "" {
		return "", err
	}
	return evidence.Missing(ctx, t.store, c.Target.Partition, c.Target.Region, ids)
}

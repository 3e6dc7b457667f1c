package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// copyTag of a copy names the snapshot that was copied: by it a copy is found that was begun and not recorded. It proves nothing.
const copyTag = "firebreak:copy-of"

const (
	// tries is how often a copy is begun that AWS gives up.
	tries = 3
	// claim is for how long a call that begins a copy is believed to be at it: longer than the function may run.
	claim = 2 * time.Minute
)

// copier is the call that begins a copy.
type copier interface {
	CopySnapshot(context.Context, *ec2.CopySnapshotInput, ...func(*ec2.Options)) (*ec2.CopySnapshotOutput, error)
}

// begin gives the copy of source in the account of looks and makes: the one that is there, or a new one. CopySnapshot takes no token
// that would make it idempotent, so it is claimed in the ledger first, and not retried by the SDK.
func (w passage) begin(ctx context.Context, looks reads, makes copier, source string) (string, error) {
	if w.now().Sub(w.Value.Claimed) < claim {
		return "", errWaiting
	}
	w.Value.Claimed = w.now()
	if err := w.save(ctx, ""); err != nil {
		return "", err
	}
	found, err := find(ctx, looks, "tag:"+copyTag, source)
	if err != nil {
		return "", err
	}
	rec := w.Value
	keys := fmt.Sprintf("arn:%s:kms:%s:%s:", rec.Partition, rec.Region, w.away.Account)
	description := fmt.Sprintf("Firebreak evidence for %s: %s of %s in account %s", rec.Incident, rec.Snapshot, rec.Volume, rec.Account)
	for _, s := range found {
		// Whoever owns the account can tag anything. The key lets nobody there use it but Firebreak, and nobody changes a description.
		ours := strings.HasPrefix(aws.ToString(s.KmsKeyId), keys) && aws.ToString(s.Description) == description
		if ours && (s.State == types.SnapshotStatePending || s.State == types.SnapshotStateCompleted) {
			w.Value.Claimed = time.Time{} // written with the phase
			return aws.ToString(s.SnapshotId), nil
		}
	}
	key := keys + "alias/firebreak-evidence"
	slog.InfoContext(ctx, "copy", "incident", rec.Incident, "snapshot", source, "key", key)
	out, err := makes.CopySnapshot(ctx, &ec2.CopySnapshotInput{
		SourceRegion: &rec.Region, SourceSnapshotId: &source, Encrypted: aws.Bool(true), KmsKeyId: &key,
		Description: &description,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{
			{Key: aws.String(instance.IncidentTag), Value: &rec.Incident}, {Key: aws.String(copyTag), Value: &source},
		}}},
	}, func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
	switch {
	case slices.Contains([]string{"ResourceLimitExceeded", "SnapshotCopyLimitExceeded", "RequestLimitExceeded"}, instance.Code(err)):
		return "", fault.Wrap(fault.Throttled, err, "copy %s", source)
	case err != nil:
		return "", fmt.Errorf("copy %s: %w", source, err)
	case out.SnapshotId == nil:
		return "", fault.New(fault.NotVerified, "EC2 did not name the copy of %s", source)
	}
	w.Value.Claimed = time.Time{}
	return *out.SnapshotId, nil
}

// complete reads a snapshot that must be there and complete. Errors: errWaiting while AWS is at it, NotVerified.
func complete(ctx context.Context, api reads, id string) (types.Snapshot, error) {
	found, err := find(ctx, api, "snapshot-id", id)
	switch {
	case err != nil:
		return types.Snapshot{}, err
	case len(found) == 0:
		return types.Snapshot{}, fault.New(fault.NotVerified, "%s does not exist any more", id)
	case found[0].State == types.SnapshotStatePending:
		return found[0], errWaiting
	case found[0].State != types.SnapshotStateCompleted:
		return found[0], fault.New(fault.NotVerified, "%s is in state %s (%s)", id, found[0].State, aws.ToString(found[0].StateMessage))
	}
	return found[0], nil
}

// find reads the snapshots of the session's account that a filter lets through.
func find(ctx context.Context, api reads, filter, value string) ([]types.Snapshot, error) {
	out, err := api.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{{Name: &filter, Values: []string{value}}}})
	if err != nil {
		return nil, fmt.Errorf("read the snapshots with %s %s: %w", filter, value, err)
	}
	return out.Snapshots, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"firebreak/lib/account"
	"firebreak/lib/evidence"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// note looks what has become of the snapshots in manifests that are not complete, those that the notification may be about.
func (p preservation) note(ctx context.Context, e notification, in setting.Installed) (noted int, err error) {
	open, err := ledger.Open[evidence.Manifest](ctx, p.store, evidence.ManifestGroup)
	if err != nil {
		return 0, err
	}
	var failed error
	for _, it := range open {
		m := it.Value
		if a, ok := in.Account(m.Account); !ok || !slices.Contains(a.Regions, m.Region) || !e.completes(m) {
			continue
		}
		noted++
		if err := p.read(ctx, m); err != nil {
			failed = errors.Join(failed, fmt.Errorf("the manifest of %s: %w", m.Instance, err))
		}
	}
	return noted, failed
}

func (p preservation) read(ctx context.Context, m evidence.Manifest) error {
	api, err := p.reads(ctx, account.Scope{Partition: m.Partition, Account: m.Account, Region: m.Region, Incident: m.Incident})
	if err != nil {
		return err
	}
	var ids []string
	for _, s := range m.Snapshots {
		if s.Completed.IsZero() {
			ids = append(ids, s.Snapshot)
		}
	}
	out, err := api.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{{Name: aws.String("snapshot-id"), Values: ids}}})
	if err != nil {
		return err
	}
	return evidence.Note(ctx, p.store, m, out.Snapshots, p.now())
}

// completes tells whether something in a manifest may be complete for what happened; the clock is about all.
func (n notification) completes(m evidence.Manifest) bool {
	return n.Detail.Event == "" || n.Account == m.Account && n.Region == m.Region && n.taking() && slices.ContainsFunc(n.taken(), func(id string) bool {
		_, in := m.Entry(id)
		return in
	})
}

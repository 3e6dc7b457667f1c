// preserve-evidence brings snapshots out of the reach of whoever owns the account they were taken in: a copy under the evidence
// key, shared with the forensic account, copied there, read back and locked. Each completion of a snapshot (an event of EBS) takes
// one further step; every quarter of an hour it looks itself, for events that never came.
//
// Second time: it reads what is there and goes on from it. A copy that was begun and not recorded is found by its tag.
//
// Undo: none, evidence is kept. Nothing is ever deleted, and a lock cannot be taken off before its time.
package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/boot"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// reads are the calls made with the role Read.
type reads interface {
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
}

// changes are the calls made with the role Data.
type changes interface {
	CopySnapshot(context.Context, *ec2.CopySnapshotInput, ...func(*ec2.Options)) (*ec2.CopySnapshotOutput, error)
	ModifySnapshotAttribute(context.Context, *ec2.ModifySnapshotAttributeInput, ...func(*ec2.Options)) (*ec2.ModifySnapshotAttributeOutput, error)
}

// vault are the calls made in the forensic account, with its role Evidence.
type vault interface {
	CopySnapshot(context.Context, *ec2.CopySnapshotInput, ...func(*ec2.Options)) (*ec2.CopySnapshotOutput, error)
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
	LockSnapshot(context.Context, *ec2.LockSnapshotInput, ...func(*ec2.Options)) (*ec2.LockSnapshotOutput, error)
}

type preservation struct {
	store   ledger.Store
	inst    *setting.Installation
	reads   func(context.Context, account.Scope) (reads, error)
	changes func(context.Context, account.Scope, ...account.Statement) (changes, error)
	vault   func(context.Context, account.Scope) (vault, error)
	now     func() time.Time
}

func main() {
	b := boot.Load()
	access := b.Access()
	boot.Start(preservation{
		store: b.Store(),
		inst:  b.Installation(),
		reads: func(ctx context.Context, in account.Scope) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, in, account.Statement{Actions: []string{"ec2:DescribeSnapshots"}, Resources: []string{"*"}}) // EC2 has no resource level for Describe
			return ec2.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, in account.Scope, allow ...account.Statement) (changes, error) {
			cfg, err := access.Config(ctx, account.Data, in, allow...)
			return ec2.NewFromConfig(cfg), err
		},
		vault: func(ctx context.Context, in account.Scope) (vault, error) {
			cfg, err := access.Config(ctx, account.Evidence, in, keeping(in)...)
			return ec2.NewFromConfig(cfg), err
		},
		now: func() time.Time { return time.Now().UTC() },
	}.handle)
}

// Report counts what one call has done.
type Report struct {
	Moved   int    `json:"moved"`   // snapshots that are a step further
	Waiting int    `json:"waiting"` // that AWS is still copying
	Locked  int    `json:"locked"`  // that are safe now
	Noted   int    `json:"noted"`   // manifests that were looked at, because something in them was not complete
	Ignored string `json:"ignored,omitempty"`
}

// handle takes an event of EBS, or the clock's. Errors: Busy where the snapshot's account is still being worked on, so that it is
// tried again; NotVerified where a copy cannot be made or is not what it should be.
func (p preservation) handle(ctx context.Context, e notification) (Report, error) {
	in, err := p.inst.Read(ctx)
	if err != nil {
		return Report{}, err
	}
	noted, failed := p.note(ctx, e, in)
	r, err := p.keep(ctx, e, in)
	r.Noted = noted
	return r, errors.Join(failed, err)
}

// keep brings snapshots a step further on their way to the forensic account.
func (p preservation) keep(ctx context.Context, e notification, in setting.Installed) (Report, error) {
	guard, err := setting.ReadGuard(ctx, p.store)
	switch {
	case err != nil:
		return Report{}, err
	case in.Forensics.Account == "":
		return Report{Ignored: "no forensic account is configured"}, nil
	case guard.Mode != setting.Act:
		return Report{Ignored: "the mode is " + string(guard.Mode)}, nil
	}
	records, err := p.meant(ctx, e, in)
	if err != nil {
		return Report{}, err
	}
	if len(records) == 0 {
		return Report{Ignored: "no evidence of ours"}, nil
	}
	var r Report
	var errs []error
	for _, rec := range records {
		errs = append(errs, p.advance(ctx, in, rec, &r))
	}
	return r, errors.Join(errs...)
}

// meant gives the records that a notification is about, in the order of their snapshots; the clock is about all.
func (p preservation) meant(ctx context.Context, e notification, in setting.Installed) ([]evidence.Record, error) {
	records, busy, err := evidence.Wanted(ctx, p.store)
	if err != nil {
		return nil, err
	}
	open, err := ledger.Open[evidence.Record](ctx, p.store, evidence.Group) // those of incidents that were closed meanwhile, too
	if err != nil {
		return nil, err
	}
	for _, it := range open {
		if i := slices.IndexFunc(records, func(r evidence.Record) bool { return r.Snapshot == it.Value.Snapshot }); i >= 0 {
			records[i] = it.Value
		} else {
			records = append(records, it.Value)
		}
	}
	records = slices.DeleteFunc(records, func(r evidence.Record) bool { return !acts(in, r) || !e.about(r, in.Forensics.Account) })
	if len(records) == 0 && e.taking() && busy[e.Account] {
		return nil, fault.New(fault.Busy, "snapshots of account %s are being recorded: the event may be about one of them", e.Account)
	}
	return records, nil
}

// acts tells whether Firebreak acts in the account and region of a record.
func acts(in setting.Installed, r evidence.Record) bool {
	a, ok := in.Account(r.Account)
	return ok && slices.Contains(a.Regions, r.Region)
}

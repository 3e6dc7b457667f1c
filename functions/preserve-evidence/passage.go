package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// passage is one snapshot on its way.
type passage struct {
	preservation
	*ledger.Item[evidence.Record]
	forensics  setting.Forensics
	home, away account.Scope
}

// errWaiting says that AWS is not done yet, or that another call is at it.
var errWaiting = errors.New("AWS is still copying")

// advance takes one snapshot as far as it goes now.
func (p preservation) advance(ctx context.Context, in setting.Installed, rec evidence.Record, r *Report) error {
	it, err := ledger.Load[evidence.Record](ctx, p.store, evidence.Key(rec.Partition, rec.Region, rec.Snapshot))
	if err != nil {
		return err
	}
	if !it.Exists() {
		it.Value = rec
	}
	home := account.Scope{Partition: rec.Partition, Account: rec.Account, Region: rec.Region, Incident: rec.Incident}
	away := home
	away.Account = in.Forensics.Account
	way := passage{p, &it, in.Forensics, home, away}
	for steps := 0; it.Value.Phase != evidence.Locked && steps < 2*tries; steps++ {
		switch err := way.step(ctx); {
		case errors.Is(err, ledger.ErrConflict), errors.Is(err, errWaiting):
			r.Waiting++
			return nil
		case err != nil:
			it.Value.Problem, it.Value.Claimed = err.Error(), time.Time{}
			return errors.Join(fmt.Errorf("keep %s of %s: %w", it.Value.Snapshot, it.Value.Instance, err), way.save(ctx, ""))
		}
		r.Moved++
		if it.Value.Phase == evidence.Locked {
			r.Locked++
		}
	}
	return nil
}

// step takes a snapshot from its phase to the next: it reads from EC2 what has become of it, and repeats what may be repeated.
func (w passage) step(ctx context.Context) error {
	switch w.Value.Phase {
	case evidence.Taken:
		return w.copy(ctx)
	case evidence.Copied:
		return w.send(ctx)
	}
	return w.lock(ctx)
}

// copy begins the copy under the evidence key once the snapshot is complete.
func (w passage) copy(ctx context.Context) error {
	rec := &w.Value
	looks, err := w.reads(ctx, w.home)
	if err != nil {
		return err
	}
	if _, err := complete(ctx, looks, rec.Snapshot); err != nil {
		return err
	}
	makes, err := w.changes(ctx, w.home, copying(w.home, w.away.Account)...)
	if err != nil {
		return err
	}
	if rec.Copy, err = w.begin(ctx, looks, makes, rec.Snapshot); err != nil {
		return err
	}
	rec.Phase, rec.Problem = evidence.Copied, ""
	return w.save(ctx, fmt.Sprintf("%s of %s: copying it under the evidence key, as %s", rec.Snapshot, rec.Volume, rec.Copy))
}

// send shares the copy and begins the one in the forensic account.
func (w passage) send(ctx context.Context) error {
	rec := &w.Value
	looks, err := w.reads(ctx, w.home)
	if err != nil {
		return err
	}
	if s, err := complete(ctx, looks, rec.Copy); err != nil {
		return w.again(ctx, s, err, evidence.Taken)
	}
	shares, err := w.changes(ctx, w.home, sharing(w.home, rec.Copy, w.away.Account))
	if err != nil {
		return err
	}
	slog.InfoContext(ctx, "share", "incident", rec.Incident, "snapshot", rec.Copy, "with", w.away.Account)
	if _, err := shares.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &rec.Copy, Attribute: types.SnapshotAttributeNameCreateVolumePermission, OperationType: types.OperationTypeAdd, UserIds: []string{w.away.Account},
	}); err != nil {
		return fmt.Errorf("share %s with account %s: %w", rec.Copy, w.away.Account, err)
	}
	safe, err := w.vault(ctx, w.away)
	if err != nil {
		return err
	}
	if rec.Received, err = w.begin(ctx, safe, safe, rec.Copy); err != nil {
		return err
	}
	rec.Phase, rec.Problem = evidence.Received, ""
	return w.save(ctx, fmt.Sprintf("%s of %s: copying it into the forensic account, as %s", rec.Snapshot, rec.Volume, rec.Received))
}

// lock reads the copy in the forensic account again and locks it.
func (w passage) lock(ctx context.Context) error {
	rec := &w.Value
	safe, err := w.vault(ctx, w.away)
	if err != nil {
		return err
	}
	kept, err := complete(ctx, safe, rec.Received)
	if err != nil {
		return w.again(ctx, kept, err, evidence.Copied)
	}
	if aws.ToString(kept.OwnerId) != w.away.Account || !aws.ToBool(kept.Encrypted) {
		return fault.New(fault.NotVerified, "%s belongs to account %s, encrypted %v: not what was to be kept", rec.Received, aws.ToString(kept.OwnerId), aws.ToBool(kept.Encrypted))
	}
	slog.InfoContext(ctx, "lock", "incident", rec.Incident, "snapshot", rec.Received, "mode", w.forensics.LockMode, "days", w.forensics.LockDays)
	out, err := safe.LockSnapshot(ctx, &ec2.LockSnapshotInput{
		SnapshotId: &rec.Received, LockMode: types.LockMode(w.forensics.LockMode), LockDuration: aws.Int32(int32(w.forensics.LockDays)),
	})
	if err != nil {
		return fmt.Errorf("lock %s: %w", rec.Received, err)
	}
	if rec.Locked = aws.ToTime(out.LockExpiresOn); rec.Locked.IsZero() {
		return fault.New(fault.NotVerified, "EC2 did not say until when %s is locked", rec.Received)
	}
	rec.Phase, rec.Problem = evidence.Locked, ""
	return w.save(ctx, fmt.Sprintf("%s of %s: kept as %s in the forensic account, locked until %s", rec.Snapshot, rec.Volume, rec.Received, rec.Locked.UTC().Format(time.RFC3339)))
}

// again goes back to a phase where AWS gave a copy up, a few times; then a person is needed. Any other error stays.
func (w passage) again(ctx context.Context, s types.Snapshot, err error, to evidence.Phase) error {
	if s.State != types.SnapshotStateError {
		return err
	}
	rec := &w.Value
	if rec.Failed+1 == tries {
		return fault.Wrap(fault.NotVerified, err, "AWS has given up %d copies", tries)
	}
	rec.Failed++
	rec.Phase, rec.Received, rec.Claimed = to, "", time.Time{}
	if to == evidence.Taken {
		rec.Copy = ""
	}
	return w.save(ctx, fmt.Sprintf("%s of %s: %v; once more", rec.Snapshot, rec.Volume, err))
}

// save records what has happened to a snapshot, in its record and, where there is something to say, in the incident's timeline.
// Errors: ErrConflict where another call was faster.
func (w passage) save(ctx context.Context, what string) error {
	w.Value.At = w.now()
	evidence.Place(w.Item)
	if err := ledger.Save(ctx, w.store, w.Item); err != nil || what == "" {
		return err
	}
	return ledger.Append(ctx, w.store, w.Value.Incident, ledger.Event{Time: w.now(), State: "PreserveEvidence", Who: "firebreak-preserve-evidence", What: what})
}

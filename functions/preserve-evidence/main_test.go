package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

const (
	target = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	inc    = "INC-BWJ4TH5BLF5DYQIG"
	vol1   = "vol-0aaaaaaaaaaaaaaa1"
	vol2   = "vol-0aaaaaaaaaaaaaaa2"
	snap1  = "snap-0f000000000000001"
	snap2  = "snap-0f000000000000002"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// world is an incident with snapshots of two volumes, complete.
type world struct {
	t     *testing.T
	cloud *cloud
	store *ledger.Memory
	in    setting.Installed
	clock time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cloud: &cloud{snapshots: map[string]*snapshot{}}, store: ledger.NewMemory(), clock: time.Date(2026, 3, 2, 8, 15, 4, 0, time.UTC), in: setting.Installed{
		Accounts:  []setting.Account{{ID: clinic, Regions: []string{region}}},
		Forensics: setting.Forensics{Account: forensic, LockMode: "governance", LockDays: 30},
	}}
	w.cloud.add(snap1, clinic, vol1)
	w.cloud.add(snap2, clinic, vol2)
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	guard.Value.Mode = setting.Act
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(inc), Value: ledger.Incident{
		ID: inc, Status: incident.Contained, Band: incident.Critical, Finding: ledger.Finding{Account: clinic},
		Plan: incident.Plan{Contain: []incident.Step{{Action: "isolate-instance", Target: target}, {Action: "snapshot-volumes", Target: target}}},
	}}
	ledger.Place(&meta)
	w.must(ledger.Save(t.Context(), w.store, &guard, &meta))
	w.hold(ledger.Held, map[string]string{vol1 + "/snapshot": snap1, vol2 + "/snapshot": snap2})
	return w
}

func (w *world) hold(phase ledger.Phase, after map[string]string) {
	w.t.Helper()
	_, err := ledger.Update(w.t.Context(), w.store, ledger.HoldKey(target, "snapshot-volumes"), func(it *ledger.Item[ledger.Hold]) error {
		it.Value = ledger.Hold{Resource: target, Action: "snapshot-volumes", Phase: phase, After: after}
		return nil
	})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) do(e notification) (Report, error) {
	allowed := func(allow []account.Statement) error {
		_, err := account.Policy(allow...)
		return err
	}
	return preservation{
		store: w.store, inst: setting.Fixed(w.in), now: func() time.Time { return w.clock },
		reads: func(_ context.Context, in account.Scope) (reads, error) {
			return session{w.cloud, in.Account, nil}, nil
		},
		changes: func(_ context.Context, in account.Scope, allow ...account.Statement) (changes, error) {
			return session{w.cloud, in.Account, allow}, allowed(allow)
		},
		vault: func(_ context.Context, in account.Scope) (vault, error) {
			return session{w.cloud, in.Account, keeping(in)}, allowed(keeping(in))
		},
	}.handle(w.t.Context(), e)
}

// event reads a sample of events.
func event(t *testing.T, file string, replace ...string) notification {
	t.Helper()
	text, err := os.ReadFile("../../events/" + file + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var e notification
	if err := json.Unmarshal([]byte(strings.NewReplacer(replace...).Replace(string(text))), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) record(snapshot string) evidence.Record {
	w.t.Helper()
	it, err := ledger.Load[evidence.Record](w.t.Context(), w.store, evidence.Key("aws", region, snapshot))
	w.must(err)
	return it.Value
}

// safe asserts that each snapshot has exactly one locked copy in the forensic account, and none anywhere that nobody knows.
func (w *world) safe(t *testing.T) {
	t.Helper()
	for _, snapshot := range []string{snap1, snap2} {
		rec := w.record(snapshot)
		kept := w.cloud.snapshots[rec.Received]
		if rec.Phase != evidence.Locked || kept == nil || *kept.OwnerId != forensic || kept.key != evKey || kept.lock == nil || rec.Locked.IsZero() {
			t.Errorf("%s is not safe: %+v", snapshot, rec)
		}
	}
	if len(w.cloud.snapshots) != 6 {
		t.Errorf("%d snapshots, not 2 with a copy here and a copy there each", len(w.cloud.snapshots))
	}
}

// The events of EBS, one after the other, bring both snapshots into the forensic account, and lock them.
func TestEachCompletionTakesAStep(t *testing.T) {
	w := newWorld(t)
	w.cloud.slow = true
	got, err := w.do(event(t, "ebs-snapshots-complete"))
	if err != nil || got.Moved != 2 || got.Waiting != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, snapshot := range []string{snap1, snap2} {
		here := event(t, "ebs-copy-complete", "snap-0f000000000000001", snapshot)
		if got, err := w.do(here); err != nil || got.Waiting != 1 || got.Moved != 0 {
			t.Errorf("before the copy is complete: %+v, %v", got, err)
		}
	}
	w.cloud.finish(types.SnapshotStateCompleted)
	for _, snapshot := range []string{snap1, snap2} {
		if got, err := w.do(event(t, "ebs-copy-complete", "snap-0f000000000000001", snapshot)); err != nil || got.Moved != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	w.cloud.finish(types.SnapshotStateCompleted)
	for _, snapshot := range []string{snap1, snap2} {
		there := event(t, "ebs-copy-complete", clinic, forensic, "snap-0f000000000000001", w.record(snapshot).Copy)
		if got, err := w.do(there); err != nil || got.Locked != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	w.safe(t)
	lock := w.cloud.snapshots[w.record(snap1).Received].lock
	if lock.LockMode != types.LockModeGovernance || *lock.LockDuration != 30 {
		t.Errorf("locked %+v", lock)
	}
	line, err := ledger.Timeline(t.Context(), w.store, inc)
	if err != nil || len(line) != 6 || !strings.Contains(line[5].What, "locked until 2027-01-02T03:04:05Z") {
		t.Errorf("timeline %+v, %v", line, err)
	}
	calls := len(w.cloud.calls)
	if got, err := w.do(notification{}); err != nil || len(w.cloud.calls) != calls {
		t.Errorf("again: %+v, %v, %v", got, err, w.cloud.calls[calls:])
	}
}

// Where no event ever comes, the clock brings them.
func TestTheClockFindsWhatNoEventBrought(t *testing.T) {
	w := newWorld(t)
	if got, err := w.do(notification{}); err != nil || got.Locked != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	w.safe(t)
}

// An incident that is closed while its evidence is under way loses nothing.
func TestAClosedIncidentKeepsItsEvidence(t *testing.T) {
	w := newWorld(t)
	w.cloud.slow = true
	_, err := w.do(notification{})
	w.must(err)
	_, err = ledger.Update(t.Context(), w.store, ledger.IncidentKey(inc), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Status = incident.Closed
		ledger.Place(it)
		return nil
	})
	w.must(err)
	for range 2 {
		w.cloud.finish(types.SnapshotStateCompleted)
		_, err = w.do(notification{})
		w.must(err)
	}
	w.safe(t)
}

// Killed before or after any call or write, a later call makes no second copy and gets there.
func TestKilledAnywhere(t *testing.T) {
	for point := 1; ; point++ {
		w := newWorld(t)
		passed, killed := 0, ""
		die := func(what string) error {
			if passed++; passed == point {
				killed, w.cloud.dead = what, true
			}
			if w.cloud.dead {
				return errDead
			}
			return nil
		}
		w.cloud.kill = func(call string, _ bool) error { return die(call) }
		w.store.Fail = func(op string, k ledger.Key) error {
			if op == "put" {
				return die("write of " + k.SK)
			}
			return nil
		}
		_, _ = w.do(notification{})
		w.cloud.dead, w.cloud.kill, w.store.Fail = false, nil, nil
		if killed == "" {
			if point < 20 {
				t.Errorf("only %d points tried", point)
			}
			return
		}
		w.clock = w.clock.Add(15 * time.Minute)
		if _, err := w.do(notification{}); err != nil {
			t.Errorf("killed at %s: %v", killed, err)
		}
		if w.safe(t); t.Failed() {
			t.Fatalf("killed at %s", killed)
		}
	}
}

// Many events at once about the same snapshots make one copy of each.
func TestManyEventsAtOnce(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() { _, _ = w.do(event(t, "ebs-snapshots-complete")) })
	}
	all.Wait()
	w.clock = w.clock.Add(15 * time.Minute)
	_, err := w.do(notification{})
	w.must(err)
	w.safe(t)
}

// AWS gives a copy up: it is begun again, three times in all, then people are told.
func TestAFailedCopyIsBegunAgain(t *testing.T) {
	w := newWorld(t)
	w.hold(ledger.Held, map[string]string{vol1 + "/snapshot": snap1})
	w.cloud.slow = true
	var err error
	for range 6 {
		_, err = w.do(notification{})
		w.cloud.finish(types.SnapshotStateError)
	}
	if !fault.Is(err, fault.NotVerified) || !strings.Contains(w.record(snap1).Problem, "given up 3 copies") || w.cloud.made != 3 {
		t.Errorf("%v, %+v, %d copies", err, w.record(snap1), w.cloud.made)
	}
	missing, err := evidence.Missing(t.Context(), w.store, "aws", region, []string{snap1})
	if err != nil || !strings.Contains(missing, "given up 3 copies") {
		t.Errorf("%q, %v", missing, err)
	}
}

// Without a forensic account, too, the manifest says when each snapshot was complete: by the event, or by the clock.
func TestTheManifestIsFinished(t *testing.T) {
	for name, e := range map[string]notification{"the event": event(t, "ebs-snapshots-complete"), "the clock": {}} {
		w := newWorld(t)
		w.in.Forensics = setting.Forensics{}
		pending := []types.Snapshot{w.cloud.snapshots[snap1].Snapshot, w.cloud.snapshots[snap2].Snapshot}
		for i := range pending {
			pending[i].State = types.SnapshotStatePending
		}
		m := evidence.Manifest{Instance: target, Incident: inc, Partition: "aws", Account: clinic, Region: region}
		w.must(evidence.Note(t.Context(), w.store, m, pending, w.clock))
		if got, err := w.do(event(t, "ebs-snapshots-complete", "snap-0f", "snap-0b")); err != nil || got.Noted != 0 {
			t.Errorf("%s: somebody else's snapshot: %+v, %v", name, got, err)
		}
		if got, err := w.do(e); err != nil || got.Noted != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		it, err := ledger.Load[evidence.Manifest](t.Context(), w.store, evidence.ManifestKey(target))
		w.must(err)
		if it.Value.Waits() || len(it.Value.Snapshots) != 2 || !it.Value.Snapshots[0].Completed.Equal(w.clock) {
			t.Errorf("%s: %+v", name, it.Value)
		}
		if got, err := w.do(e); err != nil || got.Noted != 0 || len(w.cloud.calls) > 0 {
			t.Errorf("%s, again: %+v, %v, %v", name, got, err, w.cloud.calls)
		}
	}
}

func TestWhatIsNotKept(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		event  notification
		want   string
	}{
		"no forensic account":  {change: func(w *world) { w.in.Forensics = setting.Forensics{} }, want: "no forensic account"},
		"mode off":             {change: func(w *world) { w.mode(setting.Off) }, want: "the mode is off"},
		"mode plan":            {change: func(w *world) { w.mode(setting.Plan) }, want: "the mode is plan"},
		"a backup's snapshot":  {event: event(t, "ebs-snapshots-complete", "snap-0f", "snap-0b"), want: "no evidence of ours"},
		"another account's":    {event: event(t, "ebs-snapshots-complete", clinic, "444444444444"), want: "no evidence of ours"},
		"another region's":     {event: event(t, "ebs-snapshots-complete", region, "eu-west-1"), want: "no evidence of ours"},
		"an account not ours":  {change: func(w *world) { w.in.Accounts = nil }, want: "no evidence of ours"},
		"a copy of a stranger": {event: event(t, "ebs-copy-complete", clinic, forensic), want: "no evidence of ours"},
	} {
		w := newWorld(t)
		if c.change != nil {
			c.change(w)
		}
		if got, err := w.do(c.event); err != nil || !strings.HasPrefix(got.Ignored, c.want) || len(w.cloud.calls) > 0 {
			t.Errorf("%s: %+v, %v, %v", name, got, err, w.cloud.calls)
		}
	}
}

func (w *world) mode(m setting.Mode) {
	_, err := ledger.Update(w.t.Context(), w.store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
		it.Value.Mode = m
		return nil
	})
	w.must(err)
}

// The event comes before the snapshot stands in the ledger: it is tried again, not lost.
func TestAnEventThatComesTooEarlyIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.hold(ledger.Applying, nil)
	if got, err := w.do(event(t, "ebs-snapshots-complete")); !fault.Is(err, fault.Busy) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whoever owns the account can tag a snapshot of nothing, or the copy of another one, as the copy that is to be kept.
func TestACopyIsNotBelievedForItsTag(t *testing.T) {
	description := "Firebreak evidence for " + inc + ": " + snap1 + " of " + vol1 + " in account " + clinic
	for name, s := range map[string]types.Snapshot{
		"of nothing":        {KmsKeyId: aws.String("arn:aws:kms:us-east-1:222222222222:key/0d6d2b3e"), Description: &description},
		"of another volume": {KmsKeyId: aws.String("arn:aws:kms:us-east-1:333333333333:key/0d6d2b3e"), Description: aws.String(strings.ReplaceAll(description, snap1, snap2))},
	} {
		w := newWorld(t)
		w.hold(ledger.Held, map[string]string{vol1 + "/snapshot": snap1})
		decoy := w.cloud.add("snap-0dddddddddddddddd", clinic, "vol-ffffffff")
		decoy.KmsKeyId, decoy.Description, decoy.key = s.KmsKeyId, s.Description, evKey
		decoy.Tags = []types.Tag{{Key: aws.String(copyTag), Value: aws.String(snap1)}}
		_, err := w.do(notification{})
		w.must(err)
		if rec := w.record(snap1); rec.Phase != evidence.Locked || rec.Copy == *decoy.SnapshotId {
			t.Errorf("%s: %+v", name, rec)
		}
	}
}

// What is in the forensic account is read again, and not believed.
func TestACopyThatIsNotWhatItShouldBeIsNotLocked(t *testing.T) {
	for name, spoil := range map[string]func(*snapshot){
		"not encrypted":      func(s *snapshot) { *s.Encrypted = false },
		"somebody else's":    func(s *snapshot) { *s.OwnerId = "444444444444" },
		"in the recycle bin": func(s *snapshot) { s.State = types.SnapshotStateRecoverable },
	} {
		w := newWorld(t)
		w.hold(ledger.Held, map[string]string{vol1 + "/snapshot": snap1})
		w.cloud.slow = true
		_, err := w.do(notification{})
		w.must(err)
		w.cloud.finish(types.SnapshotStateCompleted)
		_, err = w.do(notification{})
		w.must(err)
		w.cloud.finish(types.SnapshotStateCompleted)
		spoil(w.cloud.snapshots[w.record(snap1).Received])
		if _, err := w.do(notification{}); !fault.Is(err, fault.NotVerified) || slices.ContainsFunc(w.cloud.calls, func(c string) bool { return strings.HasPrefix(c, "lock") }) {
			t.Errorf("%s: %v, %v", name, err, w.cloud.calls)
		}
	}
}

// What a session may do is what the calls need, in EBS's name only, and the copy is shared with nobody else.
func TestSessionsAreNarrow(t *testing.T) {
	in := account.Scope{Partition: "aws", Account: clinic, Region: region, Incident: inc}
	share := sharing(in, snap1, forensic)
	want := account.Statement{
		Actions: []string{"ec2:ModifySnapshotAttribute"}, Resources: []string{"arn:aws:ec2:us-east-1::snapshot/" + snap1},
		Condition: map[string]map[string]string{"StringEquals": {"ec2:Add/userId": forensic}},
	}
	if diff := cmp.Diff(want, share); diff != "" {
		t.Error(diff)
	}
	for _, s := range slices.Concat(copying(in, forensic), keeping(in)) {
		for _, a := range s.Actions {
			if strings.HasPrefix(a, "kms:") && s.Condition == nil {
				t.Errorf("%s in anybody's name", a)
			}
		}
	}
}

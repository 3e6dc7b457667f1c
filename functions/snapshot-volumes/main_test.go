package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/evidence"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/instance"
	"firebreak/lib/instance/instancetest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

const (
	name   = "i-0abcdef1234567890"
	target = "arn:aws:ec2:us-east-1:222222222222:instance/" + name
	vol1   = "vol-0aaaaaaaaaaaaaaa1"
	vol2   = "vol-0aaaaaaaaaaaaaaa2"
)

// seen is when the finding of every request was seen.
var seen = time.Now().Add(-time.Minute)

type world struct {
	t     *testing.T
	ec2   *instancetest.EC2
	store *ledger.Memory
	run   func(context.Context, incident.Request) (incident.Result, error)
	act   snapshots
}

func newWorld(t *testing.T, volumes ...string) *world {
	t.Helper()
	w := &world{t: t, ec2: instancetest.New(), store: ledger.NewMemory()}
	w.ec2.AddInstance(name, volumes...)
	w.act = snapshots{
		reads: func(context.Context, action.Call) (reads, error) {
			return w.ec2.Session(account.Statement{Actions: []string{"ec2:DescribeInstances", "ec2:DescribeSnapshots"}, Resources: []string{"*"}}), nil
		},
		changes: func(_ context.Context, _ action.Call, allow ...account.Statement) (changes, error) {
			if _, err := account.Policy(allow...); err != nil {
				return nil, err
			}
			return w.ec2.Session(allow...), nil
		},
		patience: 30 * time.Millisecond,
		store:    w.store, seen: &sync.Map{},
	}
	in := setting.Installed{Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}}
	w.run = action.NewSpine(w.store, setting.Fixed(in)).Containing("snapshot-volumes", w.act)
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	guard.Value.Mode = setting.Act
	w.must(ledger.Save(t.Context(), w.store, &guard))
	w.know(request(incident.Apply))
	return w
}

// know writes the incident of a request into the ledger.
func (w *world) know(req incident.Request) {
	w.t.Helper()
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(req.Incident.ID), Value: ledger.Incident{
		ID: req.Incident.ID, Status: incident.Open, Episode: 1, Band: req.Incident.Severity,
		Plan: incident.Plan{Contain: []incident.Step{req.Step}}, Finding: ledger.Finding{Account: req.Incident.Account},
	}}
	w.must(ledger.Save(w.t.Context(), w.store, &meta))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func request(m incident.Mode) incident.Request {
	return incident.Request{
		Mode:      m,
		Incident:  incident.Ref{ID: "INC-BWJ4TH5BLF5DYQIG", Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1", Seen: seen},
		Step:      incident.Step{Action: "snapshot-volumes", Target: target},
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:one", Start: time.Now()},
		State:     incident.State{Name: "SnapshotVolumes"},
	}
}

func (w *world) do(m incident.Mode) (incident.Result, error) { return w.run(w.t.Context(), request(m)) }

func same(t *testing.T, file string, got incident.Result) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var want incident.Result
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result differs from testdata/%s.json (-golden +got):\n%s", file, diff)
	}
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t, vol1, vol2)
	planned, err := w.do(incident.Look)
	w.must(err)
	same(t, "planned", planned)
	if len(w.ec2.Calls) > 0 {
		t.Errorf("mode plan changed something: %v", w.ec2.Calls)
	}
	applied, err := w.do(incident.Apply)
	w.must(err)
	same(t, "applied", applied)
	already, err := w.do(incident.Apply)
	w.must(err)
	same(t, "already", already)
	if !slices.Equal(w.ec2.Calls, []string{"CreateSnapshots " + name}) {
		t.Errorf("changed %v", w.ec2.Calls)
	}
	tags := map[string]string{}
	for _, g := range w.ec2.Snapshots()[0].Tags {
		tags[*g.Key] = *g.Value
	}
	if diff := cmp.Diff(map[string]string{instance.IncidentTag: "INC-BWJ4TH5BLF5DYQIG", instance.Tag: name}, tags); diff != "" {
		t.Error(diff)
	}
	undone, err := w.do(incident.Undo)
	w.must(err)
	if undone.Outcome != incident.Refused || !strings.Contains(undone.Reason, "evidence") || len(w.ec2.Snapshots()) != 2 {
		t.Errorf("%+v", undone)
	}
}

func TestSpentBudgetAsks(t *testing.T) {
	w := newWorld(t, vol1)
	_, err := ledger.Update(t.Context(), w.store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
		it.Value.Budget, it.Value.Reserve = 0, 0
		return nil
	})
	w.must(err)
	got, err := w.do(incident.Apply)
	w.must(err)
	got.Reason = strings.Replace(got.Reason, "changed 0", "changed 20", 1)
	same(t, "refused", got)
	if len(w.ec2.Calls) > 0 {
		t.Errorf("changed %v", w.ec2.Calls)
	}
}

func TestGoneInstance(t *testing.T) {
	w := newWorld(t, vol1)
	w.ec2.AddInstance(name, vol1).State.Name = types.InstanceStateNameTerminated
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Gone || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoVolume(t *testing.T) {
	w := newWorld(t)
	w.ec2.AddInstance(name).RootDeviceType = types.DeviceTypeInstanceStore
	got, err := w.do(incident.Apply)
	if err != nil || got.Outcome != incident.Already || len(got.Changes) != 1 || len(w.ec2.Calls) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// An instance that boots from a volume and has none is no instance without evidence: somebody has detached it.
func TestDetachedVolumes(t *testing.T) {
	for state, want := range map[types.InstanceStateName]fault.Name{types.InstanceStateNameStopped: fault.NotVerified, types.InstanceStateNamePending: fault.Throttled} {
		w := newWorld(t)
		w.ec2.AddInstance(name).State.Name = state
		if got, err := w.do(incident.Apply); !fault.Is(err, want) || len(w.ec2.Calls) > 0 {
			t.Errorf("%s: %+v, %v", state, got, err)
		}
	}
}

func TestDenied(t *testing.T) {
	for _, act := range []string{"ec2:CreateSnapshots", "ec2:CreateTags"} {
		w := newWorld(t, vol1)
		w.ec2.Denied[act] = true
		if got, err := w.do(incident.Apply); !fault.Is(err, fault.Denied) || len(w.ec2.Snapshots()) > 0 {
			t.Errorf("without %s: %+v, %v", act, got, err)
		}
	}
}

// Two findings that name the same instance share one set, and one hold.
func TestTwoIncidentsShareTheSet(t *testing.T) {
	w := newWorld(t, vol1, vol2)
	_, err := w.do(incident.Apply)
	w.must(err)
	other := request(incident.Apply)
	other.Incident.ID = "INC-W3L7JHNQD52SBHRM"
	w.know(other)
	got, err := w.run(t.Context(), other)
	w.must(err)
	hold, err := ledger.Load[ledger.Hold](t.Context(), w.store, ledger.HoldKey(target, "snapshot-volumes"))
	w.must(err)
	if got.Outcome != incident.Already || len(w.ec2.Snapshots()) != 2 || len(hold.Value.Holders) != 2 {
		t.Errorf("%+v, %d snapshots, held for %v", got, len(w.ec2.Snapshots()), hold.Value.Holders)
	}
}

// Killed before or after the call, or at a write of the record: the next run takes no second set.
func TestKilledAnywhere(t *testing.T) {
	for point := 1; ; point++ {
		w := newWorld(t, vol1, vol2)
		passed, killed := 0, ""
		kill := func(what string) error {
			if passed++; passed == point {
				killed, w.ec2.Dead = what, true
			}
			if w.ec2.Dead {
				return instancetest.ErrDead
			}
			return nil
		}
		w.ec2.Step = func(_ int, call string, done bool) error { return kill(call) }
		w.store.Fail = func(op string, k ledger.Key) error {
			if op == "put" {
				return kill("write of " + k.SK)
			}
			return nil
		}
		_, err := w.do(incident.Apply)
		w.ec2.Dead, w.ec2.Step, w.store.Fail = false, nil, nil
		if killed == "" {
			w.must(err)
			if point < 5 {
				t.Errorf("only %d points tried", point)
			}
			return
		}
		got, again := w.do(incident.Apply)
		if err == nil || again != nil || !got.Outcome.Contains() || len(w.ec2.Snapshots()) != 2 {
			t.Errorf("killed at %s: %v, again: %+v, %v, %d snapshots", killed, err, got, again, len(w.ec2.Snapshots()))
		}
	}
}

// An attached volume, or an attacker who deletes one snapshot, takes a new one of that volume only.
func TestOnlyWhatIsMissing(t *testing.T) {
	w := newWorld(t, vol1, vol2)
	_, err := w.do(incident.Apply)
	w.must(err)
	for _, lost := range []string{vol1, vol2} {
		for _, s := range w.ec2.Snapshots() {
			if *s.VolumeId == lost {
				w.ec2.DropSnapshot(*s.SnapshotId)
			}
		}
		got, err := w.do(incident.Apply)
		if err != nil || got.Outcome != incident.Applied || len(w.ec2.Snapshots()) != 2 {
			t.Errorf("%s: %+v, %v, %d snapshots", lost, got, err, len(w.ec2.Snapshots()))
		}
	}
}

func TestWhatCounts(t *testing.T) {
	ours := map[string]string{instance.IncidentTag: "INC-W3L7JHNQD52SBHRM", instance.Tag: name}
	for _, c := range []struct {
		name   string
		start  time.Time
		tags   map[string]string
		state  types.SnapshotState
		counts bool
	}{
		{"of another incident, since the finding", seen.Add(time.Second), ours, types.SnapshotStateCompleted, true},
		{"pending", seen.Add(time.Second), ours, types.SnapshotStatePending, true},
		{"in the second of the finding", seen.Truncate(time.Second), ours, types.SnapshotStateCompleted, true},
		{"from before the finding", seen.Add(-time.Hour), ours, types.SnapshotStateCompleted, false},
		{"failed", seen.Add(time.Second), ours, types.SnapshotStateError, false},
		{"of a backup", seen.Add(time.Second), nil, types.SnapshotStateCompleted, false},
		{"of another instance", seen.Add(time.Second), map[string]string{instance.IncidentTag: "INC-W3L7JHNQD52SBHRM", instance.Tag: "i-2"}, types.SnapshotStateCompleted, false},
	} {
		w := newWorld(t, vol1)
		w.ec2.AddSnapshot("snap-1", vol1, c.start, c.tags).State = c.state
		got, err := w.do(incident.Apply)
		w.must(err)
		if counted := got.Outcome == incident.Already; counted != c.counts {
			t.Errorf("%s: counted %v", c.name, counted)
		}
	}
}

// A finding from the future does not make every snapshot too old.
func TestFindingFromTheFuture(t *testing.T) {
	w := newWorld(t, vol1)
	req := request(incident.Apply)
	req.Incident.Seen = time.Now().Add(24 * time.Hour)
	got, err := w.run(t.Context(), req)
	if err != nil || got.Outcome != incident.Applied || len(w.ec2.Snapshots()) != 1 {
		t.Errorf("%+v, %v, %d snapshots", got, err, len(w.ec2.Snapshots()))
	}
}

// What AWS does not list yet is not begun again: the call ends as worth a retry.
func TestNotListedYet(t *testing.T) {
	w := newWorld(t, vol1)
	var hidden []*types.Snapshot
	w.ec2.Step = func(_ int, call string, done bool) error {
		if done {
			hidden = w.ec2.Snapshots()
			w.ec2.DropSnapshot(*hidden[0].SnapshotId)
		}
		return nil
	}
	if got, err := w.do(incident.Apply); !fault.Is(err, fault.Throttled) || len(w.ec2.Calls) != 1 {
		t.Errorf("%+v, %v, calls %v", got, err, w.ec2.Calls)
	}
	w.ec2.Step = nil
	*w.ec2.AddSnapshot(*hidden[0].SnapshotId, vol1, *hidden[0].StartTime, nil) = *hidden[0]
	if got, err := w.do(incident.Apply); err != nil || got.Outcome != incident.Applied || len(w.ec2.Calls) != 1 {
		t.Errorf("%+v, %v, calls %v", got, err, w.ec2.Calls)
	}
}

// The manifest has what a person needs to mount the evidence in another account: volume, snapshot, size, key and times. What is complete is
// added by the next look.
func TestTheManifestIsKept(t *testing.T) {
	const key = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	w := newWorld(t, vol1, vol2)
	read := func() evidence.Manifest {
		it, err := ledger.Load[evidence.Manifest](t.Context(), w.store, evidence.ManifestKey(target))
		w.must(err)
		return it.Value
	}
	_, err := w.do(incident.Look)
	w.must(err)
	if got := read(); len(got.Snapshots) != 0 {
		t.Errorf("a plan wrote %+v", got)
	}
	_, err = w.do(incident.Apply)
	w.must(err)
	m := read()
	if len(m.Snapshots) != 2 || !m.Waits() || m.Account != "222222222222" || m.Region != "us-east-1" || m.Incident != "INC-BWJ4TH5BLF5DYQIG" {
		t.Fatalf("%+v", m)
	}
	for i, s := range w.ec2.Snapshots() {
		s.State, s.VolumeSize, s.Encrypted, s.KmsKeyId = types.SnapshotStateCompleted, aws.Int32(8), aws.Bool(true), aws.String(key)
		if i == 0 {
			s.CompletionTime = aws.Time(s.StartTime.Add(time.Minute))
		}
	}
	_, err = w.do(incident.Apply)
	w.must(err)
	m = read()
	for i, s := range w.ec2.Snapshots() {
		want := evidence.Entry{
			Volume: *s.VolumeId, Snapshot: *s.SnapshotId, GiB: 8, Encrypted: true, Key: key, Started: s.StartTime.UTC(), Completed: m.Snapshots[i].Completed, Seen: i == 1,
		}
		if i == 0 {
			want.Completed = s.CompletionTime.UTC()
		}
		if diff := cmp.Diff(want, m.Snapshots[i]); diff != "" || m.Snapshots[i].Completed.IsZero() {
			t.Errorf("%s: %s", *s.SnapshotId, diff)
		}
	}
}

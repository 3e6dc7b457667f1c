package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

const (
	target = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	first  = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:first"
	second = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:second"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// door is a resource with fields that should all become "shut".
type door struct {
	mu    sync.Mutex
	state State
	gone  bool
	// calls counts observations and changes; fail may stop one.
	calls int
	fail  func(call int, kind string) error
	// meddle is called after each change with the resource's state, as somebody else would.
	meddle  func(State)
	changes int
	// takes removes what is to be shut; deaf makes changes without effect.
	takes, deaf bool
}

func (d *door) step(kind string) error {
	d.calls++
	if d.fail != nil {
		return d.fail(d.calls, kind)
	}
	return nil
}

func (d *door) Observe(context.Context, Call) (State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("observe"); err != nil {
		return nil, err
	}
	if d.gone {
		return nil, fmt.Errorf("the door: %w", ErrGone)
	}
	return maps.Clone(d.state), nil
}

func (d *door) Intent(c Call, now State) (State, error) {
	out := State{}
	for f := range now {
		if c.With["only"] == "" || c.With["only"] == f {
			out[f] = "shut"
			if d.takes {
				out[f] = ""
			}
		}
	}
	return out, nil
}

func (d *door) Contained(c Call, s State) bool {
	for f, v := range s {
		if v != "shut" && (c.With["only"] == "" || c.With["only"] == f) {
			return false
		}
	}
	return true
}

func (d *door) Apply(_ context.Context, _ Call, now, to State) error { return d.set(now, to) }

func (d *door) Restore(_ context.Context, _ Call, now, to State) error {
	there := maps.Clone(to)
	if !d.takes {
		maps.DeleteFunc(there, func(f, _ string) bool { _, has := now[f]; return !has })
	}
	return d.set(now, there)
}

func (d *door) set(now, to State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range fields(to) {
		if now[f] == to[f] {
			continue
		}
		if err := d.step("change"); err != nil {
			return err
		}
		if d.changes++; d.deaf {
			continue
		}
		if d.state[f] = to[f]; to[f] == "" {
			delete(d.state, f)
		}
		if d.meddle != nil {
			d.meddle(d.state)
		}
	}
	return nil
}

type world struct {
	t     *testing.T
	store *ledger.Memory
	door  *door
	do    func(context.Context, incident.Request) (incident.Result, error)
}

func newWorld(t *testing.T, d *door) *world {
	t.Helper()
	w := &world{t: t, store: ledger.NewMemory(), door: d}
	in := setting.Installed{Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}}
	spine := NewSpine(w.store, setting.Fixed(in))
	spine.now = func() time.Time { return start }
	w.do = spine.Containing("shut-door", d)
	w.settings(func(*setting.Guard) {})
	w.incident("INC-A")
	w.incident("INC-B")
	return w
}

func (w *world) settings(change func(*setting.Guard)) {
	w.t.Helper()
	_, err := ledger.Update(context.Background(), w.store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
		if !it.Exists() {
			it.Value = setting.Defaults()
			it.Value.Mode = setting.Act
		}
		change(&it.Value)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) incident(id string) {
	w.t.Helper()
	it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.High, Finding: ledger.Finding{Account: "222222222222", Region: "us-east-1"},
		Rule: "builtin.yaml:7",
		Plan: incident.Plan{Contain: []incident.Step{{Action: "shut-door", Target: target}, {Action: "shut-door", Target: target, With: map[string]string{"only": "a"}}}},
	}}
	if err := ledger.Save(context.Background(), w.store, &it); err != nil {
		w.t.Fatal(err)
	}
}

func request(mode incident.Mode, id, execution string) incident.Request {
	return incident.Request{
		Mode: mode, Incident: incident.Ref{ID: id, Episode: 1, Severity: incident.High, Account: "222222222222", Region: "us-east-1"},
		Step: incident.Step{Action: "shut-door", Target: target}, Execution: incident.Execution{ARN: execution, Start: start},
		State: incident.State{Name: "ShutDoor"},
	}
}

func (w *world) must(r incident.Request, want incident.Outcome) incident.Result {
	w.t.Helper()
	got, err := w.do(context.Background(), r)
	if err != nil {
		w.t.Fatalf("%s: %v", r.Mode, err)
	}
	if got.Outcome != want {
		w.t.Fatalf("%s: outcome %s (%s, %v), want %s", r.Mode, got.Outcome, got.Reason, got.Changes, want)
	}
	return got
}

func (w *world) hold() ledger.Hold {
	w.t.Helper()
	it, err := ledger.Load[ledger.Hold](context.Background(), w.store, ledger.HoldKey(target, "shut-door"))
	if err != nil {
		w.t.Fatal(err)
	}
	return it.Value
}

func (w *world) state(want State) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.door.state); diff != "" {
		w.t.Fatalf("the door differs (-want +got):\n%s", diff)
	}
}

func TestContainThenReleaseIsFieldEqual(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "ajar"}})
	apply := request(incident.Apply, "INC-A", first)
	apply.State.Attempt = 2
	got := w.must(apply, incident.Applied)
	if !got.Verified || !slices.Equal(got.Changes, []string{"a: open -> shut", "b: ajar -> shut"}) {
		t.Errorf("result %+v", got)
	}
	undo := request(incident.Undo, "INC-A", second)
	undo.State.Attempt = 3
	w.must(undo, incident.Restored)
	w.state(State{"a": "open", "b": "ajar"})
	events, err := ledger.Timeline(context.Background(), w.store, "INC-A")
	if err != nil || len(events) != 2 {
		t.Fatalf("timeline %+v, %v", events, err)
	}
	// Who, what, when, before, after, why.
	want := ledger.Event{
		Who: first, What: "shut-door " + target + ": applied", Time: start, State: "ShutDoor", Attempt: 2, Result: &got,
		Before: State{"a": "open", "b": "ajar"}, After: State{"a": "shut", "b": "shut"}, Why: "builtin.yaml:7",
	}
	if diff := cmp.Diff(want, events[0]); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
}

func TestApplyTwiceChangesOnce(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.must(request(incident.Apply, "INC-A", first), incident.Already)
	if w.door.changes != 1 {
		t.Errorf("%d changes, want 1", w.door.changes)
	}
}

// The line in the log is all that is left of a change where the function dies in it.
func TestEachChangeIsLoggedBeforeItIsMade(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(was) })
	w := newWorld(t, &door{state: State{"a": "open"}})
	for _, c := range []struct {
		mode incident.Mode
		what string
		want incident.Outcome
	}{{incident.Apply, "change", incident.Applied}, {incident.Undo, "restore", incident.Restored}} {
		log.Reset()
		said := ""
		w.door.fail = func(_ int, kind string) error {
			if kind == "change" {
				said = log.String()
			}
			return nil
		}
		w.must(request(c.mode, "INC-A", first), c.want)
		if want := fmt.Sprintf("msg=%s incident=INC-A action=shut-door target=%s mode=%s\n", c.what, target, c.mode); !strings.Contains(said, want) {
			t.Errorf("before the change the log says %q, not %q", said, want)
		}
	}
}

// Results travel in the machine's state: what differs in many fields is said in twenty lines.
func TestAResultIsShort(t *testing.T) {
	many := State{}
	for n := range 30 {
		many[fmt.Sprintf("%02d", n)] = "open"
	}
	w := newWorld(t, &door{state: many})
	got := w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	if len(got.Changes) != 20 || got.Changes[19] != "and 11 more, see the timeline" {
		t.Errorf("%d lines: %q", len(got.Changes), got.Changes)
	}
}

func TestTwoIncidentsHoldOneContainment(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.must(request(incident.Apply, "INC-B", second), incident.Already)
	w.must(request(incident.Undo, "INC-A", first), incident.Held)
	w.state(State{"a": "shut"})
	w.must(request(incident.Undo, "INC-B", second), incident.Restored)
	w.state(State{"a": "open"})
}

func TestAWiderStepWidensTheHold(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "open"}})
	only := request(incident.Apply, "INC-A", first)
	only.Step.With = map[string]string{"only": "a"}
	w.must(only, incident.Applied)
	w.state(State{"a": "shut", "b": "open"})
	w.must(request(incident.Apply, "INC-B", second), incident.Applied)
	w.state(State{"a": "shut", "b": "shut"})
	w.must(request(incident.Undo, "INC-B", second), incident.Held)
	only.Mode = incident.Undo
	w.must(only, incident.Restored)
	w.state(State{"a": "open", "b": "open"})
}

func TestContainedByOthersIsHeldWithoutChange(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "shut"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Already)
	w.must(request(incident.Undo, "INC-A", first), incident.Restored)
	w.state(State{"a": "shut"})
	if w.door.changes != 0 {
		t.Errorf("%d changes, want 0", w.door.changes)
	}
}

// Whoever died in the middle keeps others out for as long as its lease lasts, and no longer.
func TestALeaseThatRanOutIsTakenOver(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	left := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(target, "shut-door"), Value: ledger.Hold{
		Resource: target, Action: "shut-door", Phase: ledger.Applying, Before: State{"a": "open"}, Intent: State{"a": "shut"},
		Holders: map[string]map[string]string{"INC-A": {}}, Lessee: first, Lease: start.Add(time.Second),
	}}
	if err := ledger.Save(t.Context(), w.store, &left); err != nil {
		t.Fatal(err)
	}
	if _, err := w.do(t.Context(), request(incident.Apply, "INC-B", second)); !fault.Is(err, fault.Busy) {
		t.Fatalf("within the lease: %v, want Busy", err)
	}
	left.Value.Lease = start
	if err := ledger.Save(t.Context(), w.store, &left); err != nil {
		t.Fatal(err)
	}
	w.must(request(incident.Apply, "INC-B", second), incident.Applied)
	w.state(State{"a": "shut"})
}

func TestALiveLeaseIsBusy(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.door.fail = func(_ int, kind string) error {
		if kind == "change" {
			// What another execution meets in the middle of this one.
			w.door.fail = nil
			w.door.mu.Unlock()
			defer w.door.mu.Lock()
			_, err := w.do(context.Background(), request(incident.Apply, "INC-B", second))
			if !fault.Is(err, fault.Busy) {
				t.Errorf("the other execution got %v, want Busy", err)
			}
		}
		return nil
	}
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.must(request(incident.Apply, "INC-B", second), incident.Already)
}

// A crash at any call, by an error that leaves the hold leased or by the process being killed, and a retry: the same end, the
// first Before.
func TestCrashAnywhereThenRetry(t *testing.T) {
	want := State{"a": "shut", "b": "shut", "c": "shut"}
	for at := 1; ; at++ {
		w := newWorld(t, &door{state: State{"a": "open", "b": "ajar", "c": "shut"}})
		died := false
		w.door.fail = func(call int, _ string) error {
			if call == at {
				died = true
				panic("killed")
			}
			return nil
		}
		func() {
			defer func() {
				if recover() != nil {
					w.door.mu.TryLock()
					w.door.mu.Unlock()
				}
			}()
			if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err != nil {
				t.Fatal(err)
			}
		}()
		if !died {
			if at < 5 {
				t.Fatalf("only %d calls were tried", at-1)
			}
			return
		}
		w.door.fail = nil
		if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err != nil {
			t.Fatalf("killed at call %d, then: %v", at, err)
		}
		w.state(want)
		if diff := cmp.Diff(map[string]string{"a": "open", "b": "ajar", "c": "shut"}, w.hold().Before); diff != "" {
			t.Fatalf("killed at call %d: before differs (-want +got):\n%s", at, diff)
		}
		w.must(request(incident.Undo, "INC-A", first), incident.Restored)
		w.state(State{"a": "open", "b": "ajar", "c": "shut"})
	}
}

func TestAnAttackerWhoUndoesOnceIsBeaten(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	once := true
	w.door.meddle = func(s State) {
		if once {
			once, s["a"] = false, "open"
		}
	}
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.state(State{"a": "shut"})
}

func TestAnAttackerWhoNeverStopsIsNeverCalledContained(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.door.meddle = func(s State) { s["a"] = "open" }
	_, err := w.do(context.Background(), request(incident.Apply, "INC-A", first))
	if !fault.Is(err, fault.NotVerified) {
		t.Fatalf("got %v, want NotVerified", err)
	}
	if p := w.hold().Phase; p == ledger.Held {
		t.Errorf("the ledger says %s", p)
	}
	w.door.meddle = nil
	w.must(request(incident.Apply, "INC-B", second), incident.Applied)
}

func TestAFieldThatSomebodyElseChangedDuringACrashNeedsForce(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "open"}})
	w.door.fail = func(call int, kind string) error {
		if kind == "change" && w.door.state["a"] == "shut" {
			return errors.New("denied")
		}
		return nil
	}
	if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err == nil || !strings.Contains(err.Error(), "done: a: open -> shut") || !strings.Contains(err.Error(), "not done: b: open -> shut") {
		t.Fatalf("the error does not say what is done and what is not: %v", err)
	}
	w.door.fail = nil
	w.door.state["b"] = "painted"
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	got := w.must(request(incident.Undo, "INC-A", first), incident.Drifted)
	if len(got.Changes) == 0 {
		t.Error("drifted without a word")
	}
	forced := request(incident.Undo, "INC-A", first)
	forced.Force = true
	w.must(forced, incident.Restored)
	w.state(State{"a": "open", "b": "painted"})
}

func TestAHalfDoneActionIsUndone(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "open"}})
	w.door.fail = func(_ int, kind string) error {
		if kind == "change" && w.door.state["a"] == "shut" {
			return errors.New("denied")
		}
		return nil
	}
	if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err == nil {
		t.Fatal("no error")
	}
	w.door.fail = nil
	w.must(request(incident.Undo, "INC-A", second), incident.Restored)
	w.state(State{"a": "open", "b": "open"})
}

func TestUndoRefusesWhatSomebodyChangedSince(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.door.state["a"] = "locked"
	got := w.must(request(incident.Undo, "INC-A", first), incident.Drifted)
	if want := []string{"a: Firebreak left shut, it is locked now"}; !slices.Equal(got.Changes, want) {
		t.Errorf("changes %q, want %q", got.Changes, want)
	}
	w.state(State{"a": "locked"})
}

func TestReleasedAMomentAgoAsksAPerson(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.must(request(incident.Undo, "INC-A", first), incident.Restored)
	got := w.must(request(incident.Apply, "INC-B", second), incident.Refused)
	if got.Override != string(guard.Released) {
		t.Errorf("override %q, want released", got.Override)
	}
	w.state(State{"a": "open"})
}

func TestGoneIsAnOutcome(t *testing.T) {
	w := newWorld(t, &door{gone: true})
	for _, mode := range []incident.Mode{incident.Look, incident.Apply} {
		w.must(request(mode, "INC-A", first), incident.Gone)
	}
}

func TestPlanWritesNothing(t *testing.T) {
	for name, mode := range map[string]incident.Mode{"asked for a plan": incident.Look, "the installation plans": incident.Apply} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &door{state: State{"a": "open"}})
			w.settings(func(g *setting.Guard) { g.Mode = setting.Plan })
			got := w.must(request(mode, "INC-A", first), incident.Planned)
			if !slices.Equal(got.Changes, []string{"a: open -> shut"}) || w.door.changes != 0 {
				t.Errorf("result %+v, %d changes", got, w.door.changes)
			}
		})
	}
}

func TestInDoubtNothingIsChanged(t *testing.T) {
	boom := errors.New("boom")
	for name, breaks := range map[string]func(*world){
		"settings missing":    func(w *world) { _ = w.store.Delete(context.Background(), setting.GuardKey, 1) },
		"settings unreadable": func(w *world) { w.store.Fail = failing("get", setting.GuardKey, boom) },
		"settings invalid":    func(w *world) { w.settings(func(g *setting.Guard) { g.Mode = "acct" }) },
		"incident unreadable": func(w *world) { w.store.Fail = failing("get", ledger.IncidentKey("INC-A"), boom) },
		"hold unreadable":     func(w *world) { w.store.Fail = failing("get", ledger.HoldKey(target, "shut-door"), boom) },
		"budget uncountable": func(w *world) {
			w.store.Fail = failing("add", guard.BudgetKey("222222222222", "shut-door", start), boom)
		},
		"hold unwritable": func(w *world) { w.store.Fail = failing("put", ledger.HoldKey(target, "shut-door"), boom) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &door{state: State{"a": "open"}})
			breaks(w)
			if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err == nil {
				t.Fatal("no error")
			}
			if w.door.changes != 0 {
				t.Errorf("%d changes, want 0", w.door.changes)
			}
		})
	}
}

func failing(op string, k ledger.Key, err error) func(string, ledger.Key) error {
	return func(o string, key ledger.Key) error {
		if o == op && key == k {
			return err
		}
		return nil
	}
}

func TestBadRequestsAreNamed(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	for name, change := range map[string]func(*incident.Request){
		"another action":  func(r *incident.Request) { r.Step.Action = "open-door" },
		"no ARN":          func(r *incident.Request) { r.Step.Target = "i-0abcdef1234567890" },
		"another account": func(r *incident.Request) { r.Step.Target = strings.Replace(target, "222222222222", "333333333333", 1) },
		"no mode":         func(r *incident.Request) { r.Mode = "" },
		"no execution":    func(r *incident.Request) { r.Execution.ARN = "" },
	} {
		r := request(incident.Apply, "INC-A", first)
		change(&r)
		if _, err := w.do(context.Background(), r); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: got %v, want BadInput", name, err)
		}
	}
}

func TestAPartThatIsGoneDoesNotStopTheRelease(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	delete(w.door.state, "b")
	w.must(request(incident.Undo, "INC-A", first), incident.Drifted)
	forced := request(incident.Undo, "INC-A", first)
	forced.Force = true
	w.must(forced, incident.Restored)
	w.state(State{"a": "open"})
}

func TestARefusedRestoreLeavesTheContainmentHeld(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.door.fail = func(_ int, kind string) error {
		if kind == "change" {
			return Refuse("not this one")
		}
		return nil
	}
	w.must(request(incident.Undo, "INC-A", first), incident.Refused)
	if h := w.hold(); h.Phase != ledger.Held || h.Lessee != "" {
		t.Errorf("the hold is %s, leased to %q", h.Phase, h.Lessee)
	}
}

func TestARestoreOfWhatWasTakenAwayIsReadBack(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "open"}})
	w.door.takes = true
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.state(State{})
	w.door.deaf = true
	if _, err := w.do(context.Background(), request(incident.Undo, "INC-A", first)); !fault.Is(err, fault.NotVerified) {
		t.Fatalf("a restore without effect gave %v, want NotVerified", err)
	}
	w.door.deaf = false
	w.must(request(incident.Undo, "INC-A", first), incident.Restored)
	w.state(State{"a": "open", "b": "open"})
}

package release_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/release"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

const (
	one    = "INC-BWJ4TH5BLF5DYQIG"
	two    = "INC-VEPYW46KHAZJUHQC"
	server = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	role   = "arn:aws:iam::222222222222:role/clinic-web"
	alice  = "arn:aws:iam::111111111111:user/alice"
	runs   = "arn:aws:states:us-east-1:111111111111:execution:firebreak-"
)

var (
	start    = time.Date(2026, 3, 2, 3, 12, 5, 0, time.UTC)
	isolate  = incident.Step{Action: "isolate-instance", Target: server}
	snapshot = incident.Step{Action: "snapshot-volumes", Target: server}
	revoke   = incident.Step{Action: "revoke-sessions", Target: role}
	tell     = incident.Step{Action: "notify", Target: server}
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// door is a resource with one field that should be shut.
type door struct {
	state   string
	changes int
	fail    error
}

func (d *door) Observe(context.Context, action.Call) (action.State, error) {
	return action.State{"door": d.state}, nil
}

func (d *door) Intent(action.Call, action.State) (action.State, error) {
	return action.State{"door": "shut"}, nil
}

func (d *door) Contained(_ action.Call, s action.State) bool { return s["door"] == "shut" }

func (d *door) Apply(_ context.Context, _ action.Call, _, to action.State) error { return d.set(to) }

func (d *door) Restore(_ context.Context, _ action.Call, _, to action.State) error { return d.set(to) }

func (d *door) set(to action.State) error {
	if d.fail != nil {
		return d.fail
	}
	d.state, d.changes = to["door"], d.changes+1
	return nil
}

// photo is an action without an undo.
type photo struct{ door }

func (*photo) NoUndo() string { return "a photograph is evidence" }

// world is an installation that acts, with three actions, and two incidents.
type world struct {
	t       *testing.T
	store   *ledger.Memory
	doors   map[string]*door
	actions map[string]func(context.Context, incident.Request) (incident.Result, error)
	ran     int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: ledger.NewMemory(), doors: map[string]*door{"isolate-instance": {state: "open"}, "revoke-sessions": {state: "ajar"}}}
	spine := action.NewSpine(w.store, setting.Fixed(setting.Installed{Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}}))
	w.actions = map[string]func(context.Context, incident.Request) (incident.Result, error){
		"snapshot-volumes": spine.Containing("snapshot-volumes", &photo{door{state: "open"}}),
	}
	for name, d := range w.doors {
		w.actions[name] = spine.Containing(name, d)
	}
	w.settings(func(*setting.Guard) {})
	for _, id := range []string{one, two} {
		it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
			ID: id, Status: incident.Open, Episode: 1, Band: incident.High, Owner: runs + "respond:" + id, OwnerStart: start, FirstSeen: start, LastSeen: start,
			Finding: ledger.Finding{Product: "aws/guardduty", Type: "Backdoor:EC2/C&CActivity.B", Account: "222222222222", Region: "us-east-1", Resources: []string{server}},
			Plan:    incident.Plan{Contain: []incident.Step{isolate, snapshot, revoke, tell}, Eradicate: []incident.Step{}},
		}}
		ledger.Place(&it)
		w.must(ledger.Save(context.Background(), w.store, &it))
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
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
	w.must(err)
}

func (w *world) meta(id string) ledger.Incident {
	w.t.Helper()
	it, err := ledger.Load[ledger.Incident](context.Background(), w.store, ledger.IncidentKey(id))
	w.must(err)
	return it.Value
}

func (w *world) do(mode incident.Mode, id, execution string, step incident.Step, change ...func(*incident.Request)) (incident.Result, error) {
	req := incident.Request{
		Mode: mode, Incident: w.meta(id).Ref(), Step: step, State: incident.State{Name: step.Action},
		Execution: incident.Execution{ARN: runs + execution, Start: time.Now().UTC()},
	}
	for _, c := range change {
		c(&req)
	}
	return w.actions[step.Action](context.Background(), req)
}

// contain does the steps of an incident and closes it as contained.
func (w *world) contain(id string, steps ...incident.Step) {
	w.t.Helper()
	outcomes := map[string]incident.Result{tell.Key(): {Outcome: incident.Applied}}
	for _, s := range steps {
		r, err := w.do(incident.Apply, id, "respond:"+id, s)
		w.must(err)
		if !r.Outcome.Contains() {
			w.t.Fatalf("%s is %s: %s", s.Action, r.Outcome, r.Reason)
		}
		outcomes[s.Key()] = r
	}
	_, err := ledger.Update(context.Background(), w.store, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Status, it.Value.Ending, it.Value.Outcomes = incident.Contained, incident.EndContained, outcomes
		ledger.Place(it)
		return nil
	})
	w.must(err)
}

// plan asks for a release as the first state of the machine does.
func (w *world) plan(ask incident.Release) (incident.ReleasePlan, error) {
	if ask.By == "" {
		ask.By = alice
	}
	return release.Plan(context.Background(), w.store, ask)
}

// release does what the machine does with a plan: each step in turn, a failed one as the machine writes it, then the closing.
func (w *world) release(ask incident.Release) (incident.Closing, error) {
	w.t.Helper()
	p, err := w.plan(ask)
	w.must(err)
	if p.Disposition != incident.ReleaseSteps {
		w.t.Fatalf("refused: %s", p.Reason)
	}
	w.ran++
	in := incident.ReleaseCloseRequest{Release: p, Results: []incident.Result{}, State: incident.State{Name: "CloseRelease"},
		Execution: incident.Execution{ARN: fmt.Sprintf("%srelease:%s", runs, incident.ReleaseName(ask.Incident, w.ran)), Start: time.Now().UTC()}}
	w.must(release.Tell(context.Background(), w.store, p, in.Execution, incident.State{Name: "PlanRelease"}, time.Now().UTC()))
	for _, s := range p.Steps {
		r, err := w.do(p.Mode, ask.Incident, "release:"+ask.Incident, s, func(q *incident.Request) { q.Force, q.Why = p.Force, p.Why })
		if err != nil {
			r = incident.Result{Action: s.Action, Target: s.Target, Outcome: incident.Failed, Changes: []string{}, Reason: string(fault.NameOf(err)) + ", see the dead letter"}
		}
		in.Results = append(in.Results, r)
	}
	closing, _, err := release.Close(context.Background(), w.store, in, time.Now().UTC())
	again, _, err2 := release.Close(context.Background(), w.store, in, time.Now().UTC())
	if diff := cmp.Diff(closing, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(err2) {
		w.t.Errorf("closing twice differs: %s %v %v", diff, err, err2)
	}
	return closing, err
}

func (w *world) doorsAre(isolate, revoke string) {
	w.t.Helper()
	if w.doors["isolate-instance"].state != isolate || w.doors["revoke-sessions"].state != revoke {
		w.t.Errorf("the doors are %s and %s, want %s and %s", w.doors["isolate-instance"].state, w.doors["revoke-sessions"].state, isolate, revoke)
	}
}

func names(steps []incident.Step) (out []string) {
	for _, s := range steps {
		out = append(out, s.Action)
	}
	return out
}

func TestContainThenReleaseIsFieldEqualAndClosed(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate, snapshot, revoke)
	w.doorsAre("shut", "shut")
	asked, err := approval.Open(t.Context(), w.store, approval.Request{
		Incident: w.meta(one).Ref(), Kind: approval.KindEradicate, Round: 1, Token: "token", Steps: []approval.Step{{Step: incident.Step{Action: "terminate-instance", Target: server}}},
		Execution: incident.Execution{ARN: runs + "respond:" + one, Start: start}, Expires: time.Now().Add(time.Hour), Now: time.Now(),
	})
	w.must(err)
	p, err := w.plan(incident.Release{Incident: one})
	w.must(err)
	if diff := cmp.Diff([]string{"revoke-sessions", "isolate-instance"}, names(p.Steps)); diff != "" {
		t.Errorf("steps, the newest first (-want +got):\n%s", diff)
	}
	if len(p.Kept) != 1 || p.Kept[0].Action != "snapshot-volumes" || !strings.Contains(p.Kept[0].Reason, "a snapshot is evidence") {
		t.Errorf("kept %+v", p.Kept)
	}
	closing, err := w.release(incident.Release{Incident: one, Why: "a false alarm"})
	w.must(err)
	w.doorsAre("open", "ajar")
	m := w.meta(one)
	if closing.Ending != incident.EndReleased || closing.Done != 2 || m.Status != incident.Closed || m.ClosedAt.IsZero() || m.Needs != "" {
		t.Errorf("closing %+v, incident %s closed at %s, needs %q", closing, m.Status, m.ClosedAt, m.Needs)
	}
	events, err := ledger.Timeline(t.Context(), w.store, one)
	w.must(err)
	var by, closed int
	for _, e := range events {
		if strings.Contains(e.Why, alice+": a false alarm") {
			by++
		}
		if strings.HasPrefix(e.What, "released: ") {
			closed++
		}
	}
	if by != 4+1 || closed != 1 { // asked, two steps, closed; the request to people that ended
		t.Errorf("%d events say who asked and why, %d that it is released:\n%+v", by, closed, events)
	}
	it, err := approval.Load(t.Context(), w.store, one, asked.Number)
	w.must(err)
	if it.Value.Status != approval.StatusCancelled {
		t.Errorf("the request to destroy it is %s", it.Value.Status)
	}
	again, err := w.release(incident.Release{Incident: one})
	w.must(err)
	if again.Ending != incident.EndReleased || again.Done != 0 {
		t.Errorf("a second release: %+v", again)
	}
}

// What a person released is not contained again without a person, by whichever incident; a decision about another step, or one
// that is over, does not count.
func TestAfterAReleaseTheGuardAsks(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate)
	if _, err := w.release(incident.Release{Incident: one}); err != nil {
		t.Fatal(err)
	}
	r, err := w.do(incident.Apply, two, "respond:two", isolate)
	w.must(err)
	if r.Outcome != incident.Refused || r.Override != "released" || !strings.Contains(r.Reason, "was released by a person") {
		t.Fatalf("contained again: %+v", r)
	}
	w.doorsAre("open", "ajar")
	if r, err = w.do(incident.Apply, one, "respond:late", isolate); err != nil || r.Outcome != incident.Refused || r.Override != "" {
		t.Errorf("a closed incident acts: %+v, %v", r, err)
	}
	ask := func(steps ...incident.Step) int {
		var held []approval.Step
		for _, s := range steps {
			held = append(held, approval.Step{Step: s, Rule: "released"})
		}
		a, err := approval.Open(t.Context(), w.store, approval.Request{Incident: w.meta(two).Ref(), Kind: approval.KindOverride, Steps: held,
			Execution: incident.Execution{ARN: runs + "respond:two", Start: time.Now()}, Expires: time.Now().Add(time.Hour), Now: time.Now()})
		w.must(err)
		return a.Number
	}
	decide := func(n int, yes bool) {
		it, err := approval.Load(t.Context(), w.store, two, n)
		w.must(err)
		_, _, err = approval.Decide(t.Context(), w.store, setting.Installed{Approval: setting.Approval{LinkAlone: "reversible"}, Approvers: []setting.Approver{{ID: "alice"}}},
			approval.Vote{Incident: two, Number: n, Approver: "alice", Approve: yes, Via: "link", Hash: it.Value.Hash, Now: time.Now()})
		w.must(err)
	}
	with := func(n int) incident.Outcome {
		r, err := w.do(incident.Apply, two, "respond:two", isolate, func(q *incident.Request) { q.Approval = n })
		w.must(err)
		return r.Outcome
	}
	other, mine := ask(revoke), ask(isolate)
	decide(other, true)
	for what, n := range map[string]int{"about another step": other, "that nobody has decided": mine, "that is not there": 99} {
		if o := with(n); o != incident.Refused {
			t.Errorf("an override %s lets it through: %s", what, o)
		}
	}
	decide(mine, true)
	if o := with(mine); o != incident.Applied || w.doors["isolate-instance"].state != "shut" {
		t.Fatalf("an approved override: %s", o)
	}
	changes := w.doors["isolate-instance"].changes
	decide(mine, true)
	if o := with(mine); o != incident.Already || w.doors["isolate-instance"].changes != changes {
		t.Errorf("a second decision and a retry acted twice: %s, %d changes", o, w.doors["isolate-instance"].changes-changes)
	}
}

func TestReleaseOfChosenActionsLeavesTheRest(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate, snapshot, revoke)
	closing, err := w.release(incident.Release{Incident: one, Actions: []string{"revoke-sessions"}})
	w.must(err)
	w.doorsAre("shut", "ajar")
	m := w.meta(one)
	if closing.Ending != incident.EndReleased || m.Status != incident.Open || !strings.Contains(m.Needs, "still holds 1 more") || !strings.Contains(m.Needs, alice) {
		t.Errorf("closing %+v, incident %s, needs %q", closing, m.Status, m.Needs)
	}
	if _, err := w.release(incident.Release{Incident: one, Actions: []string{"isolate-instance"}}); err != nil {
		t.Fatal(err)
	}
	if m = w.meta(one); m.Status != incident.Closed {
		t.Errorf("nothing is held any more, and the incident is %s", m.Status)
	}
	w.doorsAre("open", "ajar")
}

func TestWhatSomebodyChangedIsLeftUntilAPersonForcesIt(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate, revoke)
	w.doors["isolate-instance"].state = "painted"
	closing, err := w.release(incident.Release{Incident: one})
	w.must(err)
	w.doorsAre("painted", "ajar")
	m := w.meta(one)
	if closing.Ending != incident.EndDrifted || m.Status == incident.Closed || m.Ending != incident.EndDrifted || !strings.Contains(m.Needs, "Firebreak left shut, it is painted now") || !strings.Contains(m.Needs, "--force") {
		t.Errorf("closing %+v, incident %s, needs %q", closing, m.Status, m.Needs)
	}
	p, err := w.plan(incident.Release{Incident: one, Plan: true, Force: true})
	w.must(err)
	r, err := w.do(p.Mode, one, "release:plan", p.Steps[0], func(q *incident.Request) { q.Force = true })
	w.must(err)
	if r.Outcome != incident.Planned || !slices.Equal(r.Changes, []string{"door: painted -> open"}) || !strings.Contains(r.Reason, "by force, although door: Firebreak left shut, it is painted now") {
		t.Errorf("the plan of the forced release: %+v", r)
	}
	if closing, err = w.release(incident.Release{Incident: one, Force: true, Why: "the paint is mine"}); err != nil || closing.Ending != incident.EndReleased {
		t.Fatalf("closing %+v, %v", closing, err)
	}
	w.doorsAre("open", "ajar")
	if !strings.Contains(closing.Summary, "by force, although door: Firebreak left shut, it is painted now") {
		t.Errorf("the record does not say that it was forced: %s", closing.Summary)
	}
}

func TestOneHolderLeavesAnotherStays(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate)
	w.contain(two, isolate)
	closing, err := w.release(incident.Release{Incident: one})
	w.must(err)
	w.doorsAre("shut", "ajar")
	if m := w.meta(one); closing.Ending != incident.EndReleased || m.Status != incident.Closed || !strings.Contains(closing.Summary, "still held for "+two) {
		t.Errorf("closing %+v, incident %s", closing, m.Status)
	}
	if _, err := w.release(incident.Release{Incident: two}); err != nil {
		t.Fatal(err)
	}
	w.doorsAre("open", "ajar")
}

func TestAFailedStepNeedsAPersonAndTheSameReleaseFinishesIt(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate, revoke)
	w.doors["revoke-sessions"].fail = errors.New("denied")
	_, err := w.release(incident.Release{Incident: one})
	m := w.meta(one)
	if !fault.Is(err, fault.Incomplete) || m.Status != incident.Open || m.Ending != incident.EndNeedsPerson || !strings.Contains(m.Needs, "Done: isolate-instance i-0abcdef1234567890 restored. Not done: revoke-sessions clinic-web failed") {
		t.Errorf("error %v, incident %s %s, needs %q", err, m.Status, m.Ending, m.Needs)
	}
	w.doorsAre("open", "shut")
	w.doors["revoke-sessions"].fail = nil
	if closing, err := w.release(incident.Release{Incident: one}); err != nil || closing.Ending != incident.EndReleased || w.meta(one).Status != incident.Closed {
		t.Errorf("again: %+v, %v, %s", closing, err, w.meta(one).Status)
	}
	w.doorsAre("open", "ajar")
}

// Between a step and the closing somebody contains it again: the closing reads the record, not the result.
func TestContainedAgainMeanwhileIsNotReleased(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate)
	p, err := w.plan(incident.Release{Incident: one})
	w.must(err)
	in := incident.ReleaseCloseRequest{Release: p, Execution: incident.Execution{ARN: runs + "release:x", Start: time.Now()},
		Results: []incident.Result{{Action: isolate.Action, Target: isolate.Target, Step: isolate.Key(), Outcome: incident.Already, Changes: []string{}}}}
	_, _, err = release.Close(t.Context(), w.store, in, time.Now())
	if m := w.meta(one); !fault.Is(err, fault.Incomplete) || !strings.Contains(err.Error(), "was contained again meanwhile") || m.Status == incident.Closed {
		t.Errorf("error %v, incident %s", err, m.Status)
	}
}

func TestWhatEarlierEpisodesHoldIsReleasedToo(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate, revoke)
	_, err := ledger.Update(t.Context(), w.store, ledger.IncidentKey(one), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Episode, it.Value.Status, it.Value.Plan, it.Value.Outcomes, it.Value.Finding.Resources = 2, incident.Contained, incident.Plan{Contain: []incident.Step{isolate}}, nil, nil
		return nil
	})
	w.must(err)
	if _, err := w.release(incident.Release{Incident: one}); err != nil {
		t.Fatal(err)
	}
	w.doorsAre("open", "ajar")
}

// What failed half done in an earlier episode is found too, though the next one has another plan and the finding names it no more.
func TestWhatAnEarlierEpisodeLeftHalfDoneIsReleasedToo(t *testing.T) {
	w := newWorld(t)
	w.doors["revoke-sessions"].fail = errors.New("denied")
	if _, err := w.do(incident.Apply, one, "respond:"+one, revoke); err == nil {
		t.Fatal("no error")
	}
	w.doors["revoke-sessions"].fail = nil
	_, err := ledger.Update(t.Context(), w.store, ledger.IncidentKey(one), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Episode, it.Value.Plan, it.Value.Outcomes = 2, incident.Plan{Contain: []incident.Step{tell}}, map[string]incident.Result{tell.Key(): {Outcome: incident.Applied}}
		return nil
	})
	w.must(err)
	p, err := w.plan(incident.Release{Incident: one})
	if err != nil || len(p.Steps) != 1 || p.Steps[0].Action != "revoke-sessions" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestHalfDoneIsUndoneFirst(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate)
	_, err := ledger.Update(t.Context(), w.store, ledger.HoldKey(role, "revoke-sessions"), func(it *ledger.Item[ledger.Hold]) error {
		it.Value = ledger.Hold{Resource: role, Action: "revoke-sessions", Phase: ledger.Applying, Before: map[string]string{"door": "ajar"}, Intent: map[string]string{"door": "shut"}, Holders: map[string]map[string]string{one: {"why": "x"}}}
		return nil
	})
	w.must(err)
	p, err := w.plan(incident.Release{Incident: one})
	w.must(err)
	if diff := cmp.Diff([]incident.Step{{Action: "revoke-sessions", Target: role, With: map[string]string{"why": "x"}}, isolate}, p.Steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestWhatMayNotBeReleased(t *testing.T) {
	for name, c := range map[string]struct {
		world func(*world)
		ask   incident.Release
		want  string // of the refusal
		fault fault.Name
	}{
		"switched off":        {world: func(w *world) { w.settings(func(g *setting.Guard) { g.Mode, g.By = setting.Off, "bob" }) }, want: "switched off (by bob)"},
		"without an undo":     {ask: incident.Release{Actions: []string{"snapshot-volumes"}}, want: "snapshot-volumes has no undo: a snapshot is evidence"},
		"not held":            {ask: incident.Release{Actions: []string{"revoke-sessions", "isolate-instance"}}, want: "holds nothing by revoke-sessions; it holds by isolate-instance, snapshot-volumes"},
		"no such action":      {ask: incident.Release{Actions: []string{"open-sesame"}}, want: "holds nothing by open-sesame"},
		"a later episode":     {ask: incident.Release{Episode: 7}, want: "episode 1 of " + one + " has begun since"},
		"no such incident":    {ask: incident.Release{Incident: "INC-AAAAAAAAAAAAAAAA"}, fault: fault.BadInput},
		"settings unreadable": {world: func(w *world) { w.must(w.store.Delete(w.t.Context(), setting.GuardKey, 1)) }, fault: fault.Unreadable},
		"still being contained": {world: func(w *world) {
			_, err := ledger.Update(w.t.Context(), w.store, ledger.IncidentKey(one), func(it *ledger.Item[ledger.Incident]) error {
				it.Value.Status, it.Value.Ending, it.Value.Outcomes = incident.Open, "", nil
				return nil
			})
			w.must(err)
		}, fault: fault.Busy},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.contain(one, isolate, snapshot)
			if c.world != nil {
				c.world(w)
			}
			if c.ask.Incident == "" {
				c.ask.Incident = one
			}
			p, err := w.plan(c.ask)
			if c.fault != "" {
				if !fault.Is(err, c.fault) {
					t.Errorf("error %v, want %s", err, c.fault)
				}
				return
			}
			w.must(err)
			if p.Disposition != incident.ReleaseNothing || !strings.Contains(p.Reason, c.want) || len(p.Steps) > 0 {
				t.Errorf("%s with %d steps: %s, want it to say %q", p.Disposition, len(p.Steps), p.Reason, c.want)
			}
		})
	}
	if _, err := release.Plan(t.Context(), ledger.NewMemory(), incident.Release{Incident: one}); !fault.Is(err, fault.BadInput) {
		t.Errorf("nobody asks: %v", err)
	}
}

func TestAPlanWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.contain(one, isolate, snapshot, revoke)
	var writes []string
	w.store.Fail = func(op string, k ledger.Key) error {
		if op != "get" && op != "list" && op != "open" {
			writes = append(writes, op+" "+k.SK)
		}
		return nil
	}
	p, err := w.plan(incident.Release{Incident: one, Plan: true})
	w.must(err)
	said := map[string][]string{}
	for _, s := range p.Steps {
		r, err := w.do(p.Mode, one, "release:plan", s)
		w.must(err)
		said[s.Action] = append([]string{string(r.Outcome)}, r.Changes...)
	}
	want := map[string][]string{"isolate-instance": {"planned", "door: shut -> open"}, "revoke-sessions": {"planned", "door: shut -> ajar"}}
	if diff := cmp.Diff(want, said); diff != "" || len(writes) > 0 {
		t.Errorf("planned (-want +got):\n%s, written %v", diff, writes)
	}
	in := incident.ReleaseCloseRequest{Release: p, Execution: incident.Execution{ARN: runs + "release:x", Start: time.Now()}, Results: []incident.Result{}}
	if _, _, err := release.Close(t.Context(), w.store, in, time.Now()); !fault.Is(err, fault.Incomplete) || len(writes) > 0 {
		t.Errorf("a plan that failed: %v, written %v", err, writes)
	}
	w.doorsAre("shut", "shut")
	if w.meta(one).Status != incident.Contained {
		t.Errorf("the incident is %s", w.meta(one).Status)
	}
}

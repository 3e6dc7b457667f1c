package main

import (
	"fmt"
	"strings"
	"testing"

	"firebreak/lib/approval"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

// park makes incidents whose instance was not isolated because the budget was spent, each with its request to people.
func (w *world) park(n int) []string {
	w.t.Helper()
	guard := ledger.Item[setting.Guard]{Key: setting.GuardKey, Value: setting.Defaults()}
	if err := ledger.Save(w.t.Context(), w.store, &guard); err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for i := range n {
		name := fmt.Sprintf("INC-AAAAAAAAAAAAAAA%d", i+2)
		ids = append(ids, name)
		w.incident(func(m *ledger.Incident) {
			m.ID = name
			m.Outcomes[isolate.Key()] = incident.Result{Action: isolate.Action, Target: instance, Outcome: incident.Refused, Override: "budget", Reason: "spent"}
		})
		a := ledger.Item[approval.Approval]{Key: approval.Key(name, 1), Value: approval.Approval{Incident: name, Number: 1, Episode: 1, Kind: approval.KindOverride, Status: approval.StatusOpen,
			Steps: []approval.Step{{Step: isolate, Rule: "budget"}}}}
		other := ledger.Item[approval.Approval]{Key: approval.Key(name, 2), Value: approval.Approval{Incident: name, Number: 2, Episode: 1, Kind: approval.KindOverride, Status: approval.StatusOpen,
			Steps: []approval.Step{{Step: revoke, Rule: "shared"}}}}
		if err := ledger.Save(w.t.Context(), w.store, &a, &other); err != nil {
			w.t.Fatal(err)
		}
	}
	return ids
}

func TestOneDecisionRaisesABudgetAndStartsWhatItParked(t *testing.T) {
	w := newWorld(t)
	ids := w.park(3)
	w.incident(func(*ledger.Incident) {}) // waits for another reason
	if code := w.run("budget"); code != 0 {
		t.Fatal(w.err.String())
	}
	for _, words := range append(ids, "isolate-instance instance/i-0abcdef1234567890", "budget 222222222222 isolate-instance --raise 3") {
		w.has(words)
	}
	if code := w.run("budget", "222222222222", "isolate-instance", "--raise", "3", "--why", "a fleet was hit"); code != 0 {
		t.Fatalf("%s%s", w.out.String(), w.err.String())
	}
	var want []string
	for _, name := range ids {
		want = append(want, name+"-e1-r1")
	}
	if diff := cmp.Diff(want, w.starts); diff != "" {
		t.Fatalf("started (-want +got):\n%s", diff)
	}
	r := w.resume(w.starts[0])
	if diff := cmp.Diff([]incident.Step{isolate}, r.Steps); diff != "" || r.From != "" || !strings.Contains(r.Reason, "raised by 3: a fleet was hit, by arn:aws:iam::111111111111:user/alice") {
		t.Errorf("resumes %+v\n%s", r, diff)
	}
	raised, err := ledger.Load[guard.Raise](t.Context(), w.store, guard.RaiseKey("222222222222", "isolate-instance", now))
	if err != nil || raised.Value.By != 3 || raised.Value.Why != "a fleet was hit" || !strings.Contains(raised.Value.Who, "alice") {
		t.Errorf("%+v, %v", raised.Value, err)
	}
	for n, want := range map[int]approval.Status{1: approval.StatusCancelled, 2: approval.StatusOpen} {
		it, err := approval.Load(t.Context(), w.store, ids[0], n)
		if err != nil || it.Value.Status != want {
			t.Errorf("request %d is %s (%v), want %s", n, it.Value.Status, err, want)
		}
	}
}

func TestABudgetIsRaisedForOneAccountAndAction(t *testing.T) {
	w := newWorld(t)
	w.park(2)
	if code := w.run("budget", "333333333333", "isolate-instance", "--raise", "1"); code != 0 || len(w.starts) > 0 {
		t.Errorf("exit code %d, started %v: another account's", code, w.starts)
	}
	for _, args := range [][]string{{"222222222222"}, {"222222222222", "isolate-instance"}, {"222222222222", "isolate-instance", "--raise", "0"}, {"222222222222", "open-sesame", "--raise", "1"},
		{"clinic", "isolate-instance", "--raise", "1"}, {"--raise", "1"}} {
		if code := w.run(append([]string{"budget"}, args...)...); code != 2 || len(w.starts) > 0 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

package actiontest

import (
	"context"
	"slices"
	"testing"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// Cycle takes an action through a plan, apply, the plan of its undo, and undo. changes counts the changing calls that the fake
// has taken so far. Neither plan makes one, nor writes anything to the ledger. The result of the undo is the golden
// "restored", or, for an action without one, "not-undone".
func Cycle(t *testing.T, store *ledger.Memory, changes func() int, do func(incident.Mode) (incident.Result, error)) {
	t.Helper()
	run := func(mode incident.Mode, want ...incident.Outcome) incident.Result {
		t.Helper()
		before, writes := changes(), 0
		if mode.Looks() {
			store.Fail = func(op string, _ ledger.Key) error {
				if op == "put" || op == "delete" || op == "add" {
					writes++
				}
				return nil
			}
			defer func() { store.Fail = nil }()
		}
		got, err := do(mode)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if !slices.Contains(want, got.Outcome) {
			t.Fatalf("%s: outcome %s (%s, %q), want %v", mode, got.Outcome, got.Reason, got.Changes, want)
		}
		if n := changes() - before; mode.Looks() && (n > 0 || writes > 0) {
			t.Errorf("%s made %d changing calls and %d writes to the ledger, want none", mode, n, writes)
		}
		return got
	}
	run(incident.Look, incident.Planned)
	run(incident.Apply, incident.Applied)
	planned := run(incident.LookUndo, incident.Planned, incident.Refused)
	if planned.Outcome == incident.Refused {
		n := changes()
		got := run(incident.Undo, incident.Refused)
		if changes() > n {
			t.Error("an undo that is refused changed something")
		}
		Golden(t, "not-undone", got)
		return
	}
	got := run(incident.Undo, incident.Restored)
	if !slices.Equal(planned.Changes, got.Changes) {
		t.Errorf("the plan of the undo says %q, and the undo did %q", planned.Changes, got.Changes)
	}
	Golden(t, "restored", got)
	run(incident.LookUndo, incident.Already)
}

// Cycle is Cycle for one incident and target.
func (w *World) Cycle(target string, with map[string]string, changes func() int) {
	w.t.Helper()
	req := w.Request(incident.Look, "INC-BWJ4TH5BLF5DYQIG", target, with)
	Cycle(w.t, w.Store, changes, func(mode incident.Mode) (incident.Result, error) {
		req.Mode = mode
		return w.do(context.Background(), req)
	})
}

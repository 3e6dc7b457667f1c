package actiontest

import (
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/google/go-cmp/cmp"
)

// Adversary is somebody who undoes what an action does on a fake.
type Adversary struct {
	World  *World
	Target string
	With   map[string]string
	// Undo takes the containment back. Contained reads whether it stands.
	Undo      func()
	Contained func() bool
}

// Undone holds an action against an adversary who undoes each change while the action waits whether it stays. Whoever does it once is
// beaten; whoever never stops is never called contained, and calls for a person; whoever does it to what stood before is noticed.
func Undone(t *testing.T, begin func(*testing.T) Adversary) {
	t.Run("once", func(t *testing.T) { undoneOnce(t, begin(t)) })
	t.Run("always", func(t *testing.T) { undoneAlways(t, begin(t)) })
	t.Run("what stood before", func(t *testing.T) {
		a := begin(t)
		a.World.Must(a.request())
		other := a.World.Request(incident.Apply, "INC-VEPYW46KHAZJUHQC", a.Target, a.With)
		undone := a.undo(1)
		if got, err := a.World.Do(other); err == nil && !a.Contained() || !fault.Is(err, fault.Busy) {
			t.Errorf("%s, %v; want Busy, and that somebody looks again", got.Outcome, err)
		}
		if got := a.World.Must(other); !got.Outcome.Contains() || !got.Verified || !a.Contained() || *undone != 1 {
			t.Errorf("again: %s, contained %v, undone %d times", got.Outcome, a.Contained(), *undone)
		}
	})
}

func (a Adversary) request() incident.Request {
	return a.World.Request(incident.Apply, Incident, a.Target, a.With)
}

// undo has the adversary undo so many times what is contained, 0 for always.
func (a Adversary) undo(times int) *int {
	done := new(int)
	a.World.settling = func() {
		if a.Contained() && (times == 0 || *done < times) {
			*done++
			a.Undo()
		}
	}
	return done
}

func undoneOnce(t *testing.T, a Adversary) {
	t.Helper()
	undone := a.undo(1)
	got := a.World.Must(a.request())
	if got.Outcome != incident.Applied || !got.Verified || !a.Contained() || *undone != 1 {
		t.Errorf("%s, verified %v, contained %v, undone %d times", got.Outcome, got.Verified, a.Contained(), *undone)
	}
}

func undoneAlways(t *testing.T, a Adversary) {
	t.Helper()
	undone := a.undo(0)
	got, err := a.World.Do(a.request())
	if !fault.Is(err, fault.NotVerified) || a.Contained() || *undone < 2 {
		t.Errorf("%s, %v, contained %v, undone %d times; want NotVerified", got.Outcome, err, a.Contained(), *undone)
	}
	it, err := ledger.Load[ledger.Hold](t.Context(), a.World.Store, ledger.HoldKey(a.Target, a.World.name))
	if diff := cmp.Diff(ledger.Applying, it.Value.Phase); err != nil || diff != "" {
		t.Errorf("the ledger (-want +got): %s, %v", diff, err)
	}
	a.World.settling = nil
	if got := a.World.Must(a.request()); !got.Outcome.Contains() || !a.Contained() {
		t.Errorf("when it has stopped: %s", got.Outcome)
	}
}

//go:build engine

package actiontest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

// Subject is a resource on an engine, and what its owner does with it.
type Subject struct {
	Target string
	With   map[string]string
	// Stands reads the resource as its owner does, for comparison: everything that Firebreak may touch, and what is beside it.
	Stands func() any
	// Open says what of it is not contained, as its owner sees it; "" where nothing is.
	Open func() string
	// Change changes what is contained, as somebody does who is in the way. Undo undoes it; nil where Change does.
	Change, Undo func()
	// Delete deletes it; nil where there is always one.
	Delete func()
	// Lacks are the rights that the tests of denial take from the role: of a resource of several parts, those on one part.
	Role  account.Role
	Lacks []string
	On    []string
}

// Suite are the tests of a containing action on the engines.
type Suite struct {
	Action string
	// Act makes the action as its function does.
	Act func(ledger.Store, *setting.Installation, account.Access) action.Containment
	// Factors span the starting states, Usual is one of them that is not contained.
	Factors []Factor
	Usual   Choice
	// Make makes a resource in a starting state.
	Make func(*testing.T, *Engine, Choice) Subject
	// NoUndo says that the action has none: what was taken back by somebody is contained again.
	NoUndo bool
	// Gone is what becomes of a target that does not exist; "" is incident.Gone.
	Gone incident.Outcome
}

// trying is one subject, its world and its incident.
type trying struct {
	*World
	Subject
	t  *testing.T
	e  *Engine
	id string
}

func (s Suite) begin(t *testing.T, e *Engine, c Choice) *trying {
	t.Helper()
	sub := s.Make(t, e, c)
	w := e.World(t, func(store ledger.Store, inst *setting.Installation) action.Containment {
		return s.Act(store, inst, e.Access)
	})
	return &trying{w, sub, t, e, newIncident()}
}

func (y *trying) request(m incident.Mode) incident.Request {
	return y.Request(m, y.id, y.Target, y.With)
}

// does sends a request that has to come to that outcome.
func (y *trying) does(m incident.Mode, want incident.Outcome) incident.Result {
	y.t.Helper()
	got := y.Must(y.request(m))
	if got.Outcome != want {
		y.t.Fatalf("%s is %s (%s) %q, want %s", m, got.Outcome, got.Reason, got.Changes, want)
	}
	return got
}

// contains applies, and looks as the owner whether it is contained.
func (y *trying) contains() incident.Result {
	y.t.Helper()
	got := y.Must(y.request(incident.Apply))
	if !got.Outcome.Contains() || got.Outcome == incident.Gone || !got.Verified {
		y.t.Fatalf("apply is %s, verified %v (%s) %q", got.Outcome, got.Verified, got.Reason, got.Changes)
	}
	if open := y.Open(); open != "" {
		y.t.Errorf("%s, and the owner sees: %s", got.Outcome, open)
	}
	return got
}

func (y *trying) same(what string, want any) {
	y.t.Helper()
	if diff := cmp.Diff(want, y.Stands()); diff != "" {
		y.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (y *trying) undone(before any) {
	y.t.Helper()
	y.does(incident.Undo, incident.Restored)
	y.same("after the undo it is not as before", before)
}

// failsDenied applies without the right and holds what is said against the state.
func (y *trying) failsDenied() {
	y.t.Helper()
	got, err := y.Do(y.request(incident.Apply))
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "not done: ") || strings.Contains(err.Error(), "not done: nothing") {
		y.t.Fatalf("without %v on %v: %s, %v; want Denied, and what is not done", y.Lacks, y.On, got.Outcome, err)
	}
	if y.Open() == "" {
		y.t.Errorf("it failed and is contained")
	}
	events, err := y.Store.List(y.t.Context(), "INC#"+y.id, "EVENT#")
	if err != nil || !slices.ContainsFunc(events, func(r ledger.Record) bool { return strings.Contains(string(r.Data), "not done: ") }) {
		y.t.Errorf("the timeline does not say what is done and what not: %v", err)
	}
}

// States is how many starting states are tried: 5, or 25 in scripts/test long.
func States() int {
	if os.Getenv("FIREBREAK_LONG") != "" {
		return 25
	}
	return 5
}

// states picks the starting states, and holds all 25 against the promise that every pair of levels is in one of them.
func states(t *testing.T, factors []Factor) []Choice {
	t.Helper()
	all := Pairs(25, 1, factors)
	if missing, of := Uncovered(all, factors); missing > 0 {
		t.Errorf("25 states leave %d of %d pairs of levels out: fewer levels", missing, of)
	}
	out := all[:States()]
	missing, of := Uncovered(out, factors)
	t.Logf("%d starting states with %d of %d pairs of levels", len(out), of-missing, of)
	return out
}

// spread gives so many of the numbers 1 to n, the first and the last among them; all of them in scripts/test long. That a function may
// die at any point at all, also while it looks and writes, is proven on the fakes.
func spread(n, of int) []int {
	if n <= of || States() > 5 {
		of = n
	}
	var out []int
	for i := range of {
		if of == 1 {
			return []int{n}
		}
		out = append(out, 1+i*(n-1)/(of-1))
	}
	return out
}

// OnTheEngine runs them.
func OnTheEngine(t *testing.T, s Suite) {
	e := NewEngine(t, s.Action)
	began := time.Now()
	run := e.part(t)
	usual := func(t *testing.T) *trying { return s.begin(t, e, s.Usual) }

	run("plan, apply, apply again, undo", func(t *testing.T) {
		y := usual(t)
		before := y.Stands()
		planned := y.does(incident.Look, incident.Planned)
		if len(planned.Changes) == 0 {
			t.Error("the plan says no changes")
		}
		y.same("the plan changed something", before)
		y.looked("the plan")
		y.contains()
		all := changed(e.decided(t, y.id))
		if n := len(e.Wire.Changed); n == 0 || len(all) < n {
			t.Errorf("IAM decided on %d changing calls of %d: %v, %v", len(all), n, all, e.Wire.Changed)
		}
		contained := y.Stands()
		e.Wire.Changed = nil
		y.does(incident.Apply, incident.Already)
		y.same("the second time changed something", contained)
		if len(e.Wire.Changed) > 0 {
			t.Errorf("the second time made changing calls: %v", e.Wire.Changed)
		}
		if s.NoUndo {
			y.does(incident.Undo, incident.Refused)
			y.same("the refused undo changed something", contained)
			return
		}
		n := len(changed(e.decided(t, y.id)))
		y.does(incident.LookUndo, incident.Planned)
		y.same("the plan of the undo changed something", contained)
		if more := changed(e.decided(t, y.id)); len(more) != n || len(e.Wire.Changed) > 0 {
			t.Errorf("the plan of the undo changed something: %v, %v", more[n:], e.Wire.Changed)
		}
		y.undone(before)
		y.does(incident.Undo, incident.Already)
	})

	run("crash and retry", func(t *testing.T) {
		y := usual(t)
		y.contains()
		changes := len(e.Wire.Changed)
		restores := 0
		if !s.NoUndo {
			e.Wire.Changed = nil
			y.does(incident.Undo, incident.Restored)
			restores = len(e.Wire.Changed)
		}
		for _, n := range spread(changes, 4) {
			y := usual(t)
			before := y.Stands()
			at, err := e.killedAfter(y.World, y.request(incident.Apply), n)
			if at == "" || err == nil {
				t.Fatalf("not killed after change %d of %d: %v", n, changes, err)
			}
			t.Log("killed after", at)
			y.contains()
			if !s.NoUndo {
				y.undone(before)
			}
		}
		for _, n := range spread(restores, 2) {
			y := usual(t)
			before := y.Stands()
			y.contains()
			at, err := e.killedAfter(y.World, y.request(incident.Undo), n)
			if at == "" || err == nil {
				t.Fatalf("the undo was not killed after change %d of %d: %v", n, restores, err)
			}
			t.Log("the undo killed after", at)
			if got := y.Must(y.request(incident.Undo)); got.Outcome != incident.Restored {
				t.Errorf("the undo again is %s (%s)", got.Outcome, got.Reason)
			}
			y.same("after the undo it is not as before", before)
		}
		t.Logf("killed after %d of %d changing calls, and %d of %d of the undo", len(spread(changes, 4)), changes, len(spread(restores, 2)), restores)
	})

	run("gone", func(t *testing.T) {
		y := usual(t)
		if y.Delete == nil {
			t.Skip("it cannot be gone")
		}
		y.Delete()
		want := s.Gone
		if want == "" {
			want = incident.Gone
		}
		y.does(incident.Apply, want)
		y.looked("what is gone")
		if s.NoUndo {
			return
		}
		y = usual(t)
		y.contains()
		y.Delete()
		y.does(incident.Undo, incident.Gone)
	})

	run("denied, then redriven", func(t *testing.T) {
		y := usual(t)
		before := y.Stands()
		restore := e.Deny(t, y.Role, y.Lacks, y.On...)
		y.failsDenied()
		restore()
		y.contains()
		if !s.NoUndo {
			y.undone(before)
		}
	})

	run("denied, then undone", func(t *testing.T) {
		if s.NoUndo {
			t.Skip("there is no undo: " + s.Action)
		}
		y := usual(t)
		before := y.Stands()
		restore := e.Deny(t, y.Role, y.Lacks, y.On...)
		y.failsDenied()
		restore()
		y.undone(before)
	})

	run("drifted", func(t *testing.T) {
		y := usual(t)
		before := y.Stands()
		y.contains()
		y.Change()
		if s.NoUndo {
			if y.Open() == "" {
				t.Fatal("the change leaves it contained")
			}
			y.does(incident.Apply, incident.Applied)
			if open := y.Open(); open != "" {
				t.Errorf("the owner sees: %s", open)
			}
			return
		}
		somebodys := y.Stands()
		e.Wire.Changed = nil
		got := y.does(incident.Undo, incident.Drifted)
		if len(got.Changes) == 0 || len(e.Wire.Changed) > 0 {
			t.Errorf("drifted says %q and changed %v", got.Changes, e.Wire.Changed)
		}
		y.same("drifted, and something was changed", somebodys)
		forced := y.request(incident.Undo)
		forced.Force = true
		if got := y.Must(forced); got.Outcome != incident.Restored {
			t.Errorf("by force it is %s (%s)", got.Outcome, got.Reason)
		}
		y.same("by force it is not as before", before)
	})

	run("undone while it settles", func(t *testing.T) {
		adversary := func() Adversary {
			y := usual(t)
			undo := y.Undo
			if undo == nil {
				undo = y.Change
			}
			return Adversary{World: y.World, Target: y.Target, With: y.With, Undo: undo, Contained: func() bool { return y.Open() == "" }}
		}
		undoneOnce(t, adversary())
		undoneAlways(t, adversary())
	})

	for _, c := range states(t, s.Factors) {
		run("from "+c.Name(s.Factors), func(t *testing.T) {
			y := s.begin(t, e, c)
			before := y.Stands()
			y.contains()
			y.does(incident.Apply, incident.Already)
			if !s.NoUndo {
				y.undone(before)
			}
		})
	}
	t.Logf("%s: %.1f s", s.Action, time.Since(began).Seconds())
}

// looked holds that no changing call was made, by what the action sent and by what IAM decided.
func (y *trying) looked(what string) {
	y.t.Helper()
	all := y.e.decided(y.t, y.id)
	if len(all) == 0 {
		y.t.Errorf("%s: IAM decided nothing", what)
	}
	if list := changed(all); len(list) > 0 || len(y.e.Wire.Changed) > 0 {
		y.t.Errorf("%s made changing calls: %v, %v", what, list, y.e.Wire.Changed)
	}
}

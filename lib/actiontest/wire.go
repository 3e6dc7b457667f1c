package actiontest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// Wire stands between an action and a fake account: it counts calls, denies them, and dies where a test wants it to. A fake
// embeds one and passes each call through it.
type Wire struct {
	// Denied are calls, by SDK method, that the role may not make.
	Denied map[string]bool
	// Looking and Changing are the statements of the sessions for calls that look and that change: what they do not allow is
	// denied. Their conditions are not looked at.
	Looking, Changing []account.Statement
	// Changed are the changing calls that took effect, in order.
	Changed []string
	// After, where set, is called after each changing call that took effect, as somebody else would act who is quick.
	After func(call string)

	stop func(point string) bool
	dead bool
}

// ErrKilled is what the calls of a killed function answer.
var ErrKilled = errors.New("the function was killed")

// Answer is an error as AWS answers it.
func Answer(code string) error { return &smithy.GenericAPIError{Code: code, Message: code} }

func (w *Wire) pass(point string) error {
	if !w.dead && w.stop != nil && w.stop(point) {
		w.dead = true
	}
	if w.dead {
		return ErrKilled
	}
	return nil
}

// Read passes a call that looks and needs an IAM action on a resource.
func (w *Wire) Read(call, action, resource string) error {
	return w.may(call, w.Looking, action, resource)
}

func (w *Wire) may(call string, allow []account.Statement, action, resource string) error {
	if err := w.pass(call); err != nil {
		return err
	}
	allowed := slices.ContainsFunc(allow, func(s account.Statement) bool {
		return slices.Contains(s.Actions, action) && slices.ContainsFunc(s.Resources, func(r string) bool { return guard.Match(r, resource) })
	})
	if w.Denied[call] || !allowed {
		return fmt.Errorf("%s on %s: %w", action, resource, Answer("AccessDenied"))
	}
	return nil
}

// Change passes a call that changes something: do takes effect, or tells why it does not.
func (w *Wire) Change(call, action, resource string, do func() error) error {
	if err := w.may(call, w.Changing, action, resource); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	w.Changed = append(w.Changed, call)
	if w.After != nil {
		w.After(call)
	}
	return w.pass(call + ", done")
}

// Session notes the statements of a session and gives an error where no session would take them.
func Session(note *[]account.Statement, allow []account.Statement) error {
	*note = allow
	_, err := account.Policy(allow...)
	return err
}

// Trial is a world in which a step can be tried from the start.
type Trial struct {
	World  *World
	Wire   *Wire
	Target string
	With   map[string]string
	// Stands gives the resource as it is, for comparison.
	Stands func() any
	// Action is the action's name.
	Action string
	// NoUndo says that there is nothing to undo.
	NoUndo bool
}

// Incident is the incident of trials.
const Incident = "INC-BWJ4TH5BLF5DYQIG"

func (tr Trial) request(m incident.Mode) incident.Request {
	return tr.World.Request(m, Incident, tr.Target, tr.With)
}

func (tr Trial) hold(t *testing.T) ledger.Hold {
	t.Helper()
	it, err := ledger.Load[ledger.Hold](t.Context(), tr.World.Store, ledger.HoldKey(tr.Target, tr.Action))
	if err != nil {
		t.Fatal(err)
	}
	return it.Value
}

// Kill sends a request and kills the function at the point of that number: a call that looks, a call that changes before or
// after it takes effect, a write of the ledger. It tells at what it was killed, "" where it ended before.
func Kill(world *World, wire *Wire, req incident.Request, point int) (at string, err error) {
	passed := 0
	err = kill(world, wire, req, func(what string) bool {
		if passed++; passed == point {
			at = what
		}
		return passed == point
	})
	return at, err
}

// kill sends a request and kills the function where stop says so.
func kill(world *World, wire *Wire, req incident.Request, stop func(point string) bool) error {
	wire.stop = stop
	world.Store.Fail = func(op string, k ledger.Key) error {
		if op == "put" || op == "add" {
			return wire.pass(op + " " + k.PK + " " + k.SK)
		}
		if wire.dead {
			return ErrKilled
		}
		return nil
	}
	_, err := world.Do(req)
	wire.stop, wire.dead, world.Store.Fail = nil, false, nil
	return err
}

// KilledAnywhere kills apply at every point, and then undo. The next run must end where an unbroken one ends, with the state
// before the first run on record, and undo must give exactly that. begin gives an equal trial each time. It gives the number
// of points.
func KilledAnywhere(t *testing.T, begin func() Trial) int {
	t.Helper()
	whole := begin()
	start := whole.Stands()
	whole.World.Must(whole.request(incident.Apply))
	contained, record := whole.Stands(), whole.hold(t)
	points := 0
	for {
		tr := begin()
		at, err := Kill(tr.World, tr.Wire, tr.request(incident.Apply), points+1)
		if at == "" {
			break
		}
		points++
		if err == nil {
			t.Errorf("killed at %s: no error", at)
		}
		got, err := tr.World.Do(tr.request(incident.Apply))
		if err != nil || !got.Outcome.Contains() || !got.Verified {
			t.Errorf("killed at %s, again: %+v, %v", at, got, err)
			continue
		}
		h := tr.hold(t)
		if diff := cmp.Diff(contained, tr.Stands()); diff != "" {
			t.Errorf("killed at %s, again: ends elsewhere (-unbroken +again):\n%s", at, diff)
		}
		if h.Phase != ledger.Held || h.Part != "" || len(h.Foreign) > 0 {
			t.Errorf("killed at %s, again: phase %s, part %q, foreign %v", at, h.Phase, h.Part, h.Foreign)
		}
		// Where the change was complete and only the record of it was lost, there is nothing left to compare with.
		if diff := cmp.Diff(record.Before, h.Before); diff != "" {
			t.Errorf("killed at %s, again: Before is not the first one:\n%s", at, diff)
		}
		if tr.NoUndo {
			continue
		}
		if got, err := tr.World.Do(tr.request(incident.Undo)); err != nil || got.Outcome != incident.Restored {
			t.Errorf("killed at %s, undo: %+v, %v", at, got, err)
		}
		if diff := cmp.Diff(start, tr.Stands()); diff != "" {
			t.Errorf("killed at %s, undo (-before +after):\n%s", at, diff)
		}
	}
	for point := 1; !whole.NoUndo; point++ {
		tr := begin()
		tr.World.Must(tr.request(incident.Apply))
		at, err := Kill(tr.World, tr.Wire, tr.request(incident.Undo), point)
		if at == "" {
			break
		}
		points++
		if err == nil {
			t.Errorf("undo killed at %s: no error", at)
		}
		got, err := tr.World.Do(tr.request(incident.Undo))
		if err != nil || got.Outcome != incident.Restored && got.Outcome != incident.Already {
			t.Errorf("undo killed at %s, again: %+v, %v", at, got, err)
		}
		if diff := cmp.Diff(start, tr.Stands()); diff != "" {
			t.Errorf("undo killed at %s, again (-before +after):\n%s", at, diff)
		}
		if h := tr.hold(t); h.Phase != ledger.Released {
			t.Errorf("undo killed at %s, again: phase %s", at, h.Phase)
		}
	}
	return points
}

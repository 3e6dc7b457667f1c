package action

import (
	"context"
	"errors"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// The second of three parts is denied: error and record say exactly what is done and what is not, a redrive finishes it, and
// an undo of the half restores what was changed and nothing else.
func TestTheSecondOfThreeIsDenied(t *testing.T) {
	half := func(t *testing.T) *world {
		w := newWorld(t, &door{state: State{"eni-1": "open", "eni-2": "ajar", "eni-3": "wide"}})
		w.door.fail = func(_ int, kind string) error {
			if kind == "change" && w.door.state["eni-1"] == "shut" {
				return fault.Wrap(fault.Denied, errors.New("not authorized"), "shut eni-2")
			}
			return nil
		}
		_, err := w.do(context.Background(), request(incident.Apply, "INC-A", first))
		const words = "done: eni-1: open -> shut; not done: eni-2: ajar -> shut; eni-3: wide -> shut"
		if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), words) {
			t.Fatalf("the error, which is the dead letter's cause, does not say %q: %v", words, err)
		}
		events, lerr := ledger.Timeline(t.Context(), w.store, "INC-A")
		if lerr != nil || len(events) != 1 || !strings.Contains(events[0].What, words) || events[0].Before["eni-1"] != "open" || events[0].After["eni-1"] != "shut" || events[0].After["eni-2"] != "ajar" || events[0].Result == nil || events[0].Result.Outcome != incident.Failed {
			t.Fatalf("the record: %+v, %v", events, lerr)
		}
		if h := w.hold(); h.Phase != ledger.Applying || h.Lessee != "" {
			t.Fatalf("the hold is %s, leased to %q: want it half done, and free for the next", h.Phase, h.Lessee)
		}
		w.door.fail = nil
		return w
	}
	t.Run("redriven", func(t *testing.T) {
		w := half(t)
		got := w.must(request(incident.Apply, "INC-A", second), incident.Applied)
		w.state(State{"eni-1": "shut", "eni-2": "shut", "eni-3": "shut"})
		if len(got.Changes) != 3 {
			t.Errorf("the result of the redrive counts from the first state: %q", got.Changes)
		}
		w.must(request(incident.Undo, "INC-A", second), incident.Restored)
		w.state(State{"eni-1": "open", "eni-2": "ajar", "eni-3": "wide"})
	})
	t.Run("undone", func(t *testing.T) {
		w := half(t)
		planned := w.must(request(incident.LookUndo, "INC-A", second), incident.Planned)
		if len(planned.Changes) != 1 || planned.Changes[0] != "eni-1: shut -> open" {
			t.Errorf("the plan of the undo: %q", planned.Changes)
		}
		changes := w.door.changes
		w.must(request(incident.Undo, "INC-A", second), incident.Restored)
		w.state(State{"eni-1": "open", "eni-2": "ajar", "eni-3": "wide"})
		if w.door.changes != changes+1 {
			t.Errorf("%d changes, want the one that was made", w.door.changes-changes)
		}
	})
}

// where is a door that notes where its calls go.
type where struct {
	*door
	scopes []account.Scope
}

func (w *where) Observe(ctx context.Context, c Call) (State, error) {
	w.scopes = append(w.scopes, c.Scope())
	return w.door.Observe(ctx, c)
}

// Account and region are the target's, whatever region the function or the finding is in.
func TestCallsGoToTheTargetsAccountAndRegion(t *testing.T) {
	d := &where{door: &door{state: State{"a": "open"}}}
	w := newWorld(t, d.door)
	w.do = NewSpine(w.store, installation()).Containing("shut-door", d)
	req := request(incident.Apply, "INC-A", first)
	req.Step.Target = "arn:aws-cn:ec2:cn-north-1:222222222222:instance/i-0abcdef1234567890"
	_, err := ledger.Update(t.Context(), w.store, ledger.IncidentKey("INC-A"), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Plan.Contain = append(it.Value.Plan.Contain, req.Step)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.must(req, incident.Applied)
	for _, s := range d.scopes {
		if want := (account.Scope{Partition: "aws-cn", Account: "222222222222", Region: "cn-north-1", Incident: "INC-A"}); s != want {
			t.Fatalf("a call goes to %+v, want %+v", s, want)
		}
	}
	req.Step.Target = "arn:aws:ec2:us-east-1:333333333333:instance/i-0abcdef1234567890"
	if _, err := w.do(t.Context(), req); !fault.Is(err, fault.BadInput) {
		t.Errorf("another account's target: %v", err)
	}
}

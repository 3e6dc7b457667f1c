package action

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// dated is a door whose intent is another one each time, as a deny by date is.
type dated struct {
	*door
	times int
}

func (d *dated) Intent(_ Call, now State) (State, error) {
	d.times++
	out := State{}
	for f := range now {
		out[f] = fmt.Sprintf("shut %d", d.times)
	}
	return out, nil
}

func (d *dated) Contained(_ Call, s State) bool {
	for _, v := range s {
		if !strings.HasPrefix(v, "shut") {
			return false
		}
	}
	return true
}

// What the first broken run left is ours, also after a second one that intended something else and got nowhere.
func TestWhatBrokenRunsLeftIsNobodyElses(t *testing.T) {
	for _, finished := range []bool{true, false} {
		t.Run(fmt.Sprintf("finished %v", finished), func(t *testing.T) {
			w := newWorld(t, &door{state: State{"a": "open"}})
			spine := NewSpine(w.store, setting.Fixed(setting.Installed{Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}}))
			spine.now = func() time.Time { return start }
			w.do = spine.Containing("shut-door", &dated{door: w.door})
			breaks := func(when func(kind string) bool) {
				t.Helper()
				w.door.fail = func(_ int, kind string) error {
					if when(kind) {
						return errors.New("broken")
					}
					return nil
				}
				if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err == nil {
					t.Fatal("no error")
				}
				w.door.fail = nil
			}
			breaks(func(kind string) bool { return kind == "observe" && w.door.changes > 0 })
			w.state(State{"a": "shut 1"})
			breaks(func(kind string) bool { return kind == "change" })
			w.state(State{"a": "shut 1"})
			if finished {
				got := w.must(request(incident.Apply, "INC-A", first), incident.Applied)
				if len(got.Changes) != 1 || w.hold().Before["a"] != "open" {
					t.Errorf("%q, before %v", got.Changes, w.hold().Before)
				}
			}
			w.must(request(incident.Undo, "INC-A", first), incident.Restored)
			w.state(State{"a": "open"})
		})
	}
}

// A part that somebody adds while the rest is being contained is contained too, and given back by a person's force only.
func TestAPartThatSomebodyAddsMeanwhileIsGivenBackByForce(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.door.meddle = func(s State) {
		if _, there := s["b"]; !there {
			s["b"] = "ajar"
		}
	}
	got := w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	if strings.Join(got.Changes, "; ") != "a: open -> shut; b: ajar -> shut; changed by somebody else meanwhile, kept as found: b" {
		t.Errorf("changes %q", got.Changes)
	}
	w.must(request(incident.Undo, "INC-A", first), incident.Drifted)
	w.state(State{"a": "shut", "b": "shut"})
	forced := request(incident.Undo, "INC-A", first)
	forced.Force = true
	w.must(forced, incident.Restored)
	w.state(State{"a": "open", "b": "ajar"})
}

// What is found gone in a part that must not last needs nobody to finish it.
func TestWhatIsGoneInTheMiddleIsNotFinishedForEver(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.door.fail = func(_ int, kind string) error {
		if kind == "change" {
			return errors.New("killed")
		}
		return nil
	}
	if _, err := w.do(context.Background(), request(incident.Apply, "INC-A", first)); err == nil {
		t.Fatal("no error")
	}
	if _, err := ledger.Update(context.Background(), w.store, ledger.HoldKey(target, "shut-door"), func(it *ledger.Item[ledger.Hold]) error { it.Value.Part = "untracked"; return nil }); err != nil {
		t.Fatal(err)
	}
	w.door.fail, w.door.gone = nil, true
	w.must(request(incident.Apply, "INC-A", first), incident.Gone)
	if p := w.hold().Part; p != "" {
		t.Errorf("the ledger still calls for the end of %q", p)
	}
}

package action

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// reading lets nothing be written: what a plan may not do. It gives what was tried.
func (w *world) reading() *[]string {
	var tried []string
	w.store.Fail = func(op string, k ledger.Key) error {
		if op == "put" || op == "delete" || op == "add" {
			tried = append(tried, op+" "+k.PK+" "+k.SK)
			return errors.New("nothing is to be written")
		}
		return nil
	}
	w.t.Cleanup(func() { w.store.Fail = nil })
	return &tried
}

func TestPlansOfEveryKindWriteNothing(t *testing.T) {
	held := func(w *world) { w.must(request(incident.Apply, "INC-A", first), incident.Applied) }
	for name, c := range map[string]struct {
		world   func(*world)
		mode    incident.Mode
		force   bool
		want    incident.Outcome
		changes []string
		reason  string
	}{
		"of containing":               {mode: incident.Look, want: incident.Planned, changes: []string{"a: open -> shut"}},
		"of containing what is":       {func(w *world) { w.door.state["a"] = "shut" }, incident.Look, false, incident.Already, nil, ""},
		"of containing what is gone":  {func(w *world) { w.door.gone = true }, incident.Look, false, incident.Gone, nil, ""},
		"of undoing":                  {held, incident.LookUndo, false, incident.Planned, []string{"a: shut -> open"}, ""},
		"of undoing what is not held": {mode: incident.LookUndo, want: incident.Already},
		"of undoing what is gone":     {func(w *world) { held(w); w.door.gone = true }, incident.LookUndo, false, incident.Gone, nil, ""},
		"of undoing what others hold": {
			func(w *world) { held(w); w.must(request(incident.Apply, "INC-B", second), incident.Already) },
			incident.LookUndo, false, incident.Held, nil, "held for INC-B",
		},
		"of undoing what was changed": {
			func(w *world) { held(w); w.door.state["a"] = "locked" },
			incident.LookUndo, false, incident.Drifted, []string{"a: Firebreak left shut, it is locked now"}, "nothing would be changed",
		},
		"of undoing it by force": {
			func(w *world) { held(w); w.door.state["a"] = "locked" },
			incident.LookUndo, true, incident.Planned, []string{"a: locked -> open"}, "by force, although a: Firebreak left shut, it is locked now",
		},
		"of undoing what is worked on": {
			func(w *world) {
				held(w)
				it, err := ledger.Load[ledger.Hold](w.t.Context(), w.store, ledger.HoldKey(target, "shut-door"))
				it.Value.Lessee, it.Value.Lease = second, start.AddDate(1, 0, 0)
				if err = errors.Join(err, ledger.Save(w.t.Context(), w.store, &it)); err != nil {
					w.t.Fatal(err)
				}
			}, incident.LookUndo, false, incident.Planned, []string{"a: shut -> open"}, "",
		},
		"of undoing while switched off": {
			func(w *world) { held(w); w.settings(func(g *setting.Guard) { g.Mode = setting.Off }) },
			incident.LookUndo, false, incident.Refused, nil, "switched off",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &door{state: State{"a": "open"}})
			if c.world != nil {
				c.world(w)
			}
			changes, tried := w.door.changes, w.reading()
			req := request(c.mode, "INC-A", first)
			req.Force = c.force
			got := w.must(req, c.want)
			if !slices.Equal(got.Changes, append([]string{}, c.changes...)) || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("it says %q, %s", got.Changes, got.Reason)
			}
			if w.door.changes != changes || len(*tried) > 0 {
				t.Errorf("%d changes, written %v", w.door.changes-changes, *tried)
			}
		})
	}
}

// installation settles in a millisecond.
func installation() *setting.Installation {
	return setting.Fixed(setting.Installed{Action: setting.Action{SettleMilliseconds: 1, LeaseSeconds: 90}})
}

// keepsake is a door that nobody opens again.
type keepsake struct{ *door }

func (keepsake) NoUndo() string { return "it is evidence" }

func TestWhatHasNoUndoSaysWhy(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.do = NewSpine(w.store, installation()).Containing("shut-door", keepsake{w.door})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	for _, mode := range []incident.Mode{incident.LookUndo, incident.Undo} {
		if got := w.must(request(mode, "INC-A", first), incident.Refused); got.Reason != "shut-door has no undo: it is evidence" {
			t.Errorf("%s: %s", mode, got.Reason)
		}
	}
	w.state(State{"a": "shut"})
}

func TestTheRecordOfAnUndoSaysWhoAskedAndThatItWasForced(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.door.state["a"] = "locked"
	req := request(incident.Undo, "INC-A", first)
	req.Force, req.Why = true, "asked by alice: a false alarm"
	w.must(req, incident.Restored)
	events, err := ledger.Timeline(t.Context(), w.store, "INC-A")
	if err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if last.Why != req.Why || !strings.Contains(last.Result.Reason, "by force, although a: Firebreak left shut, it is locked now") || last.Before["a"] != "locked" || last.After["a"] != "open" {
		t.Errorf("the record: %+v %+v", last, last.Result)
	}
}

// A broken undo says what is restored and what is not, and the next one finishes it.
func TestAHalfUndoneActionIsSaidAndFinished(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "ajar"}})
	w.must(request(incident.Apply, "INC-A", first), incident.Applied)
	w.door.fail = func(_ int, kind string) error {
		if kind == "change" && w.door.state["a"] == "open" {
			return errors.New("denied")
		}
		return nil
	}
	_, err := w.do(context.Background(), request(incident.Undo, "INC-A", first))
	if err == nil || !strings.Contains(err.Error(), "done: a: shut -> open; not done: b: shut -> ajar") {
		t.Fatalf("it says %v", err)
	}
	w.door.fail = nil
	w.must(request(incident.Undo, "INC-A", second), incident.Restored)
	w.state(State{"a": "open", "b": "ajar"})
}

// An undo killed at any call and tried again ends with the first Before, whatever was restored by then.
func TestUndoKilledAnywhereThenRetried(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t, &door{state: State{"a": "open", "b": "ajar"}})
		w.must(request(incident.Apply, "INC-A", first), incident.Applied)
		w.door.calls = 0
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
			_, _ = w.do(context.Background(), request(incident.Undo, "INC-A", first))
		}()
		w.door.fail = nil
		if !died {
			if at < 4 {
				t.Fatalf("only %d calls were tried", at-1)
			}
			return
		}
		w.must(request(incident.Undo, "INC-A", first), incident.Restored)
		w.state(State{"a": "open", "b": "ajar"})
	}
}

// The kill switch that is thrown while somebody undoes a change stops the next try.
func TestTheKillSwitchStopsARepeatedChange(t *testing.T) {
	for _, c := range []struct {
		mode     incident.Mode
		switched setting.Mode
	}{{incident.Apply, setting.Off}, {incident.Apply, setting.Plan}, {incident.Undo, setting.Off}} {
		mode := c.mode
		w := newWorld(t, &door{state: State{"a": "open"}})
		if mode == incident.Undo {
			w.must(request(incident.Apply, "INC-A", first), incident.Applied)
		}
		was, before := w.door.state["a"], w.door.changes
		w.door.meddle = func(s State) {
			s["a"] = was
			w.settings(func(g *setting.Guard) { g.Mode, g.By = c.switched, "bob" })
		}
		_, err := w.do(context.Background(), request(mode, "INC-A", first))
		if !fault.Is(err, fault.NotVerified) || !strings.Contains(err.Error(), "switched to "+string(c.switched)+" (by bob)") || w.door.changes != before+1 {
			t.Errorf("%s: %v after %d changes", mode, err, w.door.changes-before)
		}
	}
}

// Looking can take long: a switch that is thrown meanwhile stops the first change too.
func TestTheKillSwitchThrownWhileItLooksStopsTheFirstChange(t *testing.T) {
	for _, c := range []struct {
		mode     incident.Mode
		switched setting.Mode
	}{{incident.Apply, setting.Off}, {incident.Apply, setting.Plan}, {incident.Undo, setting.Off}} {
		w := newWorld(t, &door{state: State{"a": "open"}})
		if c.mode == incident.Undo {
			w.must(request(incident.Apply, "INC-A", first), incident.Applied)
		}
		before, hold := w.door.changes, w.hold()
		w.door.fail = func(int, string) error {
			w.settings(func(g *setting.Guard) { g.Mode, g.By = c.switched, "bob" })
			return nil
		}
		got := w.must(request(c.mode, "INC-A", first), incident.Refused)
		if !strings.Contains(got.Reason, "switched to "+string(c.switched)+" (by bob)") || w.door.changes != before || w.hold().Phase != hold.Phase {
			t.Errorf("%s: %s, %d changes, the hold is %s", c.mode, got.Reason, w.door.changes-before, w.hold().Phase)
		}
	}
}

// A warm function asks anew before each change: the switch takes effect with the very next one.
func TestTheKillSwitchTakesEffectInAWarmFunction(t *testing.T) {
	w := newWorld(t, &door{state: State{"a": "open", "b": "open"}})
	only := func(f string) incident.Request {
		r := request(incident.Apply, "INC-A", first)
		r.Step.With = map[string]string{"only": f}
		return r
	}
	w.must(only("a"), incident.Applied)
	w.settings(func(g *setting.Guard) { g.Mode = setting.Off })
	w.must(request(incident.Apply, "INC-B", second), incident.Refused)
	w.must(request(incident.Undo, "INC-A", first), incident.Refused)
	w.state(State{"a": "shut", "b": "open"})
	w.settings(func(g *setting.Guard) { g.Mode = setting.Plan })
	w.must(request(incident.Apply, "INC-B", second), incident.Planned)
	w.state(State{"a": "shut", "b": "open"})
	w.must(request(incident.Undo, "INC-A", first), incident.Restored) // a person asks for it
	w.state(State{"a": "open", "b": "open"})
}

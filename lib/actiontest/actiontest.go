// Package actiontest runs actions on the spine in tests: a ledger in memory, settings that act, incidents that call for the
// step, and golden results that the machine's path tests read too.
package actiontest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/google/go-cmp/cmp"
)

// Start is when the executions of a World start.
var Start = time.Date(2026, 3, 2, 3, 12, 5, 0, time.UTC)

// Account and Region are where the findings of a World are.
const (
	Account = "222222222222"
	Region  = "us-east-1"
)

// World is an installation with one action.
type World struct {
	t     *testing.T
	Store *ledger.Memory
	name  string
	do    func(context.Context, incident.Request) (incident.Result, error)
	// settling, where set, is called while the action waits whether the resource stays contained, as somebody acts in that time.
	settling func()
}

// New gives a world in mode act, with a settle time of a millisecond.
func New(t *testing.T, name string, c action.Containment) *World {
	t.Helper()
	w := empty(t, name)
	w.do = w.spine(time.Millisecond).Containing(name, c)
	return w
}

func empty(t *testing.T, name string) *World {
	t.Helper()
	w := &World{t: t, Store: ledger.NewMemory(), name: name}
	w.Guard(func(*setting.Guard) {})
	return w
}

// spine runs actions in the world. Where something is to be destroyed, alice and bob decide.
func (w *World) spine(settle time.Duration) *action.Spine {
	return action.NewSpine(w.Store, installation(settle)).Meanwhile(func(d time.Duration) {
		if d == settle && w.settling != nil {
			w.settling()
		}
	})
}

func installation(settle time.Duration) *setting.Installation {
	return setting.Fixed(setting.Installed{
		Action: setting.Action{SettleMilliseconds: int(settle.Milliseconds()), LeaseSeconds: 150}, Approval: setting.Approval{LinkAlone: "none"},
		Approvers: []setting.Approver{{ID: "alice"}, {ID: "bob"}},
	})
}

// Guard changes the settings that the guard reads; nil changes none.
func (w *World) Guard(change func(*setting.Guard)) {
	w.t.Helper()
	if change == nil {
		return
	}
	_, err := ledger.Update(context.Background(), w.Store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
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

// Request makes the request of an incident's execution, and an open incident that calls for the step where there is none.
// A nil with means no parameters, no mode Apply.
func (w *World) Request(mode incident.Mode, id, target string, with map[string]string) incident.Request {
	w.t.Helper()
	if mode == "" {
		mode = incident.Apply
	}
	step := incident.Step{Action: w.name, Target: target, With: with}
	meta, err := ledger.Update(context.Background(), w.Store, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		if it.Exists() {
			return nil
		}
		it.Value = ledger.Incident{
			ID: id, Status: incident.Open, Episode: 1, Band: incident.High, FirstSeen: Start, LastSeen: Start, Seen: Start,
			Finding: ledger.Finding{Product: "aws/guardduty", Account: Account, Region: Region},
			Plan:    incident.Plan{Contain: []incident.Step{step}},
		}
		ledger.Place(it)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return incident.Request{
		Mode: mode, Incident: meta.Value.Ref(), Step: step, State: incident.State{Name: "Test"},
		Execution: incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:" + id, Start: Start},
	}
}

// Do sends a request.
func (w *World) Do(req incident.Request) (incident.Result, error) {
	return w.do(context.Background(), req)
}

// Must sends a request that has to succeed.
func (w *World) Must(req incident.Request) incident.Result {
	w.t.Helper()
	res, err := w.Do(req)
	if err != nil {
		w.t.Fatalf("%s: %v", req.Mode, err)
	}
	return res
}

// Expect sends a request that has to come to that error, or else to that outcome, for a reason that contains these words. A golden
// name compares the whole result as Golden does.
func (w *World) Expect(req incident.Request, name fault.Name, want incident.Outcome, reason, golden string) incident.Result {
	w.t.Helper()
	got, err := w.Do(req)
	switch {
	case name != "":
		if !fault.Is(err, name) {
			w.t.Errorf("error %v (%s), want %s", err, fault.NameOf(err), name)
		}
	case err != nil:
		w.t.Fatal(err)
	case got.Outcome != want || !strings.Contains(got.Reason, reason):
		w.t.Errorf("outcome %s (%s), want %s (%s)", got.Outcome, got.Reason, want, reason)
	}
	if golden != "" {
		Golden(w.t, golden, got)
	}
	return got
}

// Writes counts what the ledger holds on the target: 0 in mode plan.
func (w *World) Writes(target string) int {
	w.t.Helper()
	recs, err := w.Store.List(context.Background(), "RES#"+target, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return len(recs)
}

var update = flag.Bool("update", false, "write the golden results anew")

// Golden holds a result against testdata/<name>.json, the contract between a function and the machine.
func Golden(t *testing.T, name string, got incident.Result) {
	t.Helper()
	GoldenOf(t, name, got)
}

// GoldenOf is Golden for whatever a function gives.
func GoldenOf(t *testing.T, name string, got any) {
	t.Helper()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("%s (-want +got), -update writes it anew:\n%s", path, diff)
	}
}

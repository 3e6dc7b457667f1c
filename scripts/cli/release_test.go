package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/google/go-cmp/cmp"
)

const releases = "arn:aws:states:us-east-1:111111111111:execution:firebreak-release:"

// ending lets every release end so.
func (w *world) ending(e incident.Ending, steps ...incident.Result) {
	w.ends = func(x *execution) {
		text, err := json.Marshal(released{Incident: id, Ending: e, Done: len(steps), Summary: "what came of it", Steps: steps, Kept: []incident.Result{{Action: "snapshot-volumes", Target: instance, Outcome: incident.Refused, Reason: "a snapshot is evidence"}}})
		if err != nil {
			w.t.Fatal(err)
		}
		x.running, x.output = false, string(text)
	}
}

// asked gives what an execution was asked to release.
func (w *world) asked(name string) incident.Release {
	w.t.Helper()
	e := w.executions[releases+name]
	if e == nil {
		w.t.Fatalf("no execution %s of the machine that releases, only %v", name, w.starts)
	}
	ask, ok := releasing(e.input)
	if !ok {
		w.t.Fatalf("execution %s releases nothing: %s", name, e.input)
	}
	return ask
}

func TestReleaseStartsTheMachineAndSaysWhatCameOfIt(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	w.ending(incident.EndReleased, incident.Result{Action: isolate.Action, Target: instance, Outcome: incident.Restored, Verified: true, Changes: []string{"eni-1/groups: sg-iso -> sg-web"}})
	if code := w.run("release", strings.ToLower(id), "--action", "isolate-instance", "--force", "--why", "a false alarm"); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	want := incident.Release{Incident: id, Episode: 1, Actions: []string{"isolate-instance"}, Force: true, By: "arn:aws:iam::111111111111:user/alice", Why: "a false alarm"}
	if diff := cmp.Diff(want, w.asked(id+"-release-1")); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	for _, words := range []string{"isolate-instance", "RESTORED, read back", "eni-1/groups: sg-iso -> sg-web", "KEPT: a snapshot is evidence", "Released: what came of it"} {
		w.has(words)
	}
}

// The answer to the start is lost, and the second call says that it is there already: it is this release, and is followed.
func TestAReleaseWhoseStartWasNotAnsweredIsFollowed(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	w.ending(incident.EndReleased)
	w.lost = true
	if code := w.run("release", id); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	w.has("Released: what came of it")
}

func TestAPlannedReleaseWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	w.ending(incident.EndPlanned, incident.Result{Action: isolate.Action, Target: instance, Outcome: incident.Planned, Changes: []string{"eni-1/groups: sg-iso -> sg-web"}})
	var writes []string
	w.store.Fail = func(op string, k ledger.Key) error {
		if op != "get" && op != "list" {
			writes = append(writes, op+" "+k.SK)
		}
		return nil
	}
	if code := w.run("release", id, "--plan", "--json"); code != 0 || len(writes) > 0 {
		t.Fatalf("exit code %d, written %v: %s", code, writes, w.err.String())
	}
	if ask := w.asked(fmt.Sprintf("%s-release-plan-%d", id, now.UnixMilli())); !ask.Plan {
		t.Error("it was no plan")
	}
	var out released
	if err := json.Unmarshal(w.out.Bytes(), &out); err != nil || out.Ending != incident.EndPlanned || len(out.Steps) != 1 || out.Execution == "" {
		t.Errorf("%v: %s", err, w.out.String())
	}
}

func TestAReleaseThatIsNotWholeIsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		ends func(*world)
		want string
	}{
		"drifted": {func(w *world) { w.ending(incident.EndDrifted) }, "Drifted: "},
		"refused": {func(w *world) { w.ending(incident.EndRefused) }, "Refused: "},
		"failed": {func(w *world) {
			w.ends = func(x *execution) { x.running, x.cause = false, "Undone 1/2. Mend or do by hand" }
		}, "NeedsPerson: Undone 1/2. Mend"},
		"stopped": {func(w *world) { w.ends = func(x *execution) { x.running = false } }, "scripts/firebreak dead-letters"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident(func(*ledger.Incident) {})
			c.ends(w)
			if code := w.run("release", id); code != 1 {
				t.Errorf("exit code %d", code)
			}
			w.has(c.want)
		})
	}
	w := newWorld(t)
	if code := w.run("release", id); code != 1 || len(w.starts) > 0 {
		t.Errorf("an unknown incident: exit code %d, started %v", code, w.starts)
	}
	w.has("there is no incident " + id)
	for _, args := range [][]string{{"release"}, {"release", "INC-1"}, {"release", id, id}} {
		if code := w.run(args...); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// A release that fails leaves letters of the step and of the whole, and perhaps the execution's: together they start one.
func TestRedriveOfAReleaseReleasesAgainAndContainsNothing(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	failed := releases + id + "-release-7"
	input := `{"release":{"incident":"` + id + `","episode":1,"actions":["isolate-instance"],"plan":false,"force":true,"by":"arn:aws:iam::111111111111:user/bob","why":"a false alarm"}}`
	w.executions[failed] = &execution{input: input}
	step := incident.DeadLetter{Layer: "release", Incident: id, Episode: 1, Execution: failed, Step: &isolate, Error: "NotVerified", Cause: "restored 5 times"}
	whole := step
	whole.Step = nil
	w.put(ofAction, step)
	w.put(ofIncident, whole)
	w.put(ofExecution, map[string]any{"source": "aws.states", "detail": map[string]any{"executionArn": failed, "status": "TIMED_OUT", "input": input}})
	w.run("dead-letters")
	for _, words := range []string{id + ": the undo of isolate-instance of instance/i-0abcdef1234567890 failed", id + " was not released, or not in full", id + ": execution " + id + "-release-7 ended TIMED_OUT"} {
		w.has(words)
	}
	if code := w.run("redrive", id); code != 0 || w.waiting() != 0 {
		t.Fatalf("exit code %d, %d letters left: %s%s", code, w.waiting(), w.out.String(), w.err.String())
	}
	if diff := cmp.Diff([]string{id + "-release-1"}, w.starts); diff != "" {
		t.Fatalf("started (-want +got):\n%s", diff)
	}
	want := incident.Release{Incident: id, Episode: 1, Actions: []string{"isolate-instance"}, Force: true, By: "arn:aws:iam::111111111111:user/bob",
		Why: "a false alarm; redriven by arn:aws:iam::111111111111:user/alice"}
	if diff := cmp.Diff(want, w.asked(id+"-release-1")); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	w.has("1 started, 2 settled, 0 kept")
}

func TestRedriveOfAReleaseSettlesWhatIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		input  string
		meta   func(*ledger.Incident)
		reason string
	}{
		"a later episode": {`{"release":{"incident":"` + id + `","episode":1,"actions":[],"by":"x"}}`, func(i *ledger.Incident) { i.Episode = 2 }, "episode 2 took its place"},
		"only a plan":     {`{"release":{"incident":"` + id + `","actions":[],"plan":true,"by":"x"}}`, func(*ledger.Incident) {}, "it was only a plan"},
		"no incident":     {`{"release":{"incident":"` + other + `","actions":[],"by":"x"}}`, func(*ledger.Incident) {}, "there is no incident"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.incident(c.meta)
			w.executions[releases+"x"] = &execution{input: c.input}
			w.put(ofIncident, incident.DeadLetter{Layer: "release", Incident: id, Episode: 1, Execution: releases + "x", Error: "BadInput", Cause: "x"})
			if code := w.run("redrive", "--all"); code != 0 || len(w.starts) != 0 || w.waiting() != 0 {
				t.Errorf("exit code %d, started %v, %d left: %s", code, w.starts, w.waiting(), w.out.String())
			}
			w.has(c.reason)
		})
	}
}

// What people released is not contained again by starting the incident's other steps again.
func TestRedriveOfAnIncidentLeavesWhatWasReleased(t *testing.T) {
	w := newWorld(t)
	w.incident(func(i *ledger.Incident) {
		i.Outcomes[isolate.Key()] = incident.Result{Action: isolate.Action, Target: instance, Outcome: incident.Restored}
	})
	w.run("redrive", id)
	if len(w.starts) != 1 {
		t.Fatalf("started %v", w.starts)
	}
	if diff := cmp.Diff([]incident.Step{revoke}, w.resume(w.starts[0]).Steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

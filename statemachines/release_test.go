package statemachines

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"firebreak/functions"
	"firebreak/lib/asl"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/google/go-cmp/cmp"
)

// planned is the plan of a release, changed.
func planned(golden string, change func(*incident.ReleasePlan)) []answer {
	var p incident.ReleasePlan
	if err := json.Unmarshal(read("plan-release/"+golden), &p); err != nil {
		panic(err)
	}
	change(&p)
	return []answer{says(p)}
}

// undone is an action's result with another outcome.
func undone(action string, outcome incident.Outcome) []answer {
	var r incident.Result
	if err := json.Unmarshal(read(action+"/restored"), &r); err != nil {
		panic(err)
	}
	r.Outcome = outcome
	return []answer{says(r)}
}

// Every ending of a release, through every door, by the names of the states.
func TestReleasePaths(t *testing.T) {
	cases := []struct {
		name    string
		answers answers
		path    []string
		error   string
		cause   []string
		letters []string
		retries int
		check   func(*testing.T, *run)
	}{
		{
			name: "an incident is released, the newest step first",
			path: []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "Ending?", "Released"},
			check: func(t *testing.T, r *run) {
				var order []string
				for _, c := range r.calls {
					order = append(order, c.state)
				}
				if diff := cmp.Diff([]string{"PlanRelease", "RevokeSessions", "IsolateInstance", "CloseRelease"}, order); diff != "" {
					t.Errorf("calls, one after the other (-want +got):\n%s", diff)
				}
				q := payloads[incident.Request](t, r, "IsolateInstance")[0]
				if q.Mode != incident.Undo || q.Force || !strings.Contains(q.Why, "user/alice: a false alarm") {
					t.Errorf("asked for mode %s, force %v, why %q", q.Mode, q.Force, q.Why)
				}
				end := payloads[incident.ReleaseCloseRequest](t, r, "CloseRelease")[0]
				if len(end.Results) != 2 || end.Results[0].Outcome != incident.Restored || len(end.Release.Kept) != 1 {
					t.Errorf("closed with %+v", end)
				}
			},
		},
		{
			name:    "one action, by force",
			answers: answers{"PlanRelease": {gives("plan-release/chosen")}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "Ending?", "Released"},
			check: func(t *testing.T, r *run) {
				if q := payloads[incident.Request](t, r, "IsolateInstance")[0]; !q.Force {
					t.Error("the force did not arrive")
				}
			},
		},
		{
			name: "every action that has an undo",
			answers: answers{"PlanRelease": planned("release", func(p *incident.ReleasePlan) {
				p.Steps = nil
				for _, a := range undoable(t) {
					p.Steps = append(p.Steps, incident.Step{Action: a, Target: "arn:aws:s3:::clinic-exports"})
				}
			})},
			path: slices.Concat([]string{"PlanRelease", "Releasable?", "Release"}, asked(t), []string{"Planned?", "CloseRelease", "Ending?", "Released"}),
		},
		{
			name:    "nothing is held",
			answers: answers{"PlanRelease": planned("release", func(p *incident.ReleasePlan) { p.Steps = []incident.Step{} })},
			path:    []string{"PlanRelease", "Releasable?", "Release", "Planned?", "CloseRelease", "Ending?", "Released"},
		},
		{
			name: "a plan says what would be restored, and changes nothing",
			answers: answers{"PlanRelease": {gives("plan-release/look")}, "RevokeSessions": undone("revoke-sessions", incident.Planned),
				"IsolateInstance": undone("isolate-instance", incident.Drifted)},
			path: []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "Planned?", "Planned"},
			check: func(t *testing.T, r *run) {
				for _, state := range []string{"RevokeSessions", "IsolateInstance"} {
					if q := payloads[incident.Request](t, r, state)[0]; q.Mode != incident.LookUndo {
						t.Errorf("%s is asked in mode %s", state, q.Mode)
					}
				}
			},
		},
		{
			name: "a plan that cannot be made",
			answers: answers{"PlanRelease": {gives("plan-release/look")}, "RevokeSessions": {fails("Denied", "iam:GetRole")},
				"CloseRelease": {failsAs("close-release/failed")}},
			path:  []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "DeadLetterAction", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "DeadLetterRelease", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Undone 1/2."}, letters: []string{"release Denied", "release Incomplete"},
		},
		{
			name:    "somebody has changed it since",
			answers: answers{"IsolateInstance": undone("isolate-instance", incident.Drifted), "CloseRelease": {gives("close-release/drifted")}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "Ending?", "Drifted"},
		},
		{
			name:    "what has no undo is refused",
			answers: answers{"PlanRelease": {gives("plan-release/refuse")}},
			path:    []string{"PlanRelease", "Releasable?", "Refused"},
		},
		{
			name:    "one step fails, the other is undone all the same",
			answers: answers{"RevokeSessions": {fails("NotVerified", "restored 5 times")}, "CloseRelease": {failsAs("close-release/failed")}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "DeadLetterAction", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Undone 1/2. Mend or do by hand", "scripts/firebreak show INC-BWJ4TH5BLF5DYQIG"}, letters: []string{"release NotVerified", "release Incomplete"},
			check: func(t *testing.T, r *run) {
				letter := payloads[incident.DeadLetter](t, r, "DeadLetterAction")[0]
				if letter.Step == nil || letter.Step.Action != "revoke-sessions" || !strings.Contains(letter.Cause, "restored 5 times") || letter.Incident != "INC-BWJ4TH5BLF5DYQIG" {
					t.Errorf("the dead letter: %+v", letter)
				}
				if got := payloads[incident.ReleaseCloseRequest](t, r, "CloseRelease")[0].Results[0]; got.Outcome != incident.Failed || got.Action != "revoke-sessions" {
					t.Errorf("the outcome: %+v", got)
				}
			},
		},
		{
			name:    "a busy resource, a throttle and a killed function",
			answers: answers{"RevokeSessions": {fails("Busy", "leased"), gives("revoke-sessions/restored")}, "IsolateInstance": {throttled(), fails("Runtime.ExitError", "killed"), gives("isolate-instance/restored")}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "Ending?", "Released"},
			retries: 3,
		},
		{
			name:    "an action that no state is for, and the queue for actions is down",
			answers: answers{"PlanRelease": planned("release", func(p *incident.ReleasePlan) { p.Steps[0].Action = "unplug" }), "DeadLetterAction": {down()}, "CloseRelease": {failsAs("close-release/failed")}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "UnknownAction", "DeadLetterAction", "DeadLetterActionLost", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", letters: []string{"release Incomplete"}, retries: 5,
		},
		{
			name:    "there is no such incident",
			answers: answers{"PlanRelease": {fails("BadInput", "there is no incident INC-BWJ4TH5BLF5DYQIG")}},
			path:    []string{"PlanRelease", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Undone none. Nothing was undone: mend what the cause names, then release again"}, letters: []string{"release BadInput"},
			check: func(t *testing.T, r *run) {
				if l := payloads[incident.DeadLetter](t, r, "DeadLetterRelease")[0]; l.Incident != "INC-BWJ4TH5BLF5DYQIG" {
					t.Errorf("the letter is about %q", l.Incident)
				}
			},
		},
		{
			name:    "the plan cannot be made, and the queue for incidents is down",
			answers: answers{"PlanRelease": {fails("Unexpected", "boom")}, "DeadLetterRelease": {down()}},
			path:    []string{"PlanRelease", "DeadLetterRelease", "NeedsPerson"},
			error:   "DeadLetterFailed", cause: []string{"No dead letter: Nothing was undone", "boom"}, retries: 5,
		},
		{
			name:    "a disposition that the machine does not know",
			answers: answers{"PlanRelease": planned("release", func(p *incident.ReleasePlan) { p.Disposition = "perhaps" })},
			path:    []string{"PlanRelease", "Releasable?", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Nothing was undone", "UnknownDisposition: perhaps"}, letters: []string{"release UnknownDisposition"},
		},
		{
			name:    "an ending that the machine does not know",
			answers: answers{"CloseRelease": {says(incident.Closing{Incident: "INC-BWJ4TH5BLF5DYQIG", Ending: "Perhaps"})}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "Ending?", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Undone 2/2. See what is undone"}, letters: []string{"release UnknownEnding"},
		},
		{
			name:    "steps that are none",
			answers: answers{"PlanRelease": {says(map[string]any{"disposition": "release", "reason": "x", "mode": "undo", "force": false, "why": "x", "whole": true, "kept": []any{}, "steps": "all", "incident": map[string]any{"id": "INC-BWJ4TH5BLF5DYQIG", "episode": 1}})}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Some steps may be undone"}, letters: []string{"release States.QueryEvaluationError"},
		},
		{
			name:    "the closing cannot be written",
			answers: answers{"CloseRelease": {fails("Unreadable", "the ledger")}},
			path:    []string{"PlanRelease", "Releasable?", "Release", "WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "Planned?", "CloseRelease", "DeadLetterRelease", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Undone 2/2. What the release came to is not on record"}, letters: []string{"release Unreadable"},
		},
	}

	definition, err := os.ReadFile("release.asl.json")
	must(t, err)
	engine := startInterpreter(t)
	machine := engine.machine(t, "release", definition)
	t.Run("all", func(t *testing.T) {
		for n, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				r := &run{answers: c.answers}
				input := map[string]any{"release": incident.Release{Incident: "INC-BWJ4TH5BLF5DYQIG", Actions: []string{}, By: "arn:aws:iam::111111111111:user/alice", Why: "a false alarm"}}
				engine.execute(t, machine, fmt.Sprintf("release-%d", n), input, r)
				if diff := cmp.Diff(c.path, r.path); diff != "" {
					t.Fatalf("path (-want +got):\n%s%s %s", diff, r.error, r.cause)
				}
				if r.retries != c.retries {
					t.Errorf("%d requests were repeated, want %d", r.retries, c.retries)
				}
				releaseEndsAs(t, r, c.error, c.cause)
				var got []string
				for _, state := range []string{"DeadLetterAction", "DeadLetterRelease"} {
					if len(c.answers[state]) > 0 {
						continue // down
					}
					for _, l := range payloads[incident.DeadLetter](t, r, state) {
						got = append(got, l.Layer+" "+l.Error)
					}
				}
				if diff := cmp.Diff(c.letters, got); diff != "" {
					t.Errorf("dead letters (-want +got):\n%s", diff)
				}
				if c.check != nil {
					c.check(t, r)
				}
			})
		}
	})
}

// releaseEndsAs holds the end against the last state: a clean one says its name and what came of each step.
func releaseEndsAs(t *testing.T, r *run, name string, words []string) {
	t.Helper()
	last := r.path[len(r.path)-1]
	if last == string(incident.EndNeedsPerson) {
		endsAs(t, r, name, words)
		return
	}
	var end struct {
		incident.Closing
		Steps []incident.Result `json:"steps"`
		Kept  []incident.Result `json:"kept"`
	}
	if err := strict(r.output, &end); err != nil {
		t.Errorf("output %s: %v", r.output, err)
	}
	if r.status != types.ExecutionStatusSucceeded || string(end.Ending) != last || end.Incident == "" || end.Summary == "" || end.Steps == nil || end.Kept == nil {
		t.Errorf("the run is %s with output %s, want SUCCEEDED as %s", r.status, r.output, last)
	}
}

// undoable lists the actions that have an undo, in the order of the machine.
func undoable(t *testing.T) []string {
	t.Helper()
	s, _ := loadFile(t, "release.asl.json").State("WhichAction?")
	var out []string
	for _, r := range s.Choices {
		out = append(out, asl.Folder(r.Next))
	}
	return out
}

// asked is the path through a state for each of them.
func asked(t *testing.T) []string {
	var out []string
	s, _ := loadFile(t, "release.asl.json").State("WhichAction?")
	for _, r := range s.Choices {
		out = append(out, "WhichAction?", r.Next)
	}
	return out
}

func loadFile(t *testing.T, file string) asl.Machine {
	t.Helper()
	m, err := asl.Load(file)
	must(t, err)
	return m
}

// The machine that releases knows every action that has an undo, the other one every action; both know no more.
func TestMachinesKnowTheActions(t *testing.T) {
	known, err := functions.Actions()
	must(t, err)
	chosen := func(file, question string) []string {
		s, _ := loadFile(t, file).State(question)
		out := []string{}
		for _, r := range s.Choices {
			out = append(out, asl.Folder(r.Next))
		}
		slices.Sort(out)
		return out
	}
	contain, eradicate, release := []string{}, []string{}, []string{}
	for name, a := range known {
		if a.Undoable() {
			release = append(release, name)
		}
		if a.Destroys {
			eradicate = append(eradicate, name)
		} else {
			contain = append(contain, name)
		}
	}
	for _, c := range []struct {
		file, question string
		want           []string
	}{{"respond.asl.json", "WhichAction?", contain}, {"respond.asl.json", "WhichEradication?", eradicate}, {"release.asl.json", "WhichAction?", release}} {
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, chosen(c.file, c.question)); diff != "" {
			t.Errorf("%s %s, by functions/*/action.yaml (-want +got):\n%s", c.file, c.question, diff)
		}
	}
}

func TestReleaseEndingsAreTheVocabulary(t *testing.T) {
	want := []string{}
	for _, e := range []incident.Ending{incident.EndReleased, incident.EndPlanned, incident.EndDrifted, incident.EndRefused, incident.EndNeedsPerson} {
		want = append(want, string(e))
	}
	var got []string
	for _, s := range loadFile(t, "release.asl.json").States {
		if s.Type == "Succeed" || s.Type == "Fail" {
			got = append(got, s.Name)
		}
		if s.End {
			t.Errorf("%s ends the machine without an ending", s.Name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endings (-want +got):\n%s", diff)
	}
}

func TestStepsAreUndoneOneAfterTheOther(t *testing.T) {
	if s, _ := loadFile(t, "release.asl.json").State("Release"); s.MaxConcurrency != 1.0 {
		t.Errorf("the Map runs %v steps at once", s.MaxConcurrency)
	}
}

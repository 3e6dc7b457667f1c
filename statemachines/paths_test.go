package statemachines

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/google/go-cmp/cmp"
)

// marker stands in the finding of every run: no state after ClassifyFinding may carry it.
const marker = "the-finding-itself"

// classified is how ClassifyFinding answers with a golden file.
func classified(golden string) []answer { return []answer{gives("classify-finding/" + golden)} }

// decided is the decision of a golden file, changed.
func decided(golden string, change func(*incident.Decision)) []answer {
	var d incident.Decision
	if err := json.Unmarshal(read("classify-finding/"+golden), &d); err != nil {
		panic(err)
	}
	change(&d)
	return []answer{says(d)}
}

type answers = map[string][]answer

// Every ending, through every door, by the names of the states.
func TestPaths(t *testing.T) {
	cases := []struct {
		name    string
		answers answers
		path    []string
		// error, cause (each text must be in it) and letters ("layer error", in order) are those of a run that needs a person.
		error   string
		cause   []string
		letters []string
		// retries are the requests that were repeated.
		retries int
		// check looks at what the tasks were asked.
		check func(*testing.T, *run)
		// impatient waits for people one second instead of seven days.
		impatient bool
	}{
		{
			name:    "an instance with stolen credentials is contained, and terminated after approval",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("approved")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?", "CloseEradicated", "Eradicated"},
		},
		{
			name:    "a public bucket is contained",
			answers: answers{"ClassifyFinding": classified("contain-only")},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "Contained"},
		},
		{
			name: "a misused key is deactivated",
			answers: answers{"ClassifyFinding": decided("contain-only", func(d *incident.Decision) {
				d.Plan.Contain[0] = incident.Step{Action: "deactivate-keys", Target: "arn:aws:iam::222222222222:user/billing/export", With: map[string]string{"keyId": "AKIAIOSFODNN7EXAMPLE"}}
			})},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "DeactivateKeys", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "Contained"},
		},
		{
			name: "what is contained already counts",
			answers: answers{"ClassifyFinding": classified("contain-only"),
				"BlockPublicAccess": {gives("block-public-access/already")}, "Notify": {gives("notify/already")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "Contained"},
		},
		{
			name: "an approved override is contained by a run of its own",
			answers: answers{"ClassifyFinding": decided("respond", func(d *incident.Decision) {
				d.Plan.Contain = d.Plan.Contain[1:2]
				d.Approval = 7
			}), "RequestApproval": {decides("approved")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "IsolateInstance",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?", "CloseEradicated", "Eradicated"},
			check: func(t *testing.T, r *run) {
				contain, eradicate := payloads[incident.Request](t, r, "IsolateInstance")[0], payloads[incident.Request](t, r, "TerminateInstance")[0]
				if contain.Approval != 7 || eradicate.Approval != 1 {
					t.Errorf("the containing step names approval %d and the eradicating one %d, want the override 7 and the verdict's 1", contain.Approval, eradicate.Approval)
				}
			},
		},
		{
			name:    "a second copy of a finding",
			answers: answers{"ClassifyFinding": classified("duplicate")},
			path:    []string{"ClassifyFinding", "Disposition?", "AlreadyHandled"},
		},
		{
			name:    "a sample is taken down",
			answers: answers{"ClassifyFinding": classified("record")},
			path:    []string{"ClassifyFinding", "Disposition?", "Recorded"},
		},
		{
			name:    "people are told, nothing is to be contained",
			answers: answers{"ClassifyFinding": classified("notify-only")},
			path:    []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "Notify", "NeedsApproval?", "CloseRecorded", "Recorded"},
		},
		{
			name: "a plan without a step",
			answers: answers{"ClassifyFinding": decided("record", func(d *incident.Decision) {
				d.Disposition = incident.Respond
			})},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseRecorded", "Recorded"},
		},
		{
			name: "mode plan asks nobody",
			answers: answers{"ClassifyFinding": classified("respond"), "RevokeSessions": {gives("revoke-sessions/planned")},
				"IsolateInstance": {gives("isolate-instance/planned")}, "SnapshotVolumes": {gives("snapshot-volumes/planned")}, "Notify": {gives("notify/planned")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "ClosePlanned", "Planned"},
		},
		{
			name:    "a newer episode took over before anything began",
			answers: answers{"ClassifyFinding": classified("supersede")},
			path:    []string{"ClassifyFinding", "Disposition?", "Superseded"},
		},
		{
			name:    "a newer episode took over while people were asked",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("superseded")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "CloseSuperseded", "Superseded"},
		},
		{
			name:    "a person cancelled the request",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("cancelled")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "CloseSuperseded", "Superseded"},
		},
		{
			name:    "people reject",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("rejected")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "CloseRejected", "ApprovalRejected"},
		},
		{
			name:    "nobody decides in time",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("expired")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "CloseExpired", "ApprovalExpired"},
		},
		{
			name: "what is not as approved is asked again",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("approved")},
				"TerminateInstance": {gives("terminate-instance/changed"), gives("terminate-instance/applied")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?",
				"RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?", "CloseEradicated", "Eradicated"},
			check: func(t *testing.T, r *run) {
				for i, a := range payloads[incident.ApprovalRequest](t, r, "RequestApproval") {
					if a.Round != i+1 || len(a.Contain) != 4 {
						t.Errorf("request %d is of round %d and shows %d outcomes", i+1, a.Round, len(a.Contain))
					}
				}
			},
		},
		{
			name: "what changes a second time needs a person",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("approved")},
				"TerminateInstance": {gives("terminate-instance/changed")}, "CloseEradicated": {failsAs("close-incident/changed-twice")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?",
				"RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?", "CloseEradicated", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 4/4, eradicated 0/1."}, letters: []string{"incident Incomplete"},
		},
		{
			name:    "a busy resource is tried again",
			answers: answers{"ClassifyFinding": classified("contain-only"), "BlockPublicAccess": {fails("Busy", "held"), fails("Busy", "held"), {}}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "Contained"},
			retries: 2,
			check: func(t *testing.T, r *run) {
				for i, q := range payloads[incident.Request](t, r, "BlockPublicAccess") {
					if q.State.Attempt != i {
						t.Errorf("request %d says that it is attempt %d", i, q.State.Attempt)
					}
				}
			},
		},
		{
			name: "throttling, time-outs and crashes are tried again",
			answers: answers{"ClassifyFinding": {throttled(), classified("contain-only")[0]},
				"BlockPublicAccess": {throttled(), fails("Throttled", "IAM asks for patience"), {}},
				"Notify":            {fails("Sandbox.Timedout", "Task timed out after 60.00 seconds"), {}},
				"CloseContained":    {fails("Runtime.ExitError", "signal: killed"), fails("Lambda.Unknown", ""), {}}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "Contained"},
			retries: 6,
		},
		{
			name: "a request for approval that crashes is made again, with a new token",
			answers: answers{"ClassifyFinding": classified("respond"),
				"RequestApproval": {fails("Runtime.ExitError", "signal: killed"), decides("approved")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?", "CloseEradicated", "Eradicated"},
			retries: 1,
		},

		// What follows needs a person.
		{
			name:    "the settings cannot be read",
			answers: answers{"ClassifyFinding": {fails("Unreadable", "the playbook is missing")}},
			path:    []string{"ClassifyFinding", "DeadLetterIncident", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Contained none, eradicated none. Nothing was changed", "scripts/firebreak redrive", "the playbook is missing"},
			letters: []string{"incident Unreadable"},
		},
		{
			name:    "the finding cannot be classified",
			answers: answers{"ClassifyFinding": {fails("Unexpected", "something else")}},
			path:    []string{"ClassifyFinding", "DeadLetterIncident", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"Nothing was contained", "something else"},
			letters: []string{"incident Unexpected"},
		},
		{
			name:    "crashes do not end",
			answers: answers{"ClassifyFinding": {fails("Runtime.ExitError", "signal: killed")}},
			path:    []string{"ClassifyFinding", "DeadLetterIncident", "NeedsPerson"},
			error:   "NeedsPerson", cause: []string{"signal: killed"}, letters: []string{"incident Runtime.ExitError"}, retries: 3,
		},
		{
			name: "a disposition that the machine does not know",
			answers: answers{"ClassifyFinding": decided("respond", func(d *incident.Decision) {
				d.Disposition = "handled"
			})},
			path:  []string{"ClassifyFinding", "Disposition?", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 0/4, eradicated 0/1. Nothing was changed", "UnknownDisposition: handled"},
			letters: []string{"incident UnknownDisposition"},
		},
		{
			name: "an action fails, the others go on",
			answers: answers{"ClassifyFinding": classified("contain-only"),
				"BlockPublicAccess": {fails("NotVerified", `the bucket "clinic-exports" is still public`)}, "CloseContained": {failsAs("close-incident/failed")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "DeadLetterAction", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 1/2, eradicated 0/0. Decide or mend", "scripts/firebreak show INC-VEPYW46KHAZJUHQC", "Not done: isolate-instance i-0abcdef1234567890 failed"},
			letters: []string{"action NotVerified", "incident Incomplete"},
			check: func(t *testing.T, r *run) {
				step := incident.Step{Action: "block-public-access", Target: "arn:aws:s3:::clinic-exports"}
				letter := payloads[incident.DeadLetter](t, r, "DeadLetterAction")[0]
				if diff := cmp.Diff(&step, letter.Step); diff != "" || !strings.Contains(letter.Cause, "is still public") {
					t.Errorf("the dead letter does not say what failed and why: %+v %s", letter, diff)
				}
				want := incident.Result{Action: step.Action, Target: step.Target, Outcome: incident.Failed, Changes: []string{}, Reason: "NotVerified, see the dead letter"}
				if diff := cmp.Diff(want, payloads[incident.CloseRequest](t, r, "CloseContained")[0].Contain[0]); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
			},
		},
		{
			name: "an action fails, and people still decide what is to be destroyed",
			answers: answers{"ClassifyFinding": classified("respond"), "SnapshotVolumes": {fails("Denied", "ec2:CreateSnapshots")},
				"RequestApproval": {decides("approved")}, "CloseEradicated": {failsAs("close-incident/destroyed-not-contained")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "DeadLetterAction", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "Changed?",
				"CloseEradicated", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 3/4, eradicated 1/1."}, letters: []string{"action Denied", "incident Incomplete"},
		},
		{
			name: "a protected bucket is refused",
			answers: answers{"ClassifyFinding": classified("contain-only"),
				"BlockPublicAccess": {gives("block-public-access/refused")}, "CloseContained": {failsAs("close-incident/refused")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 1/2, eradicated 0/0."}, letters: []string{"incident Incomplete"},
		},
		{
			name: "an action that no state is for",
			answers: answers{"ClassifyFinding": decided("contain-only", func(d *incident.Decision) {
				d.Plan.Contain[0].Action = "unplug"
			}), "CloseContained": {failsAs("close-incident/failed")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "UnknownAction", "DeadLetterAction", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 1/2, eradicated 0/0."}, letters: []string{"action UnknownAction", "incident Incomplete"},
		},
		{
			name: "the queue for actions is down",
			answers: answers{"ClassifyFinding": classified("contain-only"), "BlockPublicAccess": {fails("Denied", "s3:PutBucketPublicAccessBlock")},
				"DeadLetterAction": {down()}, "CloseContained": {failsAs("close-incident/failed")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "DeadLetterAction", "DeadLetterActionLost", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 1/2, eradicated 0/0."}, letters: []string{"incident Incomplete"}, retries: 5,
		},
		{
			name: "the queue for incidents is down",
			answers: answers{"ClassifyFinding": {fails("BadInput", "not a finding")},
				"DeadLetterIncident": {down()}},
			path:  []string{"ClassifyFinding", "DeadLetterIncident", "NeedsPerson"},
			error: "DeadLetterFailed", cause: []string{"No dead letter: Nothing was changed", "not a finding"}, retries: 5,
		},
		{
			name:    "people cannot be asked",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {fails("Denied", "dynamodb:PutItem")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 4/4, eradicated 0/1. Nothing more was destroyed", "dynamodb:PutItem"},
			letters: []string{"incident Denied"},
		},
		{
			name:    "no decision is ever delivered",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {silence()}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 4/4, eradicated 0/1. Nothing more was destroyed: no decision was delivered in seven days"},
			letters: []string{"incident States.Timeout"}, impatient: true,
		},
		{
			name: "a decision that the machine does not know",
			answers: answers{"ClassifyFinding": classified("respond"),
				"RequestApproval": {decidesAs(incident.Verdict{Decision: "perhaps", Approval: 1})}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Nothing more was destroyed", "UnknownDecision: perhaps"}, letters: []string{"incident UnknownDecision"},
		},
		{
			name: "a decision that says nothing",
			answers: answers{"ClassifyFinding": classified("respond"),
				"RequestApproval": {decidesAs(map[string]string{})}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Nothing more was destroyed"}, letters: []string{"incident States.QueryEvaluationError"},
		},
		{
			name: "what is approved cannot be destroyed",
			answers: answers{"ClassifyFinding": classified("respond"), "RequestApproval": {decides("approved")},
				"TerminateInstance": {fails("Denied", "ec2:TerminateInstances")}, "CloseEradicated": {failsAs("close-incident/not-destroyed")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "TerminateInstance", "DeadLetterEradication",
				"Changed?", "CloseEradicated", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 4/4, eradicated 0/1."}, letters: []string{"action Denied", "incident Incomplete"},
		},
		{
			name: "an eradication that no state is for, and the queue for actions is down",
			answers: answers{"ClassifyFinding": decided("respond", func(d *incident.Decision) {
				d.Plan.Eradicate[0].Action = "burn"
			}), "RequestApproval": {decides("approved")}, "DeadLetterEradication": {down()}, "CloseEradicated": {failsAs("close-incident/not-destroyed")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain",
				"WhichAction?", "RevokeSessions", "WhichAction?", "IsolateInstance", "WhichAction?", "SnapshotVolumes", "WhichAction?", "Notify",
				"NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "WhichEradication?", "UnknownEradication", "DeadLetterEradication", "DeadLetterEradicationLost",
				"Changed?", "CloseEradicated", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", letters: []string{"incident Incomplete"}, retries: 5,
		},
		{
			name:    "the closing cannot be written",
			answers: answers{"ClassifyFinding": classified("contain-only"), "CloseContained": {fails("Unreadable", "the ledger")}},
			path: []string{"ClassifyFinding", "Disposition?", "Contain", "WhichAction?", "BlockPublicAccess", "WhichAction?", "Notify",
				"NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 2/2, eradicated 0/0. What the closing found is not on record"}, letters: []string{"incident Unreadable"},
		},
		{
			name: "a plan that is none",
			answers: answers{"ClassifyFinding": {says(map[string]any{"disposition": "respond", "reason": "x", "approval": 0,
				"incident": map[string]any{"id": "INC-BWJ4TH5BLF5DYQIG", "episode": 1}, "plan": map[string]any{"contain": "everything", "eradicate": []any{}}})}},
			path:  []string{"ClassifyFinding", "Disposition?", "Contain", "DeadLetterIncident", "NeedsPerson"},
			error: "NeedsPerson", cause: []string{"Contained 0/1, eradicated 0/0. Some steps may have run"}, letters: []string{"incident States.QueryEvaluationError"},
		},
	}

	definition, err := os.ReadFile("respond.asl.json")
	must(t, err)
	engine := startInterpreter(t)
	patient := engine.machine(t, "respond", definition)
	impatient := engine.machine(t, "respond-impatient", bytes.Replace(definition, []byte(`"TimeoutSeconds": 604800`), []byte(`"TimeoutSeconds": 1`), 1))

	t.Run("all", func(t *testing.T) { // waits for the parallel ones, before the interpreter ends
		for n, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				machine := patient
				if c.impatient {
					machine = impatient
				}
				r := &run{answers: c.answers}
				engine.execute(t, machine, fmt.Sprintf("run-%d", n), finding(), r)
				if diff := cmp.Diff(c.path, r.path); diff != "" {
					t.Fatalf("path (-want +got):\n%s%s %s", diff, r.error, r.cause)
				}
				if r.retries != c.retries {
					t.Errorf("%d requests were repeated, want %d", r.retries, c.retries)
				}
				endsAs(t, r, c.error, c.cause)
				if diff := cmp.Diff(c.letters, letters(t, r)); diff != "" {
					t.Errorf("dead letters (-want +got):\n%s", diff)
				}
				transitions(t, r)
				keeps(t, r)
				if c.check != nil {
					c.check(t, r)
				}
			})
		}
	})
}

// finding is the input of a run: the envelope as a rule passes it.
func finding() map[string]any {
	return map[string]any{"version": "0", "source": "aws.guardduty", "detail-type": "GuardDuty Finding", "account": "222222222222", "region": "us-east-1",
		"detail": map[string]any{"id": "1ab92989eaf0e742df4a014d5c0a1b2c", "description": marker}}
}

// endsAs holds the end against the last state: a clean one says its name, a dirty one says what is done and what to do.
func endsAs(t *testing.T, r *run, name string, words []string) {
	t.Helper()
	last := r.path[len(r.path)-1]
	if last == string(incident.EndNeedsPerson) {
		if r.status != types.ExecutionStatusFailed || r.error != name {
			t.Errorf("the run is %s with error %q, want FAILED with %q", r.status, r.error, name)
		}
		for _, w := range words {
			if !strings.Contains(r.cause, w) {
				t.Errorf("the cause does not say %q: %s", w, r.cause)
			}
		}
		return
	}
	var end struct {
		incident.Closing
		Disposition string `json:"disposition"`
	}
	if err := strict(r.output, &end); err != nil {
		t.Errorf("output %s: %v", r.output, err)
	}
	if r.status != types.ExecutionStatusSucceeded || string(end.Ending) != last || end.Incident == "" || end.Summary == "" {
		t.Errorf("the run is %s with output %s, want SUCCEEDED as %s", r.status, r.output, last)
	}
}

// letters gives the dead letters that were taken, as "layer error".
func letters(t *testing.T, r *run) []string {
	t.Helper()
	var out []string
	for _, state := range []string{"DeadLetterAction", "DeadLetterEradication", "DeadLetterIncident"} {
		if as := r.answers[state]; len(as) > 0 {
			continue // down
		}
		for _, l := range payloads[incident.DeadLetter](t, r, state) {
			out = append(out, l.Layer+" "+l.Error)
		}
	}
	return out
}

// transitions holds what AWS would bill against what the design allows: 6 + 2c for containing c steps, 10 + 2c + 2e for
// eradicating e after approval, 3 for a duplicate; one for each retry, and 4 + 2e for asking again because something changed.
func transitions(t *testing.T, r *run) {
	t.Helper()
	count := func(name string) (n int) {
		for _, p := range r.path {
			if p == name {
				n++
			}
		}
		return n
	}
	c, e := count("WhichAction?"), 1 // the plans here eradicate one thing
	limit := 0
	switch incident.Ending(r.path[len(r.path)-1]) {
	case incident.EndContained, incident.EndPlanned:
		limit = 6 + 2*c
	case incident.EndEradicated:
		limit = 10 + 2*c + 2*e + (count("RequestApproval")-1)*(4+2*e)
	case incident.EndAlreadyHandled:
		limit = 3
	default:
		return
	}
	if spent, allowed := len(r.path)+r.retries, limit+r.retries; spent != allowed {
		t.Errorf("%d transitions, want %d: %v", spent, allowed, r.path)
	}
}

// keeps looks for what no state's data may hold: the finding after ClassifyFinding, the task token anywhere. AWS's own record
// of a task's parameters is the exception.
func keeps(t *testing.T, r *run) {
	t.Helper()
	var events []map[string]any
	must(t, json.Unmarshal(r.history, &events))
	for _, e := range events {
		entered, _ := e["StateEnteredEventDetails"].(map[string]any)
		exited, _ := e["StateExitedEventDetails"].(map[string]any)
		for _, details := range []map[string]any{entered, exited} {
			text := string(encode(details))
			isFirst := details != nil && details["Name"] == "ClassifyFinding" && details["Input"] != nil
			if strings.Contains(text, marker) && !isFirst {
				t.Errorf("the finding is in the state's data: %s", text)
			}
			if r.token != "" && strings.Contains(text, r.token) {
				t.Errorf("the task token is in the state's data: %s", text)
			}
		}
	}
	for _, text := range []string{string(r.output), r.cause} {
		if strings.Contains(text, marker) || r.token != "" && strings.Contains(text, r.token) {
			t.Errorf("the finding or the task token is in how the run ends: %s", text)
		}
	}
	for _, c := range r.calls {
		if c.state != "ClassifyFinding" && bytes.Contains(c.payload, []byte(marker)) {
			t.Errorf("%s was given the finding", c.state)
		}
		if c.state != "RequestApproval" && r.token != "" && bytes.Contains(c.payload, []byte(r.token)) {
			t.Errorf("%s was given the task token", c.state)
		}
	}
}

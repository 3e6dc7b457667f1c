package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden results")

const (
	id     = "INC-BWJ4TH5BLF5DYQIG"
	target = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	role   = "arn:aws:iam::222222222222:role/clinic-web"
	owner  = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:owner"
)

var (
	start     = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	isolate   = incident.Step{Action: "isolate-instance", Target: target}
	revoke    = incident.Step{Action: "revoke-sessions", Target: role}
	tell      = incident.Step{Action: "notify", Target: target}
	terminate = incident.Step{Action: "terminate-instance", Target: target}
)

func result(s incident.Step, o incident.Outcome) incident.Result {
	return incident.Result{Action: s.Action, Target: s.Target, Outcome: o, Verified: o.Contains(), Changes: []string{}, Step: s.Key()}
}

func refused(s incident.Step, rule string) incident.Result {
	r := result(s, incident.Refused)
	r.Reason, r.Override = "7 resources use it, more than the 5 that are changed without asking", rule
	return r
}

// lost is what the machine writes in place of a function that failed: it does not know the step's key.
func lost(s incident.Step) incident.Result {
	return incident.Result{Action: s.Action, Target: s.Target, Outcome: incident.Failed, Changes: []string{}, Reason: "Denied"}
}

type world struct {
	t    *testing.T
	h    handler
	mem  *ledger.Memory
	sent []sns.PublishInput
	down error
}

func (w *world) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(`{"id":"1","key":"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr"}`)}, nil
}

func (w *world) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if w.down != nil {
		return nil, w.down
	}
	w.sent = append(w.sent, *in)
	return &sns.PublishOutput{}, nil
}

func newWorld(t *testing.T, plan incident.Plan) *world {
	t.Helper()
	w := &world{t: t, mem: ledger.NewMemory()}
	inst := setting.Fixed(setting.Installed{
		Approvers: []setting.Approver{{ID: "alice"}, {ID: "bob"}},
		Approval:  setting.Approval{LinkAlone: "destructive", Hours: map[string]int{"": 24}},
	})
	w.h = newHandler(w.mem, inst, w, address{"arn:aws:sns:us-east-1:111111111111:firebreak-security", "arn:aws:sns:us-east-1:111111111111:firebreak-approvers", "key", "https://api.example.com"}, func() time.Time { return start.Add(time.Minute) })
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical, Owner: owner, OwnerStart: start, FirstSeen: start, Rule: "builtin.yaml:1", Plan: plan,
		Finding: ledger.Finding{Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Account: "222222222222", Region: "us-east-1"},
	}}
	ledger.Place(&meta)
	if err := ledger.Save(t.Context(), w.mem, &meta); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) meta() ledger.Item[ledger.Incident] {
	w.t.Helper()
	it, err := ledger.Load[ledger.Incident](w.t.Context(), w.mem, ledger.IncidentKey(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return it
}

func (w *world) count(prefix string) int {
	w.t.Helper()
	recs, err := w.mem.List(w.t.Context(), "INC#"+id, prefix)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(recs)
}

func request(ending incident.Ending, contain []incident.Result, eradicate ...incident.Result) incident.CloseRequest {
	return incident.CloseRequest{
		Ending: ending, Incident: incident.Ref{ID: id, Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1"},
		Execution: incident.Execution{ARN: owner, Start: start}, State: incident.State{Name: "Close" + string(ending)}, Contain: contain, Eradicate: eradicate,
	}
}

type list = []incident.Result

var (
	both  = incident.Plan{Contain: []incident.Step{isolate, revoke, tell}, Eradicate: []incident.Step{}}
	whole = incident.Plan{Contain: []incident.Step{isolate, revoke, tell}, Eradicate: []incident.Step{terminate}}
	only  = incident.Plan{Contain: []incident.Step{tell}}
	held  = list{result(isolate, incident.Applied), result(revoke, incident.Already), result(tell, incident.Applied)}
)

func TestEndingsThatAreBorneOut(t *testing.T) {
	tests := []struct {
		golden string
		plan   incident.Plan
		in     incident.CloseRequest
		status incident.Status
	}{
		{"contained", both, request(incident.EndContained, held), incident.Contained},
		{"contained-gone", both, request(incident.EndContained, list{result(isolate, incident.Gone), result(revoke, incident.Applied), result(tell, incident.Already)}), incident.Contained},
		{"eradicated", whole, request(incident.EndEradicated, held, result(terminate, incident.Applied)), incident.Contained},
		{"eradicated-kept", whole, request(incident.EndEradicated, held, result(terminate, incident.Kept)), incident.Contained},
		{"eradicated-gone", whole, request(incident.EndEradicated, held, result(terminate, incident.Gone)), incident.Contained},
		{"planned", whole, request(incident.EndPlanned, list{result(isolate, incident.Planned), result(revoke, incident.Already), result(tell, incident.Applied)}), incident.Open},
		{"recorded", only, request(incident.EndRecorded, list{result(tell, incident.Applied)}), incident.Recorded},
		{"rejected", whole, request(incident.EndApprovalRejected, held), incident.Contained},
		{"expired", whole, request(incident.EndApprovalExpired, held), incident.Contained},
		{"superseded", whole, request(incident.EndSuperseded, held), incident.Contained},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			w := newWorld(t, tt.plan)
			got, err := w.h.handle(t.Context(), tt.in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.golden, got)
			m := w.meta()
			if m.Value.Status != tt.status || m.Value.Ending != tt.in.Ending {
				t.Errorf("status %s, ending %s", m.Value.Status, m.Value.Ending)
			}
			if (m.Value.Needs != "") != (tt.in.Ending == incident.EndPlanned) {
				t.Errorf("needs %q", m.Value.Needs)
			}
			if (m.Group == "") != (tt.status == incident.Recorded) {
				t.Errorf("index group %q for %s", m.Group, tt.status)
			}
			if again, err := w.h.handle(t.Context(), tt.in); err != nil || again != got {
				t.Errorf("the second time: %v %v", again, err)
			}
			events, err := ledger.Timeline(t.Context(), w.mem, id)
			if err != nil || len(events) != 1 {
				t.Fatalf("closed twice, the timeline is %+v, %v", events, err)
			}
			if e := events[0]; e.Who != tt.in.Execution.ARN || e.What != got.Summary || e.Why != "builtin.yaml:1" {
				t.Errorf("the record: %+v", e)
			}
		})
	}
}

func TestEndingsThatAreNot(t *testing.T) {
	silent := result(revoke, incident.Refused)
	silent.Reason = "the role is part of Firebreak"
	tests := []struct {
		golden    string
		plan      incident.Plan
		in        incident.CloseRequest
		status    incident.Status
		overrides int
	}{
		{"refused", both, request(incident.EndContained, list{result(isolate, incident.Applied), refused(revoke, "shared"), result(tell, incident.Applied)}), incident.Open, 1},
		{"refused-for-all", both, request(incident.EndContained, list{result(isolate, incident.Applied), silent, result(tell, incident.Applied)}), incident.Open, 0},
		{"failed", both, request(incident.EndContained, list{lost(isolate), result(revoke, incident.Applied), result(tell, incident.Applied)}), incident.Open, 0},
		{"unknown", both, request(incident.EndContained, list{result(isolate, incident.Applied), result(tell, incident.Applied)}), incident.Open, 0},
		{"planned-claimed-contained", both, request(incident.EndContained, list{result(isolate, incident.Planned), result(revoke, incident.Applied), result(tell, incident.Applied)}), incident.Open, 0},
		{"not-told", both, request(incident.EndContained, list{result(isolate, incident.Applied), result(revoke, incident.Applied), lost(tell)}), incident.Open, 0},
		{"changed-twice", whole, request(incident.EndEradicated, held, result(terminate, incident.Changed)), incident.Contained, 0},
		{"not-destroyed", whole, request(incident.EndEradicated, held, lost(terminate)), incident.Contained, 0},
		{"nothing-to-destroy", both, request(incident.EndEradicated, held), incident.Contained, 0},
		{"destroyed-not-contained", whole, request(incident.EndEradicated, list{result(isolate, incident.Applied), refused(revoke, "shared"), result(tell, incident.Applied)}, result(terminate, incident.Applied)), incident.Open, 1},
		{"rejected-not-contained", whole, request(incident.EndApprovalRejected, list{result(isolate, incident.Applied), refused(revoke, "budget"), result(tell, incident.Applied)}), incident.Open, 1},
		{"expired-not-contained", whole, request(incident.EndApprovalExpired, list{lost(isolate), result(revoke, incident.Applied), result(tell, incident.Applied)}), incident.Open, 0},
		{"superseded-not-contained", whole, request(incident.EndSuperseded, list{lost(isolate), result(revoke, incident.Applied), result(tell, incident.Applied)}), incident.Open, 0},
		{"planned-failed", both, request(incident.EndPlanned, list{result(isolate, incident.Planned), lost(revoke), result(tell, incident.Applied)}), incident.Open, 0},
		{"recorded-claimed", both, request(incident.EndRecorded, held), incident.Contained, 0},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			w := newWorld(t, tt.plan)
			_, err := w.h.handle(t.Context(), tt.in)
			if !fault.Is(err, fault.Incomplete) {
				t.Fatalf("not Incomplete: %v", err)
			}
			golden(t, tt.golden, map[string]string{"errorType": string(fault.NameOf(err)), "errorMessage": err.Error()})
			m := w.meta().Value
			if m.Status != tt.status || m.Ending != incident.EndNeedsPerson || m.Needs != err.Error() {
				t.Errorf("status %s, ending %s, needs %q", m.Status, m.Ending, m.Needs)
			}
			for range 2 {
				if _, again := w.h.handle(t.Context(), tt.in); again == nil || again.Error() != err.Error() {
					t.Errorf("the second time: %v", again)
				}
			}
			if n := w.count("APPROVAL#"); n != tt.overrides {
				t.Errorf("%d overrides, not %d", n, tt.overrides)
			}
			messages := 2 * tt.overrides
			if tt.golden == "refused-for-all" {
				messages++ // what a person has to do
			}
			if len(w.sent) != messages {
				t.Errorf("%d messages for %d overrides and two approvers", len(w.sent), tt.overrides)
			}
			if n := w.count("EVENT#"); n != 1 {
				t.Errorf("%d entries in the timeline", n)
			}
		})
	}
}

// A person allows what was refused; the side execution contains it, and with it the incident.
func TestASideExecutionCompletesTheIncident(t *testing.T) {
	w := newWorld(t, both)
	first := request(incident.EndContained, list{result(isolate, incident.Applied), refused(revoke, "shared"), result(tell, incident.Applied)})
	if _, err := w.h.handle(t.Context(), first); !fault.Is(err, fault.Incomplete) {
		t.Fatal(err)
	}
	side := request(incident.EndContained, list{result(revoke, incident.Applied)})
	side.Execution = incident.Execution{ARN: "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:" + id + "-e1-r1", Start: start.Add(time.Hour)}
	if _, err := w.h.handle(t.Context(), side); err != nil {
		t.Fatal(err)
	}
	if m := w.meta().Value; m.Status != incident.Contained || m.Ending != incident.EndContained || m.Needs != "" {
		t.Errorf("status %s, ending %s, needs %q", m.Status, m.Ending, m.Needs)
	}
	// The first one reports late, once more: what the newer one found stands.
	if _, err := w.h.handle(t.Context(), first); err != nil {
		t.Errorf("the older execution's refusal overwrote the newer containment: %v", err)
	}
}

func TestAnotherEpisodeIsLeftAlone(t *testing.T) {
	w := newWorld(t, both)
	_, err := ledger.Update(t.Context(), w.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Episode = 2; return nil })
	if err != nil {
		t.Fatal(err)
	}
	before := w.meta()
	if _, err := w.h.handle(t.Context(), request(incident.EndSuperseded, held)); err != nil {
		t.Error(err)
	}
	if _, err := w.h.handle(t.Context(), request(incident.EndSuperseded, list{lost(isolate)})); !fault.Is(err, fault.Incomplete) {
		t.Errorf("not Incomplete: %v", err)
	}
	if d := cmp.Diff(before, w.meta()); d != "" {
		t.Errorf("the newer episode was changed:\n%s", d)
	}
}

func TestAnExecutionThatLostTheIncidentHasNoSay(t *testing.T) {
	w := newWorld(t, both)
	_, err := ledger.Update(t.Context(), w.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Owner, it.Value.OwnerStart = "newer", start.Add(time.Hour)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.h.handle(t.Context(), request(incident.EndContained, list{lost(isolate)})); !fault.Is(err, fault.Incomplete) {
		t.Error(err)
	}
	if m := w.meta().Value; m.Ending != "" || m.Needs != "" {
		t.Errorf("ending %s, needs %q", m.Ending, m.Needs)
	}
}

func TestAClosedIncidentStaysClosed(t *testing.T) {
	w := newWorld(t, both)
	_, err := ledger.Update(t.Context(), w.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Status = incident.Closed; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.h.handle(t.Context(), request(incident.EndContained, held)); err != nil || w.meta().Value.Status != incident.Closed {
		t.Errorf("%v, status %s", err, w.meta().Value.Status)
	}
}

func TestTwoKeysOfOneUserAreToldApart(t *testing.T) {
	user := "arn:aws:iam::222222222222:user/export"
	one := incident.Step{Action: "deactivate-keys", Target: user, With: map[string]string{"keyId": "AKIAIOSFODNN7EXAMPLE"}}
	two := incident.Step{Action: "deactivate-keys", Target: user, With: map[string]string{"keyId": "AKIAI44QH8DHBEXAMPLE"}}
	w := newWorld(t, incident.Plan{Contain: []incident.Step{one, two}})
	_, err := w.h.handle(t.Context(), request(incident.EndContained, list{result(one, incident.Applied), lost(two)}))
	if !fault.Is(err, fault.Incomplete) {
		t.Fatal(err)
	}
	m := w.meta().Value
	if m.Outcomes[one.Key()].Outcome != incident.Applied || m.Outcomes[two.Key()].Outcome != incident.Failed {
		t.Errorf("%+v", m.Outcomes)
	}
}

func TestPeopleHearOfTheEndOfARequest(t *testing.T) {
	w := newWorld(t, whole)
	a, err := approval.Open(t.Context(), w.mem, approval.Request{
		Incident: incident.Ref{ID: id, Episode: 1}, Kind: approval.KindEradicate, Round: 1, Steps: []approval.Step{{Step: terminate}}, Token: "secret-token",
		Execution: incident.Execution{ARN: owner, Start: start}, Now: start, Expires: start.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := approval.Expire(t.Context(), w.mem, id, a.Number, start.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.h.handle(t.Context(), request(incident.EndApprovalExpired, held)); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.sent) != 1 || !strings.Contains(*w.sent[0].Message, "Nobody decided in time") || strings.Contains(*w.sent[0].Message, "secret-token") {
		t.Errorf("%d messages", len(w.sent))
	}
}

func TestWhatCannotBeClosed(t *testing.T) {
	for name, change := range map[string]func(*incident.CloseRequest){
		"no incident":     func(in *incident.CloseRequest) { in.Incident.ID = "" },
		"another":         func(in *incident.CloseRequest) { in.Incident.ID = "INC-AAAABBBBCCCCDDDD" },
		"unknown ending":  func(in *incident.CloseRequest) { in.Ending = "Done" },
		"claimed needs":   func(in *incident.CloseRequest) { in.Ending = incident.EndNeedsPerson },
		"no execution":    func(in *incident.CloseRequest) { in.Execution = incident.Execution{} },
		"episode missing": func(in *incident.CloseRequest) { in.Incident.Episode = 0 },
	} {
		w := newWorld(t, both)
		in := request(incident.EndContained, held)
		change(&in)
		if _, err := w.h.handle(t.Context(), in); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorld(t, both)
	w.mem.Fail = func(string, ledger.Key) error { return errors.New("no table") }
	if _, err := w.h.handle(t.Context(), request(incident.EndContained, held)); !fault.Is(err, fault.Unreadable) {
		t.Errorf("no ledger: %v", err)
	}
	w = newWorld(t, both)
	w.down = fmt.Errorf("topic is down")
	_, err := w.h.handle(t.Context(), request(incident.EndContained, list{result(isolate, incident.Applied), refused(revoke, "shared"), result(tell, incident.Applied)}))
	if !fault.Is(err, fault.Incomplete) || !strings.Contains(err.Error(), "Not done: revoke-sessions clinic-web") {
		t.Errorf("topic down: %v", err)
	}
	w.down = nil
	if _, err := w.h.handle(t.Context(), request(incident.EndContained, list{result(isolate, incident.Applied), refused(revoke, "shared"), result(tell, incident.Applied)})); !fault.Is(err, fault.Incomplete) || len(w.sent) != 2 {
		t.Errorf("after the topic came back: %v, %d messages", err, len(w.sent))
	}
}

func golden(t *testing.T, name string, got any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s differs:\n%s", file, d)
	}
}

// What nobody can set aside is told in full, once: the edit that an action has prepared is for a person to make.
func TestWhatAPersonHasToDoIsToldInFull(t *testing.T) {
	edit := "a person has to take 444455556666 out of it. With: aws kms put-key-policy --policy DOCUMENT. DOCUMENT is then: " + strings.Repeat(`{"Sid":"Owner"},`, 100)
	hand := result(revoke, incident.Refused)
	hand.Reason = edit
	w := newWorld(t, both)
	for range 2 {
		_, err := w.h.handle(t.Context(), request(incident.EndContained, list{result(isolate, incident.Applied), hand, result(tell, incident.Applied)}))
		if !fault.Is(err, fault.Incomplete) {
			t.Fatal(err)
		}
	}
	if len(w.sent) != 1 || !strings.Contains(*w.sent[0].Message, edit) || !strings.Contains(*w.sent[0].Subject, "a person has to act") {
		t.Errorf("sent %d: %+v", len(w.sent), w.sent)
	}
	if w.count("APPROVAL#") != 0 {
		t.Error("people were asked to set aside what nobody can")
	}
}

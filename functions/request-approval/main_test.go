package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
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
	token  = "AQCEAAAAKgAAAAMAAAAA+task/token=="
)

var (
	start     = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	isolate   = incident.Step{Action: "isolate-instance", Target: target}
	revoke    = incident.Step{Action: "revoke-sessions", Target: role}
	terminate = incident.Step{Action: "terminate-instance", Target: target}
)

// world is the function over fakes.
type world struct {
	t    *testing.T
	h    handler
	mem  *ledger.Memory
	log  *bytes.Buffer
	inst setting.Installed

	looked   []incident.Request
	foreseen incident.Result
	failure  string // errorType of the eradicating function
	sent     []sns.PublishInput
	down     func(n int) error
}

func (w *world) Invoke(_ context.Context, in *lambda.InvokeInput, _ ...func(*lambda.Options)) (*lambda.InvokeOutput, error) {
	var req incident.Request
	if err := json.Unmarshal(in.Payload, &req); err != nil {
		return nil, err
	}
	w.looked = append(w.looked, req)
	if *in.FunctionName != "firebreak-"+req.Step.Action {
		return nil, fmt.Errorf("%s was asked for %s", *in.FunctionName, req.Step.Action)
	}
	if w.failure != "" {
		return &lambda.InvokeOutput{FunctionError: aws.String("Unhandled"), Payload: []byte(`{"errorType":"` + w.failure + `","errorMessage":"not allowed"}`)}, nil
	}
	payload, err := json.Marshal(w.foreseen)
	return &lambda.InvokeOutput{Payload: payload}, err
}

func (w *world) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(`{"id":"1","key":"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr"}`)}, nil
}

func (w *world) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if w.down != nil {
		if err := w.down(len(w.sent)); err != nil {
			return nil, err
		}
	}
	w.sent = append(w.sent, *in)
	return &sns.PublishOutput{}, nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, mem: ledger.NewMemory(), log: &bytes.Buffer{}}
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(w.log, nil)))
	t.Cleanup(func() { slog.SetDefault(old) })
	w.foreseen = incident.Result{
		Action: terminate.Action, Target: target, Outcome: incident.Planned, Evidence: approval.Complete, Step: terminate.Key(),
		Identity: map[string]string{"launched": "2026-11-01T08:00:00Z"}, Changes: []string{"the instance i-0abcdef1234567890, launched 2026-11-01"},
	}
	w.inst = setting.Installed{
		Approvers: []setting.Approver{
			{ID: "alice"}, {ID: "bob"}, {ID: "carol", Severities: []incident.Band{incident.Low}}, {ID: "dave", Accounts: []string{"333333333333"}},
			{ID: "erin", Principals: []string{"arn:aws:iam::222222222222:user/ops/erin"}},
		},
		Approval: setting.Approval{LinkAlone: "destructive", Hours: map[string]int{"CRITICAL": 4, "": 24}},
	}
	w.serve()
	meta := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical, Owner: owner, OwnerStart: start, FirstSeen: start, Rule: "builtin.yaml:7",
		Plan: incident.Plan{Contain: []incident.Step{isolate, revoke}, Eradicate: []incident.Step{terminate}},
		Finding: ledger.Finding{
			Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Title: "Credentials are used from outside", Account: "222222222222", Region: "us-east-1",
			People: []string{"arn:aws:iam::222222222222:user/erin"},
		},
	}}
	ledger.Place(&meta)
	if err := ledger.Save(t.Context(), w.mem, &meta); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) serve() {
	w.h = newHandler(w.mem, setting.Fixed(w.inst), w, address{"arn:aws:sns:us-east-1:111111111111:firebreak-security", "arn:aws:sns:us-east-1:111111111111:firebreak-approvers", "key", "https://api.example.com/"}, func() time.Time { return start.Add(time.Minute) })
}

func request() incident.ApprovalRequest {
	return incident.ApprovalRequest{
		Token: token, Incident: incident.Ref{ID: id, Episode: 1, Severity: incident.Critical, Account: "222222222222", Region: "us-east-1"}, Steps: []incident.Step{terminate}, Round: 1,
		Contain: []incident.Result{
			{Action: isolate.Action, Target: target, Outcome: incident.Applied, Verified: true, Step: isolate.Key()},
			{Action: revoke.Action, Target: role, Outcome: incident.Already, Verified: true, Step: revoke.Key()},
		},
		Execution: incident.Execution{ARN: owner, Start: start}, State: incident.State{Name: "RequestApproval"},
	}
}

func withRefusal() incident.ApprovalRequest {
	in := request()
	in.Contain[1] = incident.Result{Action: revoke.Action, Target: role, Outcome: incident.Refused, Step: revoke.Key(), Reason: "7 resources use it", Override: "shared"}
	return in
}

func (w *world) approval(n int) ledger.Item[approval.Approval] {
	w.t.Helper()
	it, err := approval.Load(w.t.Context(), w.mem, id, n)
	if err != nil {
		w.t.Fatal(err)
	}
	return it
}

func (w *world) to() (to []string) {
	for _, m := range w.sent {
		to = append(to, aws.ToString(m.MessageAttributes["approver"].StringValue))
	}
	return to
}

func TestPeopleAreAsked(t *testing.T) {
	w := newWorld(t)
	got, err := w.h.handle(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "asked", got)
	a := w.approval(1)
	if a.Value.Status != approval.StatusOpen || a.Value.Token != token || a.Value.Need != 2 || !a.Value.Expires.Equal(start.Add(4*time.Hour+time.Minute)) || a.Group == "" || a.Value.Evidence != approval.Complete {
		t.Errorf("%v, expires %v, index %q, evidence %q", a.Value, a.Value.Expires, a.Group, a.Value.Evidence)
	}
	if d := cmp.Diff([]string{"alice", "bob"}, w.to()); d != "" {
		t.Errorf("asked others than who may decide:\n%s", d)
	}
	if len(w.looked) != 1 || w.looked[0].Mode != incident.Look || w.looked[0].Step.Key() != terminate.Key() {
		t.Errorf("looked %+v", w.looked)
	}
	text := *w.sent[0].Message
	goldenText(t, "message", text)
	link := text[strings.Index(text, "https://api.example.com/approve/"):]
	if link = link[:strings.IndexAny(link, "\n ")]; strings.Contains(*w.sent[1].Message, link) {
		t.Error("two people have one link")
	}
	meta, err := ledger.Load[ledger.Incident](t.Context(), w.mem, ledger.IncidentKey(id))
	if err != nil || meta.Value.Status != incident.Contained {
		t.Errorf("%v: what is contained is not recorded while people decide: %s", err, meta.Value.Status)
	}
}

func TestARetryReplacesTheTokenOnly(t *testing.T) {
	w := newWorld(t)
	if _, err := w.h.handle(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	before := w.approval(1).Value
	in := request()
	in.Token, in.State.Attempt = "a-new-token", 1
	got, err := w.h.handle(t.Context(), in)
	if err != nil || got.Approval != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	after := w.approval(1).Value
	if after.Token != "a-new-token" || len(w.sent) != 2 {
		t.Errorf("token %v, %d messages", after.Token == "a-new-token", len(w.sent))
	}
	after.Token = before.Token
	if d := cmp.Diff(fmt.Sprintf("%+v", []any{before.Hash, before.Expires, before.Decisions, before.Asked, before.Status}), fmt.Sprintf("%+v", []any{after.Hash, after.Expires, after.Decisions, after.Asked, after.Status})); d != "" {
		t.Errorf("more than the token was replaced:\n%s", d)
	}
	if w.approval(2).Exists() {
		t.Error("a second request was opened")
	}
}

// A playbook may ask for more than two: so many are needed, the page and the messages say so, and for what the guard refused it
// stays one.
func TestAPlaybookMayAskForMore(t *testing.T) {
	w := newWorld(t)
	if _, err := ledger.Update(t.Context(), w.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Plan.Approvers = 3
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.h.handle(t.Context(), withRefusal()); err != nil {
		t.Fatal(err)
	}
	if a, o := w.approval(1).Value, w.approval(2).Value; a.Need != 3 || o.Need != 1 || o.Kind != approval.KindOverride {
		t.Errorf("%d have to approve destroying, %d the %s", a.Need, o.Need, o.Kind)
	}
	if text := *w.sent[0].Message; !strings.Contains(text, "3 different people have to approve") {
		t.Errorf("people are told\n%s", text)
	}
	// alice and bob are two, and the team hears that they are too few
	if !slices.ContainsFunc(w.sent, func(m sns.PublishInput) bool {
		return strings.Contains(*m.Message, "It takes 3 to approve, and 2")
	}) {
		t.Error("nobody is told that there are too few approvers")
	}
}

// Whom a channel did not reach hears of it when it is asked again, by a retry or by the sweep; nobody hears twice.
func TestAChannelThatIsDownLosesNobody(t *testing.T) {
	w := newWorld(t)
	w.down = func(n int) error {
		if n == 1 {
			return errors.New("died")
		}
		return nil
	}
	if _, err := w.h.handle(t.Context(), request()); err != nil {
		t.Fatal("a channel that is down ended the incident", err)
	}
	w.down = nil
	if _, err := w.h.handle(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"alice", "bob"}, w.to()); d != "" {
		t.Errorf("each once:\n%s", d)
	}
}

func TestRefusedContainmentIsAskedForBeside(t *testing.T) {
	w := newWorld(t)
	got, err := w.h.handle(t.Context(), withRefusal())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "asked-override", got)
	o := w.approval(2).Value
	if o.Kind != approval.KindOverride || o.Token != "" || o.Need != 1 || len(o.Steps) != 1 || o.Steps[0].Rule != "shared" || len(w.sent) != 4 {
		t.Errorf("%v, %d messages", o, len(w.sent))
	}
	if _, err := w.h.handle(t.Context(), withRefusal()); err != nil || len(w.sent) != 4 || w.approval(3).Exists() {
		t.Errorf("asked twice: %v, %d messages", err, len(w.sent))
	}
	goldenText(t, "message-override", *w.sent[2].Message)
}

func TestEvidence(t *testing.T) {
	for evidence, want := range map[string]string{
		"complete": "complete", "pending: snap-0aaaaaaaaaaaaaaaa is at 40 %": "pending: snap-0aaaaaaaaaaaaaaaa is at 40 %",
		"failed: snap-0aaaaaaaaaaaaaaaa ended in error": "failed: snap-0aaaaaaaaaaaaaaaa ended in error", "": "pending: terminate-instance does not say what evidence there is",
	} {
		w := newWorld(t)
		w.foreseen.Evidence = evidence
		if _, err := w.h.handle(t.Context(), request()); err != nil || w.approval(1).Value.Evidence != want {
			t.Errorf("%q: %v, %q", evidence, err, w.approval(1).Value.Evidence)
		}
	}
}

func TestFewerApproversThanItTakes(t *testing.T) {
	w := newWorld(t)
	w.inst.Approvers = w.inst.Approvers[1:]
	w.serve()
	got, err := w.h.handle(t.Context(), request())
	if err != nil || len(got.Asked) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	last := w.sent[len(w.sent)-1]
	if aws.ToString(last.MessageAttributes["audience"].StringValue) != "security" || !strings.Contains(*last.Message, "and 1 of the approvers") || strings.Contains(*last.Message, "/approve/") {
		t.Errorf("the team was not told: %s", *last.Message)
	}
}

func TestANewerEpisodeIsNotAskedFor(t *testing.T) {
	w := newWorld(t)
	_, err := ledger.Update(t.Context(), w.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error { it.Value.Episode = 2; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.h.handle(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	a := w.approval(1)
	if a.Value.Status != approval.StatusSuperseded || a.Group == "" || len(w.sent) != 0 {
		t.Errorf("%v, index %q, %d messages: the sweep has to find it and tell the execution", a.Value, a.Group, len(w.sent))
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world, *incident.ApprovalRequest)
		want   fault.Name
	}{
		{"no token", func(_ *world, in *incident.ApprovalRequest) { in.Token = "" }, fault.BadInput},
		{"no steps", func(_ *world, in *incident.ApprovalRequest) { in.Steps = nil }, fault.BadInput},
		{"no round", func(_ *world, in *incident.ApprovalRequest) { in.Round = 0 }, fault.BadInput},
		{"unknown incident", func(_ *world, in *incident.ApprovalRequest) { in.Incident.ID = "INC-AAAABBBBCCCCDDDD" }, fault.BadInput},
		{"the eradicating function is denied", func(w *world, _ *incident.ApprovalRequest) { w.failure = "Denied" }, fault.Denied},
		{"the eradicating function crashed", func(w *world, _ *incident.ApprovalRequest) { w.failure = "Runtime.ExitError" }, fault.Unexpected},
		{"it answers what it may not in mode plan", func(w *world, _ *incident.ApprovalRequest) { w.foreseen.Outcome = incident.Applied }, fault.Unexpected},
		{"no ledger", func(w *world, _ *incident.ApprovalRequest) {
			w.mem.Fail = func(string, ledger.Key) error { return errors.New("no table") }
		}, fault.Unreadable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			in := request()
			tt.change(w, &in)
			if _, err := w.h.handle(t.Context(), in); !fault.Is(err, tt.want) || len(w.sent) != 0 {
				t.Errorf("%v, %d messages", err, len(w.sent))
			}
		})
	}
}

// The token is in the approval's record and nowhere else; a link is in its message and nowhere else.
func TestNothingSecretIsWrittenDown(t *testing.T) {
	w := newWorld(t)
	got, err := w.h.handle(t.Context(), withRefusal())
	if err != nil {
		t.Fatal(err)
	}
	recs, err := w.mem.List(t.Context(), "INC#"+id, "")
	if err != nil {
		t.Fatal(err)
	}
	everything := w.log.String() + fmt.Sprintf("%+v %#v", got, w.approval(1).Value)
	for _, r := range recs {
		if r.SK != "APPROVAL#0001" {
			everything += string(r.Data)
		}
		if strings.Contains(string(r.Data), "/approve/") {
			t.Errorf("a link is in %s", r.SK)
		}
	}
	for _, m := range w.sent {
		everything += *m.Subject + *m.Message
	}
	for _, s := range []string{token, base64.StdEncoding.EncodeToString([]byte(token)), url.QueryEscape(token)} {
		if strings.Contains(everything, s) {
			t.Errorf("%s is somewhere", s)
		}
	}
	if strings.Contains(w.log.String(), "/approve/") {
		t.Error("a link is in the log")
	}
}

func golden(t *testing.T, name string, got any) {
	t.Helper()
	out, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, filepath.Join("testdata", name+".json"), string(out)+"\n")
}

func goldenText(t *testing.T, name, got string) {
	t.Helper()
	compare(t, filepath.Join("testdata", name+".txt"), got)
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs:\n%s", file, d)
	}
}

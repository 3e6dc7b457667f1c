package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	gocmp "github.com/google/go-cmp/cmp"
)

const (
	id       = "INC-BWJ4TH5BLF5DYQIG"
	other    = "INC-VEPYW46KHAZJUHQC"
	respond  = "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond"
	first    = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:first"
	instance = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	role     = "arn:aws:iam::222222222222:role/clinic-web"
	token    = "AAAAKgAAAAIAAAAAAAAAAtoken"
)

var (
	now     = time.Date(2026, 3, 2, 3, 20, 0, 0, time.UTC)
	revoke  = incident.Step{Action: "revoke-sessions", Target: role}
	isolate = incident.Step{Action: "isolate-instance", Target: instance}
	destroy = incident.Step{Action: "terminate-instance", Target: instance}
)

// world is an installation in memory.
type world struct {
	t       *testing.T
	store   *ledger.Memory
	out     bytes.Buffer
	err     bytes.Buffer
	stdin   string
	offline bool
	// who calls, and when; alice's user and now unless set.
	who      string
	at       time.Time
	approval setting.Approval
	*desk

	mu         sync.Mutex
	queues     map[string][]*message // by URL
	next       int
	keep       error                 // what deleting answers
	executions map[string]*execution // by ARN
	starts     []string
	deny       error // what starting answers
	lost       bool  // the answer to StartExecution is lost
	ends       func(*execution)
	calls      []string
	objects    map[string]string // what was stored, by key
	kept       []string          // files in the evidence bucket
}

type message struct {
	id, body   string
	attributes map[string]string
	hidden     bool
}

type execution struct {
	input   string
	running bool
	// output of one that succeeded, cause of one that failed.
	output, cause string
}

func newWorld(t *testing.T) *world {
	return &world{t: t, desk: &desk{}, store: ledger.NewMemory(), queues: map[string][]*message{}, executions: map[string]*execution{first: {input: event(t)}}}
}

func event(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../events/guardduty-stolen-instance-credentials.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// run types a command and gives its exit code.
func (w *world) run(args ...string) int {
	w.out.Reset()
	w.err.Reset()
	who, at := cmp.Or(w.who, "arn:aws:iam::111111111111:user/alice"), w.at
	if at.IsZero() {
		at = now
	}
	a := &app{in: strings.NewReader(w.stdin), out: &w.out, err: &w.err, now: func() time.Time { return at }, connect: func(context.Context) (*cloud, error) {
		if w.offline {
			return nil, errors.New("no region is set")
		}
		return &cloud{
			store: w.store, queues: w, machines: w, functions: w, machine: respond, where: "account 111111111111, us-east-1", who: who,
			settings: w, topics: w, secrets: w, topic: personal, inst: setting.Fixed(setting.Installed{Approvers: w.people, Approval: w.approval}),
			metas: func(context.Context) ([]string, error) { return []string{id, other}, nil },
			keep: func(_ context.Context, key string, data []byte) (string, string, error) {
				w.kept = append(w.kept, key+" "+string(data))
				return "evidence", fmt.Sprintf("v%d", len(w.kept)), nil
			},
			objects: w, evidence: "firebreak-evidence-111111111111-us-east-1",
		}, nil
	}}
	return run(context.Background(), a, args)
}

func (w *world) put(l layer, body any) *message {
	w.t.Helper()
	text, ok := body.(string)
	if !ok {
		data, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		text = string(data)
	}
	w.next++
	m := &message{id: fmt.Sprintf("3f0c2b1e-0000-4000-8000-%012d", w.next), body: text, attributes: map[string]string{}}
	w.queues["https://"+l.queue()] = append(w.queues["https://"+l.queue()], m)
	return m
}

func (w *world) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if w.objects == nil {
		w.objects = map[string]string{}
	}
	w.objects[*in.Bucket+" "+*in.Key] = string(body)
	return &s3.PutObjectOutput{VersionId: aws.String("v1")}, err
}

func (w *world) waiting() (n int) {
	for _, q := range w.queues {
		n += len(q)
	}
	return n
}

//lint:ignore ST1003 the SDK names it so
func (w *world) GetQueueUrl(_ context.Context, in *sqs.GetQueueUrlInput, _ ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	return &sqs.GetQueueUrlOutput{QueueUrl: aws.String("https://" + *in.QueueName)}, nil
}

func (w *world) ReceiveMessage(_ context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &sqs.ReceiveMessageOutput{}
	for _, m := range w.queues[*in.QueueUrl] {
		if m.hidden || len(out.Messages) == int(in.MaxNumberOfMessages) {
			continue
		}
		m.hidden = true
		msg := types.Message{
			MessageId: &m.id, ReceiptHandle: &m.id, Body: &m.body, MessageAttributes: map[string]types.MessageAttributeValue{},
			Attributes: map[string]string{"SentTimestamp": strconv.FormatInt(now.Add(-5*time.Minute).UnixMilli(), 10)},
		}
		for k, v := range m.attributes {
			msg.MessageAttributes[k] = types.MessageAttributeValue{StringValue: aws.String(v)}
		}
		out.Messages = append(out.Messages, msg)
	}
	return out, nil
}

func (w *world) DeleteMessage(_ context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keep != nil {
		return nil, w.keep
	}
	for i, m := range w.queues[*in.QueueUrl] {
		if m.id == *in.ReceiptHandle {
			w.queues[*in.QueueUrl] = append(w.queues[*in.QueueUrl][:i:i], w.queues[*in.QueueUrl][i+1:]...)
			break
		}
	}
	return &sqs.DeleteMessageOutput{}, nil
}

func (w *world) ChangeMessageVisibility(_ context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.queues[*in.QueueUrl] {
		if m.id == *in.ReceiptHandle {
			m.hidden = in.VisibilityTimeout > 0
		}
	}
	return &sqs.ChangeMessageVisibilityOutput{}, nil
}

func (w *world) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	if w.deny != nil {
		return nil, w.deny
	}
	arn := strings.Replace(*in.StateMachineArn, ":stateMachine:", ":execution:", 1) + ":" + *in.Name
	if w.executions[arn] != nil {
		return nil, &sfntypes.ExecutionAlreadyExists{}
	}
	w.executions[arn] = &execution{input: *in.Input, running: true}
	if w.ends != nil {
		w.ends(w.executions[arn])
	}
	w.starts = append(w.starts, *in.Name)
	if w.lost { // the client calls again
		return nil, &sfntypes.ExecutionAlreadyExists{}
	}
	return &sfn.StartExecutionOutput{ExecutionArn: &arn}, nil
}

func (w *world) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	e := w.executions[*in.ExecutionArn]
	if e == nil {
		return nil, &sfntypes.ExecutionDoesNotExist{}
	}
	out := &sfn.DescribeExecutionOutput{Input: &e.input, Status: sfntypes.ExecutionStatusFailed}
	switch {
	case e.running:
		out.Status = sfntypes.ExecutionStatusRunning
	case e.output != "":
		out.Status, out.Output = sfntypes.ExecutionStatusSucceeded, &e.output
	case e.cause != "":
		out.Cause = &e.cause
	}
	return out, nil
}

func (w *world) Invoke(_ context.Context, in *lambda.InvokeInput, _ ...func(*lambda.Options)) (*lambda.InvokeOutput, error) {
	w.calls = append(w.calls, *in.FunctionName+" "+string(in.Payload))
	return &lambda.InvokeOutput{}, nil
}

// incident puts an incident into the ledger.
func (w *world) incident(change func(*ledger.Incident)) {
	w.t.Helper()
	it := ledger.Item[ledger.Incident]{Value: ledger.Incident{
		ID: id, Status: incident.Open, Episode: 1, Band: incident.Critical, Owner: first, OwnerStart: now.Add(-8 * time.Minute), FirstSeen: now.Add(-10 * time.Minute), LastSeen: now.Add(-10 * time.Minute),
		Finding: ledger.Finding{Type: "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS", Title: "Stolen \x1b[2J credentials", Account: "222222222222", Region: "us-east-1", Resources: []string{instance, role}},
		Rule:    "lib/playbook/builtin.yaml:15",
		Plan:    incident.Plan{Contain: []incident.Step{revoke, isolate}, Eradicate: []incident.Step{destroy}},
		Outcomes: map[string]incident.Result{
			revoke.Key():  {Action: revoke.Action, Target: role, Outcome: incident.Failed, Reason: "Denied, see the dead letter"},
			isolate.Key(): {Action: isolate.Action, Target: instance, Outcome: incident.Applied, Verified: true},
			destroy.Key(): {Action: destroy.Action, Target: instance, Outcome: incident.Applied, Verified: true},
		},
		Ending: incident.EndNeedsPerson, Needs: "revoke-sessions of clinic-web is not done",
	}}
	change(&it.Value)
	it.Key = ledger.IncidentKey(it.Value.ID)
	ledger.Place(&it)
	if err := ledger.Save(context.Background(), w.store, &it); err != nil {
		w.t.Fatal(err)
	}
}

// resume gives what a started execution was to resume.
func (w *world) resume(name string) incident.Resume {
	w.t.Helper()
	e := w.executions[strings.Replace(respond, ":stateMachine:", ":execution:", 1)+":"+name]
	if e == nil {
		w.t.Fatalf("no execution %s was started, only %v", name, w.starts)
	}
	r, ok := resumption(e.input)
	if !ok {
		w.t.Fatalf("execution %s resumes nothing: %s", name, e.input)
	}
	return r
}

func (w *world) has(text string) {
	w.t.Helper()
	if !strings.Contains(w.out.String()+w.err.String(), text) {
		w.t.Errorf("the answer lacks %q:\n%s%s", text, w.out.String(), w.err.String())
	}
}

func TestWrongInputIsAnsweredWithTheWayOut(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.json")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "incidents"},
		{[]string{"help"}, 0, "dead-letters"},
		{[]string{"--help"}, 0, "dead-letters"},
		{[]string{"help", "redrive"}, 0, "--queue NAME"},
		{[]string{"redrive", "-h"}, 0, "--queue NAME"},
		{[]string{"inicdents"}, 2, `did you mean "incidents"?`},
		{[]string{"dlq"}, 2, `did you mean "dead-letters"?`},
		{[]string{"red"}, 2, `did you mean "redrive"?`},
		{[]string{"xyzzy-nothing"}, 2, `there is no verb "xyzzy-nothing"`},
		{[]string{"show"}, 2, "ID is missing"},
		{[]string{"show", "i-0abcdef1234567890"}, 2, "one looks like INC-"},
		{[]string{"show", id, other}, 2, "one ID at a time"},
		{[]string{"show", "INC-AAAAAAAAAAAAAAAA"}, 1, "there is no incident INC-AAAAAAAAAAAAAAAA in account 111111111111, us-east-1"},
		{[]string{"incidents", "--status", "broken"}, 2, "open, contained, recorded or closed"},
		{[]string{"incidents", "now"}, 2, "one argument too many"},
		{[]string{"incidents", "--colour"}, 2, "-colour"},
		{[]string{"mode", "on"}, 2, "act, plan or off"},
		{[]string{"mode", "act", "off"}, 2, "one mode at a time"},
		{[]string{"mode"}, 1, "scripts/firebreak mode act|plan|off"},
		{[]string{"limits", "budgte=30"}, 2, "one of budget, reserve, shared, steps, releasedHours"},
		{[]string{"limits", "budget=many"}, 2, "NAME=N"},
		{[]string{"protect", "clinic-exports"}, 2, "not an ARN"},
		{[]string{"unprotect"}, 2, "ARN is missing"},
		{[]string{"plan"}, 2, "FILE is missing"},
		{[]string{"plan", "/nonexistent/event.json"}, 1, "/nonexistent/event.json"},
		{[]string{"plan", empty}, 0, "has no event in it"},
		{[]string{"explain"}, 2, "one ID or FILE"},
		{[]string{"explain", "INC-AAAAAAAAAAAAAAAA"}, 1, "there is no incident INC-AAAAAAAAAAAAAAAA"},
		{[]string{"playbook", "chekc", empty}, 2, "playbook use FILE|builtin"},
		{[]string{"playbook", "check", empty}, 1, "empty.json"},
		{[]string{"playbook", "check", "../../lib/playbook/builtin.yaml"}, 0, "would be loaded"},
		{[]string{"explain", "../../events/guardduty-stolen-instance-credentials.json"}, 0, "decided by"},
		{[]string{"plan", "--playbook", empty, empty}, 1, "empty.json"},
		{[]string{"redrive"}, 2, "say what"},
		{[]string{"redrive", "--all", id}, 2, "one of ID, --queue and --all"},
		{[]string{"redrive", "--queue", "errors"}, 2, "delivery, action, incident, function or execution"},
		{[]string{"redrive", "everything"}, 2, "neither a dead letter nor an incident"},
		{[]string{"redrive", "3f0c2b1e-0000-4000-8000-000000000099"}, 1, "scripts/firebreak dead-letters lists them"},
		{[]string{"redrive", "INC-AAAAAAAAAAAAAAAA"}, 1, "there is no incident INC-AAAAAAAAAAAAAAAA"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			w := newWorld(t)
			if code := w.run(c.args...); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			w.has(c.want)
		})
	}
}

func TestPlanNeedsNoInstallation(t *testing.T) {
	w := newWorld(t)
	w.offline = true
	if code := w.run("plan", "../../events/guardduty-stolen-instance-credentials.json", "--json", "../../events/not-an-event.json"); code != 0 {
		t.Fatalf("exit code %d: %s", code, w.err.String())
	}
	lines := strings.Split(strings.TrimSpace(w.out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one a finding: %s", len(lines), w.out.String())
	}
	var l struct {
		Record      int
		IncidentID  string
		Disposition string
		Rule        string
		Contain     []struct{ Action string }
	}
	if err := json.Unmarshal([]byte(lines[0]), &l); err != nil || l.IncidentID != id || l.Disposition != "respond" || len(l.Contain) != 4 {
		t.Errorf("%+v (%v)", l, err)
	}
	if err := json.Unmarshal([]byte(lines[1]), &l); err != nil || l.Record != 1 || l.Disposition != "ignore" {
		t.Errorf("%+v (%v)", l, err)
	}
	if w.run("plan", "../../events/guardduty-stolen-instance-credentials.json"); !strings.Contains(w.out.String(), l.Rule) {
		t.Errorf("the answer does not name the rule:\n%s", w.out.String())
	}
}

// A playbook is replaced without a deployment: the setting names a version and its hash; one that would not load never gets there.
func TestAPlaybookIsPutToUse(t *testing.T) {
	w := newWorld(t)
	const text = "rules:\n  - name: own\n    when: {type: [\"Trojan:*\"]}\n    notify: {audience: security}\n"
	own := filepath.Join(t.TempDir(), "own.yaml")
	write := func(s string) {
		if err := os.WriteFile(own, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rules:\n  - nam: own\n")
	if code := w.run("playbook", "use", own); code != 1 || w.written != "" || len(w.kept) > 0 || !strings.Contains(w.err.String(), "own.yaml:2: unknown key") {
		t.Fatalf("exit code %d, %q, %v: %s", code, w.written, w.kept, w.err.String())
	}
	write(text)
	if code := w.run("playbook", "use", own); code != 0 || !strings.Contains(w.out.String(), "s3://evidence/playbooks/own.yaml, version v1 decides") {
		t.Fatalf("exit code %d: %s%s", code, w.out.String(), w.err.String())
	}
	name, value, _ := strings.Cut(w.written, " ")
	var set setting.Playbook
	sum := sha256.Sum256([]byte(text))
	want := setting.Playbook{Source: "s3", Bucket: "evidence", Key: "playbooks/own.yaml", Version: "v1", SHA256: hex.EncodeToString(sum[:])}
	if err := json.Unmarshal([]byte(value), &set); err != nil || name != "/firebreak/playbook" || set != want || len(w.kept) != 1 || w.kept[0] != "playbooks/own.yaml "+text {
		t.Errorf("%s, %v, %v", w.written, w.kept, err)
	}
	if code := w.run("playbook", "use", "builtin"); code != 0 || w.written != `/firebreak/playbook {"source":"builtin"}` {
		t.Errorf("exit code %d, %s: %s", code, w.written, w.err.String())
	}
}

func TestPlanReadsEventsInAnyGrouping(t *testing.T) {
	compact := func(s string) string {
		var b bytes.Buffer
		if err := json.Compact(&b, []byte(s)); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	one := event(t)
	for name, c := range map[string]struct {
		input string
		lines int
	}{
		"one":                        {one, 1},
		"an array":                   {"[" + one + "," + one + "]", 2},
		"one after another":          {one + one, 2},
		"one a line":                 {compact(one) + "\n\n" + compact(one) + "\n", 2},
		"with a byte-order mark":     {"\ufeff" + one, 1},
		"a broken line among others": {compact(one) + "\n{broken\n" + compact(one), 2},
		"broken":                     {one[:len(one)/2], 0},
		"an empty array and one":     {"[]" + one, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.stdin = c.input
			code, broken := w.run("plan", "-", "--json"), strings.Contains(name, "broken")
			if (code == 1) != broken || code > 1 || broken && !strings.Contains(w.err.String(), "-:") {
				t.Fatalf("exit code %d: %s", code, w.err.String())
			}
			if got := strings.Count(w.out.String(), "\n"); got != c.lines {
				t.Errorf("%d lines, want %d:\n%s", got, c.lines, w.out.String())
			}
		})
	}
}

func TestIncidentsMostSevereAndNewestFirst(t *testing.T) {
	w := newWorld(t)
	if w.run("incidents"); !strings.Contains(w.out.String(), "no incidents") {
		t.Errorf("%q", w.out.String())
	}
	w.incident(func(*ledger.Incident) {})
	w.incident(func(i *ledger.Incident) {
		i.ID, i.Band, i.Needs, i.Status = other, incident.High, "", incident.Contained
	})
	w.incident(func(i *ledger.Incident) { i.ID, i.OwnerStart = "INC-W3L7JHNQD52SBHRM", now.Add(-time.Minute) })
	if code := w.run("incidents"); code != 0 {
		t.Fatal(w.err.String())
	}
	text := w.out.String()
	newest, older, high := strings.Index(text, "INC-W3L7JHNQD52SBHRM"), strings.Index(text, id), strings.Index(text, other)
	if newest < 0 || newest > older || older > high {
		t.Errorf("the order is wrong:\n%s", text)
	}
	w.has("NEEDS A PERSON: revoke-sessions of clinic-web is not done")
	w.has("3 incidents, 2 need a person")
	var list []ledger.Incident
	if w.run("incidents", "--json", "--status", "contained"); json.Unmarshal(w.out.Bytes(), &list) != nil || len(list) != 1 || list[0].ID != other {
		t.Errorf("--status contained gives %s", w.out.String())
	}
	if w.run("incidents", "--all", "--json"); json.Unmarshal(w.out.Bytes(), &list) != nil || len(list) != 2 {
		t.Errorf("--all gives %s", w.out.String())
	}
}

func TestShowSaysEverythingButSecrets(t *testing.T) {
	w := newWorld(t)
	w.incident(func(*ledger.Incident) {})
	ask := ledger.Item[approval.Approval]{Key: approval.Key(id, 1), Value: approval.Approval{
		Incident: id, Number: 1, Episode: 1, Kind: approval.KindEradicate, Steps: []approval.Step{{Step: destroy}}, Need: 2, Status: approval.StatusOpen,
		Token: token, Nonces: []string{"nonce-fingerprint"}, Decisions: []approval.Decision{{Approver: "alice", Approve: true, Reason: "it is ours", Via: "link", At: now}}, Asked: now, Expires: now.Add(time.Hour),
	}}
	hold := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(instance, isolate.Action), Value: ledger.Hold{Resource: instance, Action: isolate.Action, Phase: ledger.Held, Holders: map[string]map[string]string{id: {}}}}
	if err := ledger.Save(context.Background(), w.store, &ask, &hold); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Append(context.Background(), w.store, id, ledger.Event{Time: now, State: "IsolateInstance", What: "isolate-instance: applied"}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"show", strings.ToLower(id)}, {"show", "--json", id}} {
		if code := w.run(args...); code != 0 {
			t.Fatal(w.err.String())
		}
		for _, want := range []string{id, "CRITICAL", "revoke-sessions of clinic-web is not done", "isolate-instance: applied", "alice", "it is ours", "lib/playbook/builtin.yaml:15"} {
			w.has(want)
		}
		for _, secret := range []string{token, "nonce-fingerprint", "\x1b"} {
			if strings.Contains(w.out.String(), secret) {
				t.Errorf("%v prints %q", args, secret)
			}
		}
	}
	w.run("show", id)
	w.has("1 of 2 approvals")
	w.has("HELD")
	w.has("FAILED: Denied, see the dead letter")
}

// How much is done before a person is asked is a setting, and one that makes no sense is refused.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	if code := w.run("limits", "budget=30", "shared=8"); code != 0 {
		t.Fatal(w.err.String())
	}
	w.has("budget         30\nreserve        5\nshared         8\nsteps          25\nreleasedHours  24\n")
	want := setting.Defaults()
	want.Budget, want.Shared, want.By, want.At = 30, 8, "arn:aws:iam::111111111111:user/alice", now
	if got, err := setting.ReadGuard(t.Context(), w.store); err != nil || !gocmp.Equal(got, want) {
		t.Errorf("%v, %s", err, gocmp.Diff(want, got))
	}
	if code := w.run("limits", "reserve=31"); code != 1 || !strings.Contains(w.err.String(), "the reserve must lie between 0 and the budget") {
		t.Errorf("exit code %d: %s", code, w.err.String())
	}
	var got setting.Guard
	if w.run("limits", "--json"); json.Unmarshal(w.out.Bytes(), &got) != nil || !gocmp.Equal(got, want) {
		t.Errorf("%s", w.out.String())
	}
}

func TestModeAndProtection(t *testing.T) {
	w := newWorld(t)
	read := func() setting.Guard {
		g, err := setting.ReadGuard(context.Background(), w.store)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	if code := w.run("mode", "ACT"); code != 0 || read().Mode != setting.Act || read().By != "arn:aws:iam::111111111111:user/alice" || !read().At.Equal(now) {
		t.Fatalf("exit code %d, settings %+v: %s", code, read(), w.err.String())
	}
	w.has("mode is now act")
	if w.run("mode", "act"); !strings.Contains(w.out.String(), "was and is act") {
		t.Errorf("%q", w.out.String())
	}
	if w.run("mode"); !strings.Contains(w.out.String(), "user/alice") {
		t.Errorf("%q does not say who set it", w.out.String())
	}
	for range 2 {
		if code := w.run("protect", "arn:aws:s3:::clinic-*"); code != 0 {
			t.Fatal(w.err.String())
		}
	}
	w.run("protect", "arn:aws:s3:::clinic-exports")
	if got := read().Protected; len(got) != 2 {
		t.Fatalf("protected %q, want two", got)
	}
	w.run("unprotect", "arn:aws:s3:::clinic-exports")
	w.has("still protected by arn:aws:s3:::clinic-*")
	w.run("unprotect", "arn:aws:s3:::clinic-*")
	if w.run("protect"); !strings.Contains(w.out.String(), "nothing is protected") {
		t.Errorf("%q", w.out.String())
	}
	var list []string
	if w.run("protect", "--json"); json.Unmarshal(w.out.Bytes(), &list) != nil || list == nil {
		t.Errorf("%q is no empty list", w.out.String())
	}
	if read().Mode != setting.Act {
		t.Error("protecting changed the mode")
	}
}

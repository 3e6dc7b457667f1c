package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

const (
	first  = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:owner"
	target = "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type fakeMachines struct {
	status types.ExecutionStatus
	absent bool
	sent   []incident.Verdict
	begun  []string
	err    error
}

func (f *fakeMachines) SendTaskSuccess(_ context.Context, in *sfn.SendTaskSuccessInput, _ ...func(*sfn.Options)) (*sfn.SendTaskSuccessOutput, error) {
	if f.err != nil {
		return nil, f.err
	}
	var v incident.Verdict
	if err := json.Unmarshal([]byte(*in.Output), &v); err != nil {
		return nil, err
	}
	f.sent = append(f.sent, v)
	return &sfn.SendTaskSuccessOutput{}, nil
}

func (f *fakeMachines) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	f.begun = append(f.begun, *in.Name)
	return &sfn.StartExecutionOutput{}, nil
}

func (f *fakeMachines) DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	if f.absent {
		return nil, &types.ExecutionDoesNotExist{}
	}
	return &sfn.DescribeExecutionOutput{Status: f.status}, nil
}

// fakeFunctions answers as the actions' functions would.
type fakeFunctions struct {
	result incident.Result
	fails  string
	asked  []incident.Request
}

func (f *fakeFunctions) Invoke(_ context.Context, in *lambda.InvokeInput, _ ...func(*lambda.Options)) (*lambda.InvokeOutput, error) {
	var req incident.Request
	if err := json.Unmarshal(in.Payload, &req); err != nil {
		return nil, err
	}
	f.asked = append(f.asked, req)
	if f.fails != "" {
		return &lambda.InvokeOutput{FunctionError: aws.String("Unhandled"), Payload: []byte(`{"errorType":"` + f.fails + `","errorMessage":"m"}`)}, nil
	}
	out, err := json.Marshal(f.result)
	return &lambda.InvokeOutput{Payload: out}, err
}

// fakeTopic keeps what the team is told in texts, and what everybody is in sent.
type fakeTopic struct {
	texts []string
	sent  []sns.PublishInput
	down  error
}

func (f *fakeTopic) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if f.down != nil {
		return nil, f.down
	}
	f.sent = append(f.sent, *in)
	if *in.MessageAttributes["audience"].StringValue == "security" {
		f.texts = append(f.texts, *in.Message)
	}
	return &sns.PublishOutput{}, nil
}

type world struct {
	sweep
	t         *testing.T
	machines  *fakeMachines
	functions *fakeFunctions
	topic     *fakeTopic
	at        time.Time
	in        setting.Installed
}

func newWorld(t *testing.T) *world {
	store, m, f, topic := ledger.NewMemory(), &fakeMachines{status: types.ExecutionStatusRunning}, &fakeFunctions{}, &fakeTopic{}
	w := &world{t: t, machines: m, functions: f, topic: topic, at: now}
	clock := func() time.Time { return w.at }
	ring, err := approval.ParseRing([]byte(`{"id":"1","key":"0123456789abcdefghijklmnopqrstuvwxyz0123456789"}`))
	w.ok(err)
	w.in = setting.Installed{Approvers: []setting.Approver{{ID: "alice"}, {ID: "bob"}}, Approval: setting.Approval{LinkAlone: "none", Hours: map[string]int{"": 24}}}
	people := channel.NewTopic(topic, "arn:aws:sns:us-east-1:111111111111:firebreak-security")
	w.sweep = sweep{
		store: store, machines: m, functions: f, now: clock, topic: people, inst: setting.Fixed(w.in),
		courier: approval.Courier{Store: store, API: m, Machine: "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond", Now: clock},
		ask:     channel.Invitations{Store: store, Topic: people, Personal: channel.NewTopic(topic, "arn:aws:sns:us-east-1:111111111111:firebreak-approvers"), Keys: approval.FixedKeys(ring), API: "https://api.example.com", Now: clock},
	}
	it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey("INC-A"), Value: ledger.Incident{
		ID: "INC-A", Status: incident.Open, Episode: 1, Band: incident.Critical, Owner: first, OwnerStart: now.Add(-10 * time.Minute),
		Finding: ledger.Finding{Account: "222222222222", Region: "us-east-1"},
		Plan: incident.Plan{
			Contain:   []incident.Step{{Action: "isolate-instance", Target: target}},
			Eradicate: []incident.Step{{Action: "terminate-instance", Target: target}},
		},
	}}
	ledger.Place(&it)
	w.ok(ledger.Save(context.Background(), store, &it))
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// ask opens the approval to terminate and gives it a status.
func (w *world) ask(status approval.Status, evidence string, expires time.Time) {
	w.t.Helper()
	ctx := context.Background()
	a, err := approval.Open(ctx, w.store, approval.Request{
		Incident: incident.Ref{ID: "INC-A", Episode: 1}, Kind: approval.KindEradicate, Round: 1, Token: "token", Evidence: evidence,
		Steps: []approval.Step{{Step: incident.Step{Action: "terminate-instance", Target: target}}}, Execution: incident.Execution{ARN: first, Start: now},
		Expires: expires, Now: now.Add(-48 * time.Hour),
	})
	w.ok(err)
	_, err = ledger.Update(ctx, w.store, approval.Key("INC-A", a.Number), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Status = status
		return nil
	})
	w.ok(err)
}

func (w *world) run() Report {
	w.t.Helper()
	r, err := w.handle(context.Background(), nil)
	w.ok(err)
	return r
}

func (w *world) meta() ledger.Incident {
	w.t.Helper()
	it, err := ledger.Load[ledger.Incident](context.Background(), w.store, ledger.IncidentKey("INC-A"))
	w.ok(err)
	return it.Value
}

func TestDecisionsAreDeliveredOnce(t *testing.T) {
	for _, c := range []struct {
		status   approval.Status
		evidence string
		expires  time.Duration
		// what the destroying function says of the evidence now
		now  string
		want string
	}{
		{approval.StatusApproved, approval.Complete, time.Hour, "", "approved"},
		{approval.StatusApproved, "pending: snap-1", time.Hour, approval.Complete, "approved"},
		{approval.StatusApproved, "pending: snap-1", time.Hour, "pending: snap-1 at 40 %", ""},
		{approval.StatusApproved, "pending: snap-1", -time.Hour, approval.Complete, "approved"},
		{approval.StatusRejected, "pending: snap-1", time.Hour, "", "rejected"},
		{approval.StatusSuperseded, "pending: snap-1", time.Hour, "", "superseded"},
		{approval.StatusCancelled, "pending: snap-1", time.Hour, "", "cancelled"},
		{approval.StatusOpen, approval.Complete, -time.Hour, "", "expired"},
		{approval.StatusOpen, approval.Complete, time.Hour, "", ""},
	} {
		t.Run(string(c.status)+" "+c.evidence+" "+c.now, func(t *testing.T) {
			w := newWorld(t)
			w.functions.result = incident.Result{Outcome: incident.Planned, Evidence: c.now}
			w.ask(c.status, c.evidence, now.Add(c.expires))
			w.run()
			w.run()
			got := ""
			if len(w.machines.sent) > 1 {
				t.Fatalf("delivered %d times", len(w.machines.sent))
			}
			if len(w.machines.sent) == 1 {
				got = w.machines.sent[0].Decision
			}
			if got != c.want {
				t.Errorf("delivered %q, want %q", got, c.want)
			}
		})
	}
}

func TestADecisionThatCannotBeDeliveredIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.ask(approval.StatusApproved, approval.Complete, now.Add(time.Hour))
	w.machines.err = errors.New("no answer")
	if r, err := w.handle(context.Background(), nil); err == nil || r.Failed != 1 {
		t.Fatalf("report %+v, error %v", r, err)
	}
	w.machines.err = nil
	if r := w.run(); r.Delivered != 1 {
		t.Errorf("report %+v", r)
	}
}

func (w *world) half(part string, lease time.Time) {
	w.t.Helper()
	it := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(target, "isolate-instance"), Value: ledger.Hold{
		Resource: target, Action: "isolate-instance", Phase: ledger.Applying, Part: part, Lease: lease, Holders: map[string]map[string]string{"INC-A": {}},
	}}
	ledger.PlaceHold(&it)
	w.ok(ledger.Save(context.Background(), w.store, &it))
}

func TestAnIsolationLeftOpenIsFinished(t *testing.T) {
	w := newWorld(t)
	w.half("untracked", now.Add(-time.Second))
	w.functions.result = incident.Result{Outcome: incident.Applied}
	if r := w.run(); r.Finished != 1 {
		t.Fatalf("report %+v", r)
	}
	req := w.functions.asked[0]
	if req.Mode != incident.Apply || req.Step.Target != target || req.Execution.ARN != first || req.Incident.ID != "INC-A" {
		t.Errorf("asked %+v", req)
	}
}

func TestAnIsolationInProgressIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		part  string
		lease time.Time
	}{"lease is live": {"untracked", now.Add(time.Second)}, "nothing is open": {"", now.Add(-time.Hour)}} {
		w := newWorld(t)
		w.half(c.part, c.lease)
		if w.run(); len(w.functions.asked) != 0 {
			t.Errorf("%s: asked %+v", name, w.functions.asked)
		}
	}
}

func TestAnIsolationThatCannotBeFinishedCallsAPersonOnce(t *testing.T) {
	w := newWorld(t)
	w.half("untracked", now.Add(-time.Second))
	w.functions.fails = "Denied"
	for range 2 {
		if r, err := w.handle(context.Background(), nil); err == nil || r.Unfinished != 1 {
			t.Fatalf("report %+v, error %v", r, err)
		}
	}
	if len(w.topic.texts) != 1 || !strings.Contains(w.topic.texts[0], target) {
		t.Errorf("told %q", w.topic.texts)
	}
}

func TestAnExecutionThatEndedWithoutClosingCallsAPersonOnce(t *testing.T) {
	for name, c := range map[string]struct {
		status types.ExecutionStatus
		absent bool
	}{"aborted": {status: types.ExecutionStatusAborted}, "timed out": {status: types.ExecutionStatusTimedOut}, "absent": {absent: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.machines.status, w.machines.absent = c.status, c.absent
			if r := w.run(); r.Orphaned != 1 {
				t.Fatalf("report %+v", r)
			}
			if r := w.run(); r.Orphaned != 0 || len(w.topic.texts) != 1 {
				t.Errorf("second report %+v, told %d times", r, len(w.topic.texts))
			}
			if in := w.meta(); in.Ending != incident.EndNeedsPerson || !strings.Contains(in.Needs, "redrive INC-A") || in.Status != incident.Open {
				t.Errorf("incident %+v", in)
			}
		})
	}
}

func TestWhatRunsTooLongIsCounted(t *testing.T) {
	w := newWorld(t)
	if r := w.run(); r.InFlight != 1 || r.Orphaned != 0 {
		t.Errorf("running: %+v", r)
	}
	w.functions.result = incident.Result{Outcome: incident.Planned, Evidence: approval.Complete}
	w.ask(approval.StatusOpen, approval.Complete, now.Add(time.Hour))
	if r := w.run(); r.InFlight != 0 {
		t.Errorf("waiting for people: %+v", r)
	}
}

func TestOneFailureDoesNotStopTheRest(t *testing.T) {
	w := newWorld(t)
	w.machines.status = types.ExecutionStatusFailed
	w.ask(approval.StatusRejected, approval.Complete, now.Add(time.Hour))
	w.machines.err = errors.New("no answer")
	r, err := w.handle(context.Background(), nil)
	if err == nil || r.Failed != 1 || r.Orphaned != 1 {
		t.Errorf("report %+v, error %v", r, err)
	}
}

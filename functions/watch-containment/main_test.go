package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/channel"
	"firebreak/lib/closure"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/google/go-cmp/cmp"
)

const (
	machine = "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond"
	owner   = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:first"
	clinic  = "222222222222"
)

var noon = time.Date(2026, 1, 15, 12, 0, 30, 0, time.UTC)

// world is what this function sees: the ledger, the actions' functions, the machines, the topic.
type world struct {
	watch
	t       testing.TB
	memory  *ledger.Memory
	clock   time.Time
	slow    time.Duration              // what a look takes
	results map[string]incident.Result // by target; still contained where there is none
	fails   map[string]string          // by target, the name of the error
	asked   []incident.Request
	notices []string
	down    error // of SNS
	running map[string]bool
	during  func(incident.Request) // happens while a step is looked at
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, memory: ledger.NewMemory(), clock: noon, results: map[string]incident.Result{}, fails: map[string]string{}, running: map[string]bool{}}
	w.watch = watch{
		store: w.memory, functions: w, topic: channel.NewTopic(w, "topic"), now: func() time.Time { return w.clock },
		closing: closure.Machines{API: w, Respond: machine, Release: strings.Replace(machine, "respond", "release", 1)},
	}
	return w
}

func (w *world) Invoke(_ context.Context, in *lambda.InvokeInput, _ ...func(*lambda.Options)) (*lambda.InvokeOutput, error) {
	var req incident.Request
	w.ok(json.Unmarshal(in.Payload, &req))
	if *in.FunctionName != "firebreak-"+req.Step.Action || req.Mode != incident.Look {
		w.t.Errorf("%s was asked in mode %q: the watch only looks", *in.FunctionName, req.Mode)
	}
	w.asked = append(w.asked, req)
	w.clock = w.clock.Add(w.slow)
	if w.during != nil {
		w.during(req)
	}
	if name := w.fails[req.Step.Target]; name != "" {
		return &lambda.InvokeOutput{FunctionError: aws.String("Unhandled"), Payload: fmt.Appendf(nil, `{"errorType":%q,"errorMessage":"no"}`, name)}, nil
	}
	result, ok := w.results[req.Step.Target]
	if !ok {
		result = incident.Result{Outcome: incident.Already, Verified: true}
	}
	result.Action, result.Target, result.Step = req.Step.Action, req.Step.Target, req.Step.Key()
	out, err := json.Marshal(result)
	return &lambda.InvokeOutput{Payload: out}, err
}

func (w *world) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if w.down != nil {
		return nil, w.down
	}
	w.notices = append(w.notices, aws.ToString(in.Subject)+"\n"+aws.ToString(in.Message))
	return &sns.PublishOutput{}, nil
}

func (w *world) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	if w.running[*in.ExecutionArn] {
		return &sfn.DescribeExecutionOutput{Status: sfntypes.ExecutionStatusRunning}, nil
	}
	return &sfn.DescribeExecutionOutput{Status: sfntypes.ExecutionStatusSucceeded}, nil
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func bucket(id string) string { return "arn:aws:s3:::records-" + strings.ToLower(id) }

// contained writes an incident that is contained by these actions, each with its hold; change comes last.
func (w *world) contained(id string, actions []string, change ...func(*ledger.Incident, []ledger.Hold)) {
	w.t.Helper()
	ctx := context.Background()
	m := ledger.Incident{
		ID: id, Status: incident.Contained, Ending: incident.EndContained, Episode: 1, Band: incident.High, Owner: owner, OwnerStart: noon.Add(-time.Hour), FirstSeen: noon.Add(-time.Hour),
		Finding: ledger.Finding{Type: "Policy:S3/BucketAnonymousAccessGranted", Account: clinic, Region: "us-east-1"}, Outcomes: map[string]incident.Result{},
	}
	var holds []ledger.Hold
	told := map[string]time.Time{}
	for _, a := range actions {
		step := incident.Step{Action: a, Target: bucket(id)}
		m.Plan.Contain = append(m.Plan.Contain, step)
		m.Outcomes[step.Key()] = incident.Result{Action: a, Target: step.Target, Step: step.Key(), Outcome: incident.Applied, Verified: true}
		told[step.Key()] = noon.Add(-30 * time.Minute) // not the owner's start: a later run did it
		holds = append(holds, ledger.Hold{Resource: step.Target, Action: a, Account: clinic, Phase: ledger.Held, Holders: map[string]map[string]string{id: {}}})
	}
	for _, c := range change {
		c(&m, holds)
	}
	it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(id), Value: m}
	ledger.Place(&it)
	w.ok(ledger.Save(ctx, w.store, &it, &ledger.Item[map[string]time.Time]{Key: ledger.Key{PK: "INC#" + id, SK: "OUTCOMES#0001"}, Value: told}))
	for _, h := range holds {
		w.ok(ledger.Save(ctx, w.store, &ledger.Item[ledger.Hold]{Key: ledger.HoldKey(h.Resource, h.Action), Value: h}))
	}
}

// open says what stands between a bucket and being contained.
func (w *world) open(id string, changes ...string) {
	w.results[bucket(id)] = incident.Result{Outcome: incident.Planned, Changes: changes}
}

func (w *world) meta(id string) ledger.Item[ledger.Incident] {
	w.t.Helper()
	it, err := ledger.Load[ledger.Incident](context.Background(), w.store, ledger.IncidentKey(id))
	w.ok(err)
	return it
}

func (w *world) events(id string) []ledger.Event {
	w.t.Helper()
	all, err := ledger.Timeline(context.Background(), w.store, id)
	w.ok(err)
	return all
}

// run is one run of the function, so much later.
func (w *world) run(later time.Duration) Report {
	w.t.Helper()
	w.clock = w.clock.Add(later)
	r, err := w.handle(context.Background(), request{})
	w.ok(err)
	return r
}

var block = []string{"block-public-access"}

// What each answer of an action comes to: still contained, undone, or not to be seen; and what is not looked at at all.
func TestEachStep(t *testing.T) {
	phase := func(p ledger.Phase, lessee string, lease time.Duration) func(*ledger.Incident, []ledger.Hold) {
		return func(_ *ledger.Incident, holds []ledger.Hold) {
			holds[0].Phase, holds[0].Lessee, holds[0].Lease = p, lessee, noon.Add(lease)
		}
	}
	for name, c := range map[string]struct {
		actions []string
		result  incident.Result
		fails   string
		change  func(*ledger.Incident, []ledger.Hold)
		running string
		want    Report
		asked   int
		told    string // in the only notice
	}{
		"still contained":  {result: incident.Result{Outcome: incident.Already}, want: Report{Incidents: 1, Still: 1}, asked: 1},
		"gone":             {result: incident.Result{Outcome: incident.Gone}, want: Report{Incidents: 1, Still: 1}, asked: 1},
		"undone":           {result: incident.Result{Outcome: incident.Planned, Changes: []string{"BlockPublicAcls: false -> true"}}, want: Report{Incidents: 1, Undone: 1}, asked: 1, told: "BlockPublicAcls: false -> true"},
		"denied":           {fails: "Denied", want: Report{Incidents: 1, Unseen: 1}, asked: 1, told: "block-public-access " + bucket("INC-A") + ": Denied"},
		"unreadable":       {fails: "Unreadable", want: Report{Incidents: 1, Unseen: 1}, asked: 1, told: "Unreadable"},
		"crashed":          {fails: "Runtime.ExitError", want: Report{Incidents: 1, Unseen: 1}, asked: 1, told: "Unexpected"},
		"throttled":        {fails: "Throttled", want: Report{Incidents: 1, Unseen: 1}, asked: 1}, // which passes: the alarm rings where it does not
		"refused":          {result: incident.Result{Outcome: incident.Refused, Reason: "service-linked"}, want: Report{Incidents: 1, Unseen: 1}, asked: 1, told: "service-linked"},
		"no answer":        {result: incident.Result{Outcome: "done"}, want: Report{Incidents: 1, Unseen: 1}, asked: 1, told: "done"},
		"worked on":        {fails: "Busy", want: Report{Incidents: 1, Busy: 1}, asked: 1},
		"released":         {change: phase(ledger.Released, "", 0), want: Report{Incidents: 1}},
		"being restored":   {change: phase(ledger.Undoing, "", 0), want: Report{Incidents: 1, Busy: 1}},
		"a live lease":     {change: phase(ledger.Applying, "other", time.Second), want: Report{Busy: 1}},
		"a dead lease":     {change: phase(ledger.Applying, "other", -time.Second), want: Report{Incidents: 1, Still: 1}, asked: 1},
		"another's hold":   {change: func(_ *ledger.Incident, h []ledger.Hold) { h[0].Holders = map[string]map[string]string{"INC-B": {}} }, want: Report{Incidents: 1}},
		"a run is at it":   {running: owner, want: Report{Busy: 1}},
		"a release is":     {change: func(m *ledger.Incident, _ []ledger.Hold) { m.Runs = 1 }, running: strings.Replace(machine, "stateMachine:firebreak-respond", "execution:firebreak-release", 1) + ":INC-A-release-1", want: Report{Busy: 1}},
		"open":             {change: func(m *ledger.Incident, _ []ledger.Hold) { m.Status = incident.Open }, want: Report{}},
		"closed":           {change: func(m *ledger.Incident, _ []ledger.Hold) { m.Status = incident.Closed }, want: Report{}},
		"only planned":     {change: func(m *ledger.Incident, _ []ledger.Hold) { m.Outcomes = nil }, want: Report{Incidents: 1}},
		"no hold of these": {actions: []string{"notify", "snapshot-volumes"}, want: Report{Incidents: 1}},
		"a trail":          {actions: []string{"restart-trail"}, want: Report{Incidents: 1, Still: 1}, asked: 1}, // no undo, and watched all the same
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.actions == nil {
				c.actions = block
			}
			if c.change == nil {
				c.change = func(*ledger.Incident, []ledger.Hold) {}
			}
			w.contained("INC-A", c.actions, c.change)
			w.fails[bucket("INC-A")], w.running[c.running] = c.fails, true
			if c.result.Outcome != "" {
				w.results[bucket("INC-A")] = c.result
			}
			before := w.meta("INC-A")
			if diff := cmp.Diff(c.want, w.run(0)); diff != "" || len(w.asked) != c.asked {
				t.Errorf("asked %d times, report (-want +got):\n%s", len(w.asked), diff)
			}
			if (c.told == "") != (len(w.notices) == 0) || len(w.notices) > 1 || !strings.Contains(strings.Join(w.notices, ""), c.told) {
				t.Errorf("people were told %q", w.notices)
			}
			if after := w.meta("INC-A"); c.want.Undone == 0 && !cmp.Equal(before, after) {
				t.Errorf("nothing is undone, and the incident was changed: %s", cmp.Diff(before, after))
			}
		})
	}
}

// An action is asked what the execution asked that contained it: a deny of old sessions has to be as new as that, and no newer.
func TestItIsAskedSinceItWasContained(t *testing.T) {
	w := newWorld(t)
	w.contained("INC-A", []string{"revoke-sessions"})
	w.run(0)
	if req := w.asked[0]; !req.Execution.Start.Equal(noon.Add(-30*time.Minute)) || req.Execution.ARN != owner || req.Incident.ID != "INC-A" {
		t.Errorf("asked %+v", req)
	}
}

// What is undone is told once, with what it is, what to do, and on record; the incident needs a person. Contained again and undone again,
// it is told again.
func TestToldOnceUntilContainedAgain(t *testing.T) {
	w := newWorld(t)
	w.contained("INC-A", []string{"block-public-access", "encrypt-bucket"})
	w.contained("INC-B", block)
	w.open("INC-A", "BlockPublicAcls: false -> true")
	for range 3 {
		w.run(time.Hour)
	}
	if len(w.notices) != 1 || len(w.events("INC-A")) != 1 || len(w.events("INC-B")) != 0 {
		t.Fatalf("told %q, on record %+v", w.notices, w.events("INC-A"))
	}
	for _, words := range []string{"INC-A is not contained any more", bucket("INC-A"), "BlockPublicAcls: false -> true", "2026-01-15T11:30:30Z", "scripts/firebreak redrive INC-A", "scripts/firebreak close INC-A", "scripts/firebreak release INC-A"} {
		if !strings.Contains(w.notices[0], words) {
			t.Errorf("people are not told %q:\n%s", words, w.notices[0])
		}
	}
	if e := w.events("INC-A")[0]; e.Who != "watch-containment" || !strings.Contains(e.What, "BlockPublicAcls: false -> true") {
		t.Errorf("on record is %+v", e)
	}
	it := w.meta("INC-A")
	m := it.Value
	if m.Status != incident.Open || m.Ending != incident.EndNeedsPerson || !strings.Contains(m.Needs, "redrive INC-A") || it.Group == "" || m.Owner != owner {
		t.Errorf("the incident is %+v", m)
	}
	if b := w.meta("INC-B").Value; b.Status != incident.Contained {
		t.Errorf("another one is %s", b.Status)
	}
	// A redrive does what has no outcome that counts: that has to be what was undone, all of it.
	for _, s := range m.Plan.Contain {
		if o := m.Outcomes[s.Key()].Outcome; o.Contains() {
			t.Errorf("%s counts as %s: nothing would contain it again", s.Action, o)
		}
	}

	again := func(since time.Time) {
		it := w.meta("INC-A")
		it.Value.Status, it.Value.Ending, it.Value.Needs = incident.Contained, incident.EndContained, ""
		told := map[string]time.Time{}
		for k, r := range it.Value.Outcomes {
			r.Outcome = incident.Applied
			it.Value.Outcomes[k], told[k] = r, since
		}
		ledger.Place(&it)
		starts, err := ledger.Load[map[string]time.Time](context.Background(), w.store, ledger.Key{PK: "INC#INC-A", SK: "OUTCOMES#0001"})
		w.ok(err)
		starts.Value = told
		w.ok(ledger.Save(context.Background(), w.store, &it, &starts))
	}
	again(w.clock)
	if w.run(time.Hour); len(w.notices) != 2 || len(w.events("INC-A")) != 2 {
		t.Errorf("undone the same way after it was contained again: told %d times, on record %d", len(w.notices), len(w.events("INC-A")))
	}
}

// Whatever breaks between the notice and the record is made good by the next run, and told no second time, unless it has become something
// else meanwhile.
func TestABreakBetweenNoticeAndTimeline(t *testing.T) {
	for name, c := range map[string]struct {
		then  string
		times int
	}{"the same": {"BlockPublicAcls: false -> true", 1}, "another difference": {"BlockPublicPolicy: false -> true", 2}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.contained("INC-A", block)
			w.open("INC-A", "BlockPublicAcls: false -> true")
			w.memory.Fail = func(op string, k ledger.Key) error {
				if op == "put" && k.SK == "META" {
					return errors.New("the function died")
				}
				return nil
			}
			if _, err := w.handle(context.Background(), request{}); err == nil || len(w.notices) != 1 || len(w.events("INC-A")) != 0 || w.meta("INC-A").Value.Status != incident.Contained {
				t.Fatalf("%v, told %d times, on record %+v", err, len(w.notices), w.events("INC-A"))
			}
			w.memory.Fail = nil
			w.open("INC-A", c.then)
			w.run(time.Hour)
			if len(w.notices) != c.times || len(w.events("INC-A")) != 1 || w.meta("INC-A").Value.Status != incident.Open {
				t.Errorf("told %d times, on record %+v", len(w.notices), w.events("INC-A"))
			}
		})
	}
}

// Where nobody can be told, the incident is not put aside as told: the next run tells.
func TestATopicThatIsDownIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.contained("INC-A", block)
	w.open("INC-A", "BlockPublicAcls: false -> true")
	w.down = errors.New("down")
	if _, err := w.handle(context.Background(), request{}); err == nil || w.meta("INC-A").Value.Status != incident.Contained {
		t.Fatalf("%v: nobody was told, and it is %s", err, w.meta("INC-A").Value.Status)
	}
	w.down = nil
	if w.run(time.Hour); len(w.notices) != 1 || w.meta("INC-A").Value.Status != incident.Open {
		t.Errorf("told %q", w.notices)
	}
}

// What somebody changes while it is looked at is left to them.
func TestWhatIsTakenMeanwhileIsLeft(t *testing.T) {
	w := newWorld(t)
	w.contained("INC-A", block)
	w.open("INC-A", "BlockPublicAcls: false -> true")
	w.during = func(incident.Request) {
		it := w.meta("INC-A")
		it.Value.Owner = owner + "-r1"
		ledger.Place(&it)
		w.ok(ledger.Save(context.Background(), w.store, &it))
	}
	if r := w.run(0); r.Busy != 1 || w.meta("INC-A").Value.Status != incident.Contained || len(w.events("INC-A")) != 0 {
		t.Errorf("%+v, the incident is %+v", r, w.meta("INC-A").Value)
	}
}

// Each incident is looked at once an hour: a run does what it has time for, the next goes on, and one that fails keeps no other.
func TestARunIsBoundedAndTheNextGoesOn(t *testing.T) {
	w := newWorld(t)
	var want []string
	for n := range 20 {
		id := fmt.Sprintf("INC-%c", 'A'+n)
		w.contained(id, block)
		want = append(want, bucket(id))
	}
	w.slow = 10 * time.Second
	w.fails[want[3]] = "Denied"
	first := w.run(0)
	if first.Incidents != 8 || first.Waiting != 12 {
		t.Errorf("in %s of 10 s each: %+v", box, first)
	}
	for range 2 {
		w.run(15 * time.Minute)
	}
	var asked []string
	for _, req := range w.asked {
		asked = append(asked, req.Step.Target)
	}
	if !slices.Equal(asked, want) {
		t.Errorf("looked at %v", asked)
	}
	if r := w.run(10 * time.Minute); r != (Report{}) {
		t.Errorf("all were looked at this hour: %+v", r)
	}
	if r, err := w.handle(context.Background(), request{Again: true}); err != nil || r.Incidents != 8 {
		t.Errorf("asked by a person: %+v, %v", r, err)
	}
	for range 2 {
		w.run(0)
	}
	if r := w.run(time.Hour); r.Incidents != 8 || w.asked[len(w.asked)-8].Step.Target != want[0] {
		t.Errorf("the next hour: %+v, it begins with %s", r, w.asked[len(w.asked)-8].Step.Target)
	}
}

// Of two runs at once one goes on.
func TestTwoRunsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.contained("INC-A", block)
	w.contained("INC-B", block)
	w.open("INC-A", "BlockPublicAcls: false -> true")
	other := false
	w.during = func(incident.Request) {
		if !other {
			other = true
			_, err := w.handle(context.Background(), request{})
			w.ok(err)
		}
	}
	w.run(0)
	if len(w.notices) != 1 || len(w.events("INC-A")) != 1 || len(w.asked) != 3 {
		t.Errorf("told %q, on record %d, looked %d times", w.notices, len(w.events("INC-A")), len(w.asked))
	}
}

// What cannot be seen is told once a day and account, not once an incident and hour.
func TestWhatCannotBeSeenIsToldOnceADay(t *testing.T) {
	w := newWorld(t)
	for n := range 25 {
		id := fmt.Sprintf("INC-%c", 'A'+n)
		w.contained(id, block)
		w.fails[bucket(id)] = "Denied"
	}
	for range 3 {
		w.run(time.Hour)
	}
	if len(w.notices) != 1 || !strings.Contains(w.notices[0], clinic) || !strings.Contains(w.notices[0], "and 5 more") {
		t.Errorf("told %q", w.notices)
	}
	if w.run(24 * time.Hour); len(w.notices) != 2 {
		t.Errorf("the next day told %d times", len(w.notices))
	}
}

// An attacker who names a bucket writes no link and no line of their own into what people read.
func TestNamesAreInert(t *testing.T) {
	w := newWorld(t)
	w.contained("INC-A", block)
	w.open("INC-A", "policy: none -> https://evil.example\nApprove: here")
	w.run(0)
	if text := w.notices[0] + w.meta("INC-A").Value.Needs; strings.Contains(text, "https://") || strings.Contains(text, "\nApprove") {
		t.Errorf("people read\n%s", text)
	}
}

// The alarms read what CloudWatch makes of this line: each metric that it announces has its value beside it, without a dimension.
func TestTheReportIsMetrics(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	defer slog.SetDefault(was)
	w := newWorld(t)
	r := &run{watch: w.watch, report: Report{Undone: 1, Unseen: 2}}
	r.measure(t.Context())
	var line struct {
		Undone, Unseen int
		AWS            struct {
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	w.ok(json.Unmarshal(log.Bytes(), &line))
	all := line.AWS.CloudWatchMetrics[0]
	if line.Undone != 1 || line.Unseen != 2 || all.Namespace != "Firebreak" || !cmp.Equal(all.Dimensions, [][]string{{}}) || len(all.Metrics) != 2 {
		t.Errorf("the line is %s", &log)
	}
}

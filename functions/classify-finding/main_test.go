package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/playbook"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden decisions in testdata, which the machine's tests use")

func TestMain(m *testing.M) {
	flag.Parse()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

const machineARN = "arn:aws:states:us-east-1:111111111111:stateMachine:firebreak-respond"

var start = time.Date(2026, 1, 15, 10, 16, 0, 0, time.UTC)

// bucket is an evidence bucket that keeps what it is given.
type bucket struct {
	mu   sync.Mutex
	kept map[string]string
	err  error
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	if in.ChecksumAlgorithm == "" { // as a bucket does that locks what it gets (S3 user guide, Object Lock)
		return nil, errors.New("InvalidRequest: Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
	}
	body, err := io.ReadAll(in.Body)
	b.kept[aws.ToString(in.Key)] = string(body)
	return &s3.PutObjectOutput{VersionId: aws.String("v1")}, err
}

func (b *bucket) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.kept[aws.ToString(in.Key)]
	if b.err != nil || !ok || aws.ToString(in.VersionId) != "v1" || *in.Bucket != "firebreak-evidence" {
		return nil, errors.Join(b.err, errors.New("NoSuchKey"))
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(body))}, nil
}

// machines starts each name once.
type machines struct{ started map[string]string }

func (m *machines) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	if _, ok := m.started[*in.Name]; ok {
		return nil, &types.ExecutionAlreadyExists{}
	}
	m.started[*in.Name] = *in.Input
	return &sfn.StartExecutionOutput{}, nil
}

type world struct {
	handler
	store *ledger.Memory
	kept  *bucket
	runs  *machines
	clock time.Time
}

func installed() setting.Installed {
	return setting.Installed{
		Hub:      "111111111111",
		Accounts: []setting.Account{{ID: "222222222222", Name: "clinic", Regions: []string{"us-east-1"}}},
		Playbook: setting.Playbook{Source: "builtin"},
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := bareWorld()
	w.setGuard(t, 25)
	return w
}

// bareWorld has no settings of the guard yet.
func bareWorld() *world {
	w := &world{store: ledger.NewMemory(), kept: &bucket{kept: map[string]string{}}, runs: &machines{started: map[string]string{}}, clock: start.Add(time.Second)}
	w.handler = handler{
		store: w.store, settings: setting.Fixed(installed()), evidence: w.kept, bucket: "firebreak-evidence", machine: w.runs,
		respond: machineARN, decode: finding.Decode, load: playbook.NewLibrary(nil).Load, now: func() time.Time { return w.clock },
		keys: func(context.Context, finding.Finding) (keys, error) {
			return iamKeys{owners: map[string]string{"AKIAIOSFODNN7EXAMPLE": "bob"}}, nil
		},
	}
	return w
}

func (w *world) setGuard(t *testing.T, steps int) {
	t.Helper()
	it, err := ledger.Load[setting.Guard](t.Context(), w.store, setting.GuardKey)
	if err != nil {
		t.Fatal(err)
	}
	it.Value = setting.Defaults()
	it.Value.Steps = steps
	if err := ledger.Save(t.Context(), w.store, &it); err != nil {
		t.Fatal(err)
	}
}

func arnOf(name string) string {
	return "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:" + name
}

func call(raw []byte, name string) input {
	return input{Event: raw, Execution: incident.Execution{ARN: arnOf(name), Start: start}, State: incident.State{Name: "ClassifyFinding"}}
}

func (w *world) classify(t *testing.T, raw []byte, execution string) incident.Decision {
	t.Helper()
	d, err := w.handle(t.Context(), call(raw, execution))
	if err != nil {
		t.Fatal(err)
	}
	if d.Plan.Contain == nil || d.Plan.Eradicate == nil {
		t.Error("a list of the plan is null")
	}
	return d
}

func (w *world) meta(t *testing.T, id string) ledger.Item[ledger.Incident] {
	t.Helper()
	it, err := ledger.Load[ledger.Incident](t.Context(), w.store, ledger.IncidentKey(id))
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func (w *world) edit(t *testing.T, id string, change func(*ledger.Incident)) {
	t.Helper()
	if _, err := ledger.Update(t.Context(), w.store, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		change(&it.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) timeline(t *testing.T, id string) string {
	t.Helper()
	events, err := ledger.Timeline(t.Context(), w.store, id)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintln(&b, e.What, "|", e.Why)
	}
	return b.String()
}

func event(t *testing.T, name string) []byte {
	t.Helper()
	return eventOf(t, name)
}

func eventOf(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// with gives the event with other values in its detail, by path.
func with(t *testing.T, raw []byte, values map[string]any) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for path, v := range values {
		at := m["detail"].(map[string]any)
		keys := strings.Split(path, ".")
		for _, k := range keys[:len(keys)-1] {
			at = at[k].(map[string]any)
		}
		at[keys[len(keys)-1]] = v
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func resumeInput(t *testing.T, r incident.Resume) []byte {
	t.Helper()
	out, err := json.Marshal(map[string]any{"resume": r})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The golden decisions are the contract between this function and the machine.
func TestGoldenDecisions(t *testing.T) {
	stolen := event(t, "guardduty-stolen-instance-credentials")
	for name, decide := range map[string]func(*world) incident.Decision{
		"respond":      func(w *world) incident.Decision { return w.classify(t, stolen, "first") },
		"contain-only": func(w *world) incident.Decision { return w.classify(t, event(t, "guardduty-public-bucket"), "first") },
		"notify-only":  func(w *world) incident.Decision { return w.classify(t, event(t, "guardduty-unknown-type"), "first") },
		"record":       func(w *world) incident.Decision { return w.classify(t, event(t, "guardduty-sample"), "first") },
		"duplicate": func(w *world) incident.Decision {
			w.classify(t, stolen, "first")
			return w.classify(t, stolen, "second")
		},
		"supersede": func(w *world) incident.Decision {
			d := w.classify(t, stolen, "first")
			w.edit(t, d.Incident.ID, func(m *ledger.Incident) { m.Episode, m.Owner = 2, arnOf("other") })
			return w.classify(t, resumeInput(t, incident.Resume{Incident: d.Incident.ID, Episode: 1, Run: 1, Steps: []incident.Step{}, From: arnOf("first"), Reason: "redrive"}), "third")
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(decide(newWorld(t)), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
				t.Errorf("%s (-want +got), go test -update writes it:\n%s", file, diff)
			}
		})
	}
}

func TestAFindingBecomesAnIncident(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-stolen-instance-credentials")
	d := w.classify(t, raw, "first")
	seen := time.Date(2026, 1, 15, 10, 12, 30, 0, time.UTC)
	role, instance := "arn:aws:iam::222222222222:role/clinic-web", "arn:aws:ec2:us-east-1:222222222222:instance/i-0abcdef1234567890"
	it := w.meta(t, d.Incident.ID)
	want := ledger.Incident{
		ID: "INC-BWJ4TH5BLF5DYQIG", Status: incident.Open, Episode: 1, Band: incident.Critical, Owner: arnOf("first"), OwnerStart: start,
		FirstSeen: time.Date(2026, 1, 15, 10, 2, 11, 0, time.UTC), LastSeen: seen, Seen: seen,
		Finding: ledger.Finding{
			Product: "aws/guardduty", NativeID: "6ab1c2d3e4f5061728394a5b6c7d8e9f", Source: "11aabbccddeeff001122334455667788",
			Type:    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
			Title:   "Credentials for instance role clinic-web used from external IP address.",
			Account: "222222222222", Region: "us-east-1", Score: 8, Resources: []string{role, instance}, People: []string{role, "arn:aws:sts::222222222222:assumed-role/clinic-web/i-0abcdef1234567890"},
		},
		Rule: it.Value.Rule, Plan: d.Plan, Told: ledger.Told{Audience: "security", Name: "security", Said: "the default"}, Outcomes: map[string]incident.Result{},
	}
	if diff := cmp.Diff(want, it.Value); diff != "" {
		t.Errorf("incident (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(it.Value.Rule, "lib/playbook/builtin.yaml:") {
		t.Errorf("rule is %q", it.Value.Rule)
	}
	if it.Group != ledger.Group(ledger.IncidentGroup(incident.Critical), d.Incident.ID) {
		t.Errorf("it is in the index group %q", it.Group)
	}
	if got := w.kept.kept["findings/INC-BWJ4TH5BLF5DYQIG/first.json"]; got != string(raw) {
		t.Errorf("the evidence holds %.60q", got)
	}
	for _, arn := range []string{role, instance} {
		links, err := ledger.List[link](t.Context(), w.store, "RES#"+arn, "INC#")
		if err != nil || len(links) != 1 || links[0].Value.Incident != d.Incident.ID {
			t.Errorf("links of %s are %v (%v)", arn, links, err)
		}
	}
	if tl := w.timeline(t, d.Incident.ID); !strings.Contains(tl, "episode 1: CRITICAL") || !strings.Contains(tl, it.Value.Rule) {
		t.Errorf("timeline is\n%s", tl)
	}
}

func TestAnotherFindingOfTheSameInstanceIsLinked(t *testing.T) {
	w := newWorld(t)
	first := w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "first")
	second := w.classify(t, event(t, "guardduty-crypto-mining"), "second")
	if first.Incident.ID == second.Incident.ID || second.Disposition != incident.Respond {
		t.Fatalf("got %+v and %+v", first, second)
	}
	if tl := w.timeline(t, second.Incident.ID); !strings.Contains(tl, "shares resources with "+first.Incident.ID) {
		t.Errorf("timeline is\n%s", tl)
	}
}

// An attack sequence names up to 400 resources, and a transaction takes 100 items: the incident is taken all the same.
func TestAFindingOfManyResourcesIsTaken(t *testing.T) {
	w := newWorld(t)
	w.decode = func(raw []byte) ([]finding.Finding, error) {
		found, err := finding.Decode(raw)
		for n := range 400 {
			found[0].Resources = append(found[0].Resources, finding.Resource{ARN: fmt.Sprintf("arn:aws:s3:::bucket-%03d", n)})
		}
		return found, err
	}
	d := w.classify(t, event(t, "guardduty-crypto-mining"), "first")
	if got := w.meta(t, d.Incident.ID).Value; d.Disposition != incident.Respond || len(got.Finding.Resources) < 400 {
		t.Errorf("got %+v with %d resources", d, len(got.Finding.Resources))
	}
}

func TestACopyIsADuplicateAndMovesLastSeenOn(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-crypto-mining")
	d := w.classify(t, raw, "first")
	before := w.meta(t, d.Incident.ID).Value
	if got := w.classify(t, raw, "second"); got.Disposition != incident.Duplicate || len(got.Plan.Contain) != 0 {
		t.Errorf("a copy is %+v", got)
	}
	seen := time.Date(2026, 1, 15, 10, 15, 30, 0, time.UTC)
	if got := w.classify(t, with(t, raw, map[string]any{"service.eventLastSeen": seen.Format(time.RFC3339), "service.count": 7}), "third"); got.Disposition != incident.Duplicate {
		t.Errorf("an update is %+v", got)
	}
	// The administrator account's copy.
	admin := []byte(strings.Replace(string(raw), `"account": "222222222222"`, `"account": "111111111111"`, 1))
	if got := w.classify(t, admin, "fourth"); got.Disposition != incident.Duplicate || got.Incident.ID != d.Incident.ID {
		t.Errorf("the administrator's copy is %+v", got)
	}
	after := w.meta(t, d.Incident.ID).Value
	before.LastSeen = seen
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("incident (-want +got):\n%s", diff)
	}
	if n := strings.Count(w.timeline(t, d.Incident.ID), "a copy arrived"); n != 3 {
		t.Errorf("the timeline has %d copies, want 3", n)
	}
}

func TestTwentyCopiesAtOnceMakeOneIncident(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-crypto-mining")
	var mu sync.Mutex
	var wg sync.WaitGroup
	count := map[incident.Disposition]int{}
	for i := range 20 {
		wg.Go(func() {
			d, err := w.handle(t.Context(), call(raw, fmt.Sprintf("copy-%d", i)))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			count[d.Disposition]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[incident.Disposition]int{incident.Respond: 1, incident.Duplicate: 19}, count); diff != "" {
		t.Error(diff)
	}
}

// The function dies after its write, at any later call: the retry of the same execution responds, with the same plan.
func TestAnExecutionThatDiesAfterItsWriteRespondsWhenItIsRetried(t *testing.T) {
	raw := event(t, "guardduty-stolen-instance-credentials")
	want := newWorld(t).classify(t, raw, "first").Plan
	for die := 1; ; die++ {
		w := newWorld(t)
		calls, died := 0, false
		w.store.Fail = func(op string, k ledger.Key) error {
			if calls++; calls == die {
				died = true
				return errors.New("the function was killed")
			}
			return nil
		}
		_, err := w.handle(t.Context(), call(raw, "first"))
		if !died {
			if die < 5 {
				t.Errorf("only %d calls", die)
			}
			return
		}
		if err == nil {
			t.Fatalf("it did not notice that call %d failed", die)
		}
		w.store.Fail = nil
		if d := w.classify(t, raw, "first"); d.Disposition != incident.Respond || !cmp.Equal(d.Plan, want) {
			t.Errorf("after dying in call %d the retry is %s with %v", die, d.Disposition, d.Plan)
		}
		if m := w.meta(t, "INC-BWJ4TH5BLF5DYQIG").Value; m.Episode != 1 || m.Owner != arnOf("first") {
			t.Errorf("after dying in call %d: episode %d of %s", die, m.Episode, m.Owner)
		}
	}
}

func TestARisenSeverityBeginsTheNextEpisode(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-crypto-mining")
	first := w.classify(t, raw, "first")
	ask(t, w, first)
	second := w.classify(t, with(t, raw, map[string]any{"severity": 9.1}), "second")
	if second.Disposition != incident.Respond || second.Incident.Episode != 2 || second.Incident.Severity != incident.Critical || len(second.Plan.Contain) == 0 {
		t.Fatalf("got %+v", second)
	}
	m := w.meta(t, first.Incident.ID)
	if m.Value.Owner != arnOf("second") || m.Value.Episode != 2 || m.Group != ledger.Group(ledger.IncidentGroup(incident.Critical), m.Value.ID) {
		t.Errorf("incident is %+v in %s", m.Value, m.Group)
	}
	all, err := approval.List(t.Context(), w.store, first.Incident.ID)
	if err != nil || len(all) != 1 || all[0].Value.Status != approval.StatusSuperseded {
		t.Errorf("the approvals of episode 1 are %+v (%v)", all, err)
	}
	if again := w.classify(t, raw, "third"); again.Disposition != incident.Duplicate {
		t.Errorf("a fallen severity is %+v", again)
	}
	if again := w.classify(t, raw, "first"); again.Disposition != incident.Duplicate {
		t.Errorf("the owner of episode 1 comes back: %+v", again)
	}
}

func ask(t *testing.T, w *world, d incident.Decision) {
	t.Helper()
	_, err := approval.Open(t.Context(), w.store, approval.Request{
		Incident: d.Incident, Kind: approval.KindEradicate, Round: 1, Steps: []approval.Step{{Step: d.Plan.Eradicate[0]}}, Token: "token",
		Execution: incident.Execution{ARN: arnOf("first"), Start: start}, Evidence: approval.Complete, Expires: w.clock.Add(time.Hour), Now: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestARiseThatCallsForNothingOnlyRaisesTheBand(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-port-probe")
	d := w.classify(t, raw, "first")
	if m := w.meta(t, d.Incident.ID); d.Disposition != incident.Record || m.Value.Status != incident.Recorded || m.Value.Ending != incident.EndRecorded || m.Group != "" {
		t.Fatalf("a LOW finding is %+v, %+v", d, m)
	}
	if d := w.classify(t, with(t, raw, map[string]any{"severity": 5}), "second"); d.Disposition != incident.Duplicate {
		t.Errorf("MEDIUM is %+v", d)
	}
	if m := w.meta(t, d.Incident.ID).Value; m.Episode != 1 || m.Band != incident.Medium {
		t.Errorf("incident is %+v", m)
	}
	if d := w.classify(t, with(t, raw, map[string]any{"severity": 7}), "third"); d.Disposition != incident.Respond || d.Incident.Episode != 2 {
		t.Errorf("HIGH is %+v", d)
	}
}

func TestAClosedIncidentReopensForWhatWasSeenLater(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-crypto-mining")
	d := w.classify(t, raw, "first")
	closed := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	w.edit(t, d.Incident.ID, func(m *ledger.Incident) { m.Status, m.ClosedAt = incident.Closed, closed })
	w.clock = closed.Add(3 * time.Hour)
	// An update that only repeats what was seen before the closing, published after it.
	update := with(t, raw, map[string]any{"updatedAt": "2026-01-15T13:00:00.000Z"})
	if got := w.classify(t, update, "second"); got.Disposition != incident.Duplicate {
		t.Errorf("old news is %+v", got)
	}
	got := w.classify(t, with(t, raw, map[string]any{"service.eventLastSeen": "2026-01-15T12:30:00.000Z"}), "third")
	if got.Disposition != incident.Respond || got.Incident.Episode != 2 {
		t.Fatalf("news is %+v", got)
	}
	if m := w.meta(t, d.Incident.ID).Value; m.Status != incident.Open || !m.ClosedAt.IsZero() || !m.Seen.Equal(closed.Add(30*time.Minute)) {
		t.Errorf("incident is %+v", m)
	}
}

func TestWhatMayNotActIsRecordedBesideTheIncident(t *testing.T) {
	for name, reason := range map[string]string{
		"guardduty-sample":      "a sample finding",
		"guardduty-archived":    "the finding is archived",
		"instance-state-change": "not a finding: aws.ec2",
		"custom-source":         "not a finding of an AWS service",
		"not-an-event":          "not an event of EventBridge",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			// Nothing of this needs settings.
			w.settings = unreadable{}
			raw := event(t, name)
			for range 2 { // the second time is a retry
				d := w.classify(t, raw, "first")
				if d.Disposition != incident.Record || !strings.Contains(d.Reason, reason) || d.Incident.ID == "" {
					t.Errorf("got %+v", d)
				}
				if m := w.meta(t, d.Incident.ID); m.Exists() {
					t.Errorf("it took the incident: %+v", m.Value)
				}
				copies, err := ledger.List[copied](t.Context(), w.store, "INC#"+d.Incident.ID, "COPY#")
				if err != nil || len(copies) != 1 || copies[0].Value.Reason != d.Reason || w.kept.kept[copies[0].Value.Evidence] != string(raw) {
					t.Errorf("copies are %+v (%v)", copies, err)
				}
				if n := strings.Count(w.timeline(t, d.Incident.ID), "recorded, not acted on: "); n != 1 {
					t.Errorf("%d events in the timeline", n)
				}
			}
		})
	}
}

func TestASampleDoesNotStandInTheWayOfTheRealOne(t *testing.T) {
	w := newWorld(t)
	raw := event(t, "guardduty-crypto-mining")
	archived := with(t, raw, map[string]any{"service.archived": true, "severity": 9.5})
	w.classify(t, archived, "first")
	if d := w.classify(t, raw, "second"); d.Disposition != incident.Respond || d.Incident.Episode != 1 {
		t.Errorf("the real one is %+v", d)
	}
	if d := w.classify(t, archived, "third"); d.Disposition != incident.Record {
		t.Errorf("archived afterwards is %+v", d)
	}
}

// People hear once of a finding that may not be acted on, and it is acted on as soon as it may.
func TestAnAccountOrRegionThatIsNotLookedAfter(t *testing.T) {
	for name, reason := range map[string]string{
		"guardduty-unknown-account":    "account 333333333333 is not one that Firebreak looks after",
		"guardduty-region-not-enabled": "region eu-central-1 of account 222222222222 is not enabled",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			raw := event(t, name)
			d := w.classify(t, raw, "first")
			if d.Disposition != incident.Respond || len(d.Plan.Contain) != 1 || d.Plan.Contain[0].Action != "notify" || len(d.Plan.Eradicate) != 0 || d.Reason != reason {
				t.Errorf("got %+v", d)
			}
			if d := w.classify(t, with(t, raw, map[string]any{"severity": 9.5}), "second"); d.Disposition != incident.Duplicate {
				t.Errorf("a copy is %+v", d)
			}
			w.settings = setting.Fixed(setting.Installed{
				Accounts: []setting.Account{{ID: "333333333333", Regions: []string{"us-east-1"}}, {ID: "222222222222", Regions: []string{"eu-central-1"}}},
				Playbook: setting.Playbook{Source: "builtin"},
			})
			if d := w.classify(t, raw, "third"); d.Disposition != incident.Respond || d.Incident.Episode != 2 || len(d.Plan.Contain) < 2 {
				t.Errorf("once it is looked after: %+v", d)
			}
		})
	}
}

func TestAFindingThatCannotBeReadIsToldOnce(t *testing.T) {
	for _, name := range []string{"guardduty-contradictory", "guardduty-severity-missing", "securityhub-imported"} {
		w := newWorld(t)
		d := w.classify(t, event(t, name), "first")
		if d.Disposition != incident.Respond || len(d.Plan.Contain) != 1 || d.Plan.Contain[0].Action != "notify" {
			t.Errorf("%s: got %+v", name, d)
		}
		if _, err := incident.ParseTarget(d.Plan.Contain[0], d.Incident); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := w.classify(t, event(t, name), "second"); d.Disposition != incident.Duplicate {
			t.Errorf("%s: delivered again it is %+v", name, d)
		}
	}
}

func TestAFindingWithoutResourcesTellsPeople(t *testing.T) {
	w := newWorld(t)
	d := w.classify(t, event(t, "guardduty-no-resources"), "first")
	if d.Disposition != incident.Respond || len(d.Plan.Contain) != 1 || d.Plan.Contain[0].Target != "arn:aws:iam::222222222222:root" || !strings.Contains(d.Reason, "the finding names none") {
		t.Errorf("got %+v", d)
	}
}

type unreadable struct{}

func (unreadable) Read(context.Context) (setting.Installed, error) {
	return setting.Installed{}, fault.New(fault.Unreadable, "the settings /firebreak/accounts are missing in SSM")
}

// In doubt it does nothing, and the error says what to mend. The raw event is kept all the same.
func TestWhatCannotBeReadActsOnNothing(t *testing.T) {
	raw := event(t, "guardduty-crypto-mining")
	id := newWorld(t).classify(t, raw, "first").Incident.ID
	for _, c := range []struct {
		name  string
		wreck func(*world)
		raw   []byte
		fault fault.Name
		want  string
	}{
		{"settings missing", func(w *world) { w.settings = unreadable{} }, raw, fault.Unreadable, "/firebreak/accounts"},
		{"guard missing", func(w *world) { w.store = ledger.NewMemory(); w.handler.store = w.store }, raw, fault.Unreadable, "SETTING#guard"},
		{"empty playbook", func(w *world) {
			w.load = func(context.Context, setting.Playbook) (*playbook.Book, error) {
				return playbook.Parse("p.yaml", nil, playbook.Actions())
			}
		}, raw, fault.Unreadable, "p.yaml:1: the file is empty"},
		{"unknown playbook", func(w *world) {
			in := installed()
			in.Playbook.Source = "bucket"
			w.settings = setting.Fixed(in)
		}, raw, fault.Unreadable, `the playbook "bucket"`},
		{"ledger down", func(w *world) { w.store.Fail = func(string, ledger.Key) error { return errors.New("no route") } }, raw, fault.Unreadable, "no route"},
		{"evidence down", func(w *world) { w.kept.err = errors.New("no bucket") }, raw, fault.Unreadable, "s3://firebreak-evidence/findings/"},
		{"malformed", func(*world) {}, []byte(`{"source":`), fault.BadInput, "the event is not JSON"},
		{"no event", func(*world) {}, nil, fault.BadInput, "the event is not JSON"},
		{"a text", func(*world) {}, []byte(`"x"`), fault.BadInput, "the event is not a JSON object but a string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.wreck(w)
			_, err := w.handle(t.Context(), call(c.raw, "first"))
			if !fault.Is(err, c.fault) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (%s), want %s with %q", err, fault.NameOf(err), c.fault, c.want)
			}
			w.store.Fail = nil
			if m := w.meta(t, id); m.Exists() {
				t.Errorf("there is an incident: %+v", m.Value)
			}
			if kept := w.kept.kept["findings/"+id+"/first.json"]; c.fault == fault.Unreadable && w.kept.err == nil && kept != string(raw) {
				t.Errorf("the evidence holds %.60q", kept)
			}
		})
	}
	if _, err := newWorld(t).handle(t.Context(), input{Event: raw}); !fault.Is(err, fault.BadInput) {
		t.Errorf("without an execution: %v", err)
	}
}

func TestAPlanThatIsCutNeedsAPerson(t *testing.T) {
	w := newWorld(t)
	w.setGuard(t, 2)
	d := w.classify(t, event(t, "guardduty-two-public-buckets"), "first")
	if len(d.Plan.Contain) != 2 || d.Plan.Contain[1].Action != "notify" {
		t.Errorf("plan is %+v", d.Plan)
	}
	if m := w.meta(t, d.Incident.ID).Value; !strings.Contains(m.Needs, "1 are left to people") {
		t.Errorf("needs is %q", m.Needs)
	}
}

func TestSeveralFindingsOfOneEventHaveAnExecutionEach(t *testing.T) {
	w := newWorld(t)
	w.decode = func(raw []byte) ([]finding.Finding, error) {
		var out []finding.Finding
		for _, name := range []string{"guardduty-crypto-mining", "guardduty-public-bucket"} {
			fs, err := finding.Decode(event(t, name))
			if err != nil {
				return nil, err
			}
			out = append(out, fs...)
		}
		return out, nil
	}
	for range 2 {
		d := w.classify(t, []byte(`{"both":true}`), "first")
		if d.Disposition != incident.Record || d.Split != 2 || len(w.runs.started) != 2 {
			t.Errorf("got %+v with %d executions", d, len(w.runs.started))
		}
	}
	if w.kept.kept["findings/split/first.json"] != `{"both":true}` {
		t.Errorf("the evidence holds %v", w.kept.kept)
	}
	for name, in := range w.runs.started {
		fs, err := finding.Decode([]byte(in))
		if err != nil || len(fs) != 1 || !strings.HasPrefix(name, fs[0].IncidentID()+"-s") || len(name) > 80 {
			t.Errorf("execution %s begins with %v (%v)", name, fs, err)
		}
	}
}

func TestResumptions(t *testing.T) {
	const id = "INC-BWJ4TH5BLF5DYQIG"
	plan := newWorld(t).classify(t, event(t, "guardduty-stolen-instance-credentials"), "first").Plan
	isolate, destroy := plan.Contain[1], plan.Eradicate[0]
	none := incident.Plan{Contain: []incident.Step{}, Eradicate: []incident.Step{}}
	for _, c := range []struct {
		name        string
		resume      incident.Resume
		change      func(*ledger.Incident)
		disposition incident.Disposition
		plan        incident.Plan
		owner       string
		reason      string
	}{
		{"the whole plan, in another's place", incident.Resume{From: arnOf("first")}, nil, incident.Respond, plan, "r1", "redrive"},
		{"one step, in another's place", incident.Resume{From: arnOf("first"), Steps: []incident.Step{isolate}}, nil, incident.Respond,
			incident.Plan{Contain: []incident.Step{isolate}, Eradicate: []incident.Step{}}, "r1", "redrive"},
		{"an override, beside the one that goes on", incident.Resume{Steps: []incident.Step{isolate}, Approval: 3}, nil, incident.Respond,
			incident.Plan{Contain: []incident.Step{isolate}, Eradicate: []incident.Step{}}, "first", "redrive"},
		{"what destroys waits for approval again", incident.Resume{From: arnOf("first"), Steps: []incident.Step{destroy}}, nil, incident.Respond,
			incident.Plan{Contain: []incident.Step{}, Eradicate: []incident.Step{destroy}}, "r1", "redrive"},
		{"somebody else took over", incident.Resume{From: arnOf("first")}, func(m *ledger.Incident) { m.Owner = arnOf("other") }, incident.Supersede, none, "other", "has it, not"},
		{"a newer episode", incident.Resume{Steps: []incident.Step{isolate}}, func(m *ledger.Incident) { m.Episode = 2 }, incident.Supersede, none, "first", "episode 2 took the place of episode 1"},
		{"closed meanwhile", incident.Resume{From: arnOf("first")}, func(m *ledger.Incident) { m.Status = incident.Closed }, incident.Supersede, none, "first", "the incident is closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "first")
			w.edit(t, id, func(m *ledger.Incident) {
				m.Status, m.Ending, m.Needs = incident.Open, incident.EndNeedsPerson, "mend the role"
				if c.change != nil {
					c.change(m)
				}
			})
			c.resume.Incident, c.resume.Episode, c.resume.Run, c.resume.Reason = id, 1, 1, "redrive"
			raw := resumeInput(t, c.resume)
			for range 2 { // the second time is a retry
				d := w.classify(t, raw, "r1")
				if d.Disposition != c.disposition || !strings.Contains(d.Reason, c.reason) || d.Incident.ID != id {
					t.Errorf("got %+v", d)
				}
				if diff := cmp.Diff(c.plan, d.Plan); diff != "" {
					t.Error(diff)
				}
				if want := c.resume.Approval; d.Approval != want {
					t.Errorf("approval %d, want %d", d.Approval, want)
				}
			}
			m := w.meta(t, id).Value
			if m.Owner != arnOf(c.owner) {
				t.Errorf("owner is %s", m.Owner)
			}
			if took := c.owner == "r1"; took != (m.Ending == "" && m.Needs == "") {
				t.Errorf("ending %q, needs %q", m.Ending, m.Needs)
			}
			if tl := w.timeline(t, id); !strings.Contains(tl, "resumed: ") {
				t.Errorf("timeline is\n%s", tl)
			}
		})
	}
}

func TestAResumptionThatIsWrongIsRefused(t *testing.T) {
	const id = "INC-BWJ4TH5BLF5DYQIG"
	foreign := incident.Step{Action: "isolate-instance", Target: "arn:aws:ec2:us-east-1:222222222222:instance/i-0fedcba9876543210"}
	for name, c := range map[string]struct {
		raw  string
		want string
	}{
		"no incident":      {`{"resume":{"episode":1,"steps":[],"from":"x"}}`, "names no incident or no episode"},
		"nothing to do":    {`{"resume":{"incident":"` + id + `","episode":1,"steps":[]}}`, "takes over from nobody and names no step"},
		"unknown incident": {`{"resume":{"incident":"INC-AAAAAAAAAAAAAAAA","episode":1,"from":"x"}}`, "there is no incident INC-AAAAAAAAAAAAAAAA"},
		"unknown key":      {`{"resume":{"incident":"` + id + `","episode":1,"form":"x"}}`, `unknown field "form"`},
		"not an object":    {`{"resume":7}`, "the resumption is not what it should be"},
		"a foreign step":   {string(resumeInput(t, incident.Resume{Incident: id, Episode: 1, Steps: []incident.Step{foreign}, From: arnOf("first")})), "is no step of the plan"},
	} {
		w := newWorld(t)
		w.classify(t, event(t, "guardduty-stolen-instance-credentials"), "first")
		_, err := w.handle(t.Context(), call([]byte(c.raw), "r1"))
		if !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v (%s), want BadInput with %q", name, err, fault.NameOf(err), c.want)
		}
		if m := w.meta(t, id).Value; m.Owner != arnOf("first") {
			t.Errorf("%s: the owner is %s", name, m.Owner)
		}
	}
}

// Every event of events/ ends decided or refused; none acts on what its finding does not name.
func TestEveryEventEndsInADecision(t *testing.T) {
	files, err := filepath.Glob("../../events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no events: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		d := newWorld(t).classify(t, event(t, name), "first")
		if !slices.Contains([]incident.Disposition{incident.Respond, incident.Record}, d.Disposition) || d.Reason == "" {
			t.Errorf("%s: %+v", name, d)
		}
		for _, s := range append(d.Plan.Contain, d.Plan.Eradicate...) {
			if _, err := incident.ParseTarget(s, d.Incident); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Whoever the installation trusts is no outsider: such a finding is taken down and takes no incident; of several only the outsiders are
// taken out; and when the trust ends the next copy is acted on.
func TestTrustedAccess(t *testing.T) {
	event := func(principal, condition string, public bool) []byte {
		return fmt.Appendf(nil, `{"version":"0","id":"e1","detail-type":"Access Analyzer Finding","source":"aws.access-analyzer","account":"222222222222","time":"2026-01-15T10:15:02Z","region":"us-east-1","resources":[],"detail":{"id":"aa1","status":"ACTIVE","resourceType":"AWS::SQS::Queue","resource":"arn:aws:sqs:us-east-1:222222222222:clinic-intake","createdAt":"2026-01-15T10:14:00Z","analyzedAt":"2026-01-15T10:14:00Z","updatedAt":"2026-01-15T10:14:00Z","accountId":"222222222222","region":"us-east-1","principal":%s,"action":["sqs:SendMessage"],"condition":%s,"isDeleted":false,"isPublic":%v}}`, principal, condition, public)
	}
	trusting := installed()
	trusting.Trusted = setting.Trusted{Accounts: []string{"333333333333"}, Organization: "o-abcdefghij"}
	for name, c := range map[string]struct {
		event []byte
		set   setting.Installed
		want  incident.Disposition
		whom  string
	}{
		"nobody trusted":           {event(`{"AWS":"333333333333"}`, `{}`, false), installed(), incident.Respond, "333333333333"},
		"a trusted account":        {event(`{"AWS":"arn:aws:iam::333333333333:role/reader"}`, `{}`, false), trusting, incident.Record, ""},
		"our own account":          {event(`{"AWS":"222222222222"}`, `{}`, false), installed(), incident.Record, ""},
		"another one":              {event(`{"AWS":"444455556666"}`, `{}`, false), trusting, incident.Respond, "444455556666"},
		"everybody":                {event(`{"AWS":"*"}`, `{}`, true), trusting, incident.Respond, "*"},
		"of the organization":      {event(`{"AWS":"*"}`, `{"aws:PrincipalOrgID":"o-abcdefghij"}`, false), trusting, incident.Record, ""},
		"of it, or without one":    {event(`{"AWS":"*"}`, `{"aws:PrincipalOrgID":"o-abcdefghij"}`, true), trusting, incident.Respond, "*"},
		"of another organization":  {event(`{"AWS":"*"}`, `{"aws:PrincipalOrgID":"o-klmnopqrst"}`, false), trusting, incident.Respond, "*"},
		"by another condition":     {event(`{"AWS":"*"}`, `{"aws:SecureTransport":"o-abcdefghij"}`, true), trusting, incident.Respond, "*"},
		"an account and everybody": {event(`{"AWS":"333333333333","Federated":"accounts.google.com"}`, `{}`, false), trusting, incident.Respond, "Federated:accounts.google.com"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.settings = setting.Fixed(c.set)
			d := w.classify(t, c.event, "one")
			if d.Disposition != c.want {
				t.Fatalf("%s (%s), want %s", d.Disposition, d.Reason, c.want)
			}
			if c.want == incident.Record {
				if !strings.Contains(d.Reason, "whoever has access is trusted") {
					t.Errorf("reason %q", d.Reason)
				}
				w.settings = setting.Fixed(setting.Installed{Accounts: []setting.Account{{ID: "222222222222", Regions: []string{"us-east-1"}}}, Playbook: setting.Playbook{Source: "builtin"}})
				if again := w.classify(t, c.event, "two"); c.set.Trusted.Organization != "" && again.Disposition != incident.Respond {
					t.Errorf("once nobody is trusted any more: %s (%s)", again.Disposition, again.Reason)
				}
				return
			}
			if got := d.Plan.Contain[0]; got.Action != "remove-external-access" || got.With["principal"] != c.whom {
				t.Errorf("plan %+v", d.Plan)
			}
		})
	}
}

package main

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/google/go-cmp/cmp"
)

const (
	audit = "arn:aws:cloudtrail:us-east-1:222222222222:trail/audit"
	first = "INC-VEPYW46KHAZJUHQC"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fake is an account with one trail, stopped at three.
type fake struct {
	actiontest.Wire
	trail     *types.Trail
	shadows   []types.Trail
	logging   bool
	stopped   time.Time
	started   time.Time
	delivery  string
	selectors cloudtrail.GetEventSelectorsOutput
	tags      map[string]string
}

func newFake() *fake {
	return &fake{
		trail: &types.Trail{
			Name: aws.String("audit"), TrailARN: aws.String(audit), HomeRegion: aws.String("us-east-1"), S3BucketName: aws.String("clinic-audit"),
			IsMultiRegionTrail: aws.Bool(true), IncludeGlobalServiceEvents: aws.Bool(true), LogFileValidationEnabled: aws.Bool(true),
		},
		stopped:   time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC),
		selectors: cloudtrail.GetEventSelectorsOutput{EventSelectors: []types.EventSelector{{IncludeManagementEvents: aws.Bool(true), ReadWriteType: types.ReadWriteTypeAll}}},
	}
}

func (f *fake) look(call string) error {
	if err := f.Read(call, "cloudtrail:"+call, audit); err != nil {
		return err
	}
	if f.trail == nil {
		return &types.TrailNotFoundException{}
	}
	return nil
}

func (f *fake) GetTrail(context.Context, *cloudtrail.GetTrailInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetTrailOutput, error) {
	return &cloudtrail.GetTrailOutput{Trail: f.trail}, f.look("GetTrail")
}

func (f *fake) GetTrailStatus(context.Context, *cloudtrail.GetTrailStatusInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetTrailStatusOutput, error) {
	out := &cloudtrail.GetTrailStatusOutput{IsLogging: &f.logging, LatestDeliveryError: &f.delivery}
	if !f.stopped.IsZero() {
		out.StopLoggingTime = &f.stopped
	}
	if !f.started.IsZero() {
		out.StartLoggingTime = &f.started
	}
	return out, f.look("GetTrailStatus")
}

func (f *fake) GetEventSelectors(context.Context, *cloudtrail.GetEventSelectorsInput, ...func(*cloudtrail.Options)) (*cloudtrail.GetEventSelectorsOutput, error) {
	out := f.selectors
	return &out, f.look("GetEventSelectors")
}

func (f *fake) ListTags(context.Context, *cloudtrail.ListTagsInput, ...func(*cloudtrail.Options)) (*cloudtrail.ListTagsOutput, error) {
	out := &cloudtrail.ListTagsOutput{ResourceTagList: []types.ResourceTag{{ResourceId: aws.String(audit)}}}
	for k, v := range f.tags {
		out.ResourceTagList[0].TagsList = append(out.ResourceTagList[0].TagsList, types.Tag{Key: &k, Value: &v})
	}
	return out, f.look("ListTags")
}

func (f *fake) DescribeTrails(_ context.Context, in *cloudtrail.DescribeTrailsInput, _ ...func(*cloudtrail.Options)) (*cloudtrail.DescribeTrailsOutput, error) {
	return &cloudtrail.DescribeTrailsOutput{TrailList: f.shadows}, f.Read("DescribeTrails", "cloudtrail:DescribeTrails", "*")
}

func (f *fake) StartLogging(context.Context, *cloudtrail.StartLoggingInput, ...func(*cloudtrail.Options)) (*cloudtrail.StartLoggingOutput, error) {
	return &cloudtrail.StartLoggingOutput{}, f.Change("StartLogging", "cloudtrail:StartLogging", audit, func() error {
		f.logging, f.started = true, time.Date(2026, 3, 2, 3, 12, 6, 0, time.UTC)
		return nil
	})
}

func newWorld(t *testing.T, f *fake) *actiontest.World {
	r := restart{
		reads: func(_ context.Context, c action.Call) (reads, error) {
			return f, actiontest.Session(&f.Looking, looking(c))
		},
		changes: func(_ context.Context, c action.Call) (changes, error) {
			return f, actiontest.Session(&f.Changing, changing(c))
		},
		seen: &sync.Map{},
	}
	w := actiontest.New(t, "restart-trail", late{&r})
	r.store = w.Store
	return w
}

// late is an action whose ledger is known after it was made.
type late struct{ *restart }

func TestOutcomes(t *testing.T) {
	organization := types.Trail{
		Name: aws.String("audit"), TrailARN: aws.String("arn:aws:cloudtrail:eu-west-1:333333333333:trail/audit"), HomeRegion: aws.String("eu-west-1"), IsOrganizationTrail: aws.Bool(true),
	}
	for name, c := range map[string]struct {
		mode    incident.Mode
		target  string
		trail   func(*fake)
		guard   func(*setting.Guard)
		want    incident.Outcome
		reason  string
		fault   fault.Name
		golden  string
		logging bool
	}{
		"happy":   {want: incident.Applied, golden: "applied", logging: true},
		"plan":    {mode: incident.Look, want: incident.Planned, golden: "planned"},
		"already": {trail: func(f *fake) { f.logging, f.stopped = true, time.Time{} }, want: incident.Already, golden: "already", logging: true},
		"deleted is not gone": {
			trail: func(f *fake) { f.trail = nil }, want: incident.Refused, reason: "was deleted", golden: "refused",
		},
		"the organization's": {
			trail: func(f *fake) { f.trail, f.shadows = nil, []types.Trail{organization} }, want: incident.Refused,
			reason: "aws cloudtrail start-logging --name arn:aws:cloudtrail:eu-west-1:333333333333:trail/audit --region eu-west-1",
		},
		"the organization's, found by its own name": {
			trail: func(f *fake) { f.trail = &organization }, want: incident.Refused, reason: "account 333333333333 has it",
		},
		"the organization's, named by its own ARN": {
			target: "arn:aws:cloudtrail:eu-west-1:333333333333:trail/audit", want: incident.Refused, golden: "elsewhere",
			reason: "aws cloudtrail start-logging --name arn:aws:cloudtrail:eu-west-1:333333333333:trail/audit --region eu-west-1 there",
		},
		"somebody else's event store": {target: "arn:aws:cloudtrail:eu-west-1:333333333333:eventdatastore/1", fault: fault.BadInput},
		"the organization's, ours":    {trail: func(f *fake) { f.trail.IsOrganizationTrail = aws.Bool(true) }, want: incident.Applied, logging: true},
		"denied":                      {trail: func(f *fake) { f.Denied = map[string]bool{"StartLogging": true} }, fault: fault.Denied},
		"denied to look":              {trail: func(f *fake) { f.Denied = map[string]bool{"GetTrail": true} }, fault: fault.Denied},
		"denied to see selectors":     {trail: func(f *fake) { f.Denied = map[string]bool{"GetEventSelectors": true} }, fault: fault.Denied},
		"no trail":                    {target: "arn:aws:cloudtrail:us-east-1:222222222222:eventdatastore/1", fault: fault.BadInput},
		"protected":                   {guard: func(g *setting.Guard) { g.Protected = []string{audit} }, want: incident.Refused},
		"protected by tag":            {trail: func(f *fake) { f.tags = map[string]string{"firebreak:protected": "true"} }, want: incident.Refused, reason: "whoever can tag it could have set it"},
		"denied to see tags":          {trail: func(f *fake) { f.Denied = map[string]bool{"ListTags": true} }, fault: fault.Denied},
		"mode plan":                   {guard: func(g *setting.Guard) { g.Mode = setting.Plan }, want: incident.Planned},
		"stopped again once": {
			trail: func(f *fake) { f.After = func(string) { f.logging = len(f.Changed) > 1 } }, want: incident.Applied, logging: true,
		},
		"stopped again for ever": {trail: func(f *fake) { f.After = func(string) { f.logging = false } }, fault: fault.NotVerified},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if c.trail != nil {
				c.trail(f)
			}
			w := newWorld(t, f)
			w.Guard(c.guard)
			target := c.target
			if target == "" {
				target = audit
			}
			w.Expect(w.Request(c.mode, first, target, nil), c.fault, c.want, c.reason, c.golden)
			if f.logging != c.logging {
				t.Errorf("logging %v, want %v", f.logging, c.logging)
			}
			if c.want != incident.Applied && c.fault == "" && len(f.Changed) > 0 {
				t.Errorf("%s, but changed %v", c.want, f.Changed)
			}
		})
	}
}

func TestWhatTheTrailLeavesOutIsSaid(t *testing.T) {
	management := func(fields ...types.AdvancedFieldSelector) types.AdvancedEventSelector {
		return types.AdvancedEventSelector{FieldSelectors: append(fields, types.AdvancedFieldSelector{Field: aws.String("eventCategory"), Equals: []string{"Management"}})}
	}
	field := func(name string, equals ...string) types.AdvancedFieldSelector {
		return types.AdvancedFieldSelector{Field: &name, Equals: equals}
	}
	for name, c := range map[string]struct {
		trail func(*fake)
		want  string
	}{
		"no selectors":     {func(f *fake) { f.selectors.EventSelectors = nil }, "it records no management events at all: its event selectors leave them out"},
		"data events only": {func(f *fake) { f.selectors.EventSelectors[0].IncludeManagementEvents = aws.Bool(false) }, "it records no management events at all: its event selectors leave them out"},
		"reads only":       {func(f *fake) { f.selectors.EventSelectors[0].ReadWriteType = types.ReadWriteTypeReadOnly }, "it records no management events that change something: its event selectors leave them out"},
		"writes only":      {func(f *fake) { f.selectors.EventSelectors[0].ReadWriteType = types.ReadWriteTypeWriteOnly }, "it leaves out management events that only read"},
		"a service": {func(f *fake) {
			f.selectors.EventSelectors[0].ExcludeManagementEventSources = []string{"kms.amazonaws.com"}
		}, "it leaves out management events of kms.amazonaws.com"},
		"one region":        {func(f *fake) { f.trail.IsMultiRegionTrail = nil }, "it records one region only"},
		"no global service": {func(f *fake) { f.trail.IncludeGlobalServiceEvents = nil }, "it leaves out global services such as IAM and STS"},
		"no validation":     {func(f *fake) { f.trail.LogFileValidationEnabled = nil }, "its log files are not validated: a changed one cannot be told from a true one"},
		"no delivery":       {func(f *fake) { f.delivery = "AccessDenied" }, "its latest delivery to bucket clinic-audit failed (AccessDenied): it may log and nobody can read it"},
		"silence":           {func(*fake) {}, "it was silent from 2026-03-02T03:00:00Z until 2026-03-02T03:12:06Z; management events of that time are in the account's event history for 90 days"},
		"advanced, data": {func(f *fake) {
			f.selectors = cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{{FieldSelectors: []types.AdvancedFieldSelector{field("eventCategory", "Data")}}}}
		}, "it records no management events at all: its event selectors leave them out"},
		"advanced, reads": {func(f *fake) {
			f.selectors = cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{management(field("readOnly", "true"))}}
		}, "it records no management events that change something: its event selectors leave them out"},
		"advanced, narrowed": {func(f *fake) {
			f.selectors = cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{management(field("userIdentity.arn", "x"))}}
		}, "it leaves out management events of what its selector for userIdentity.arn does not take"},
		"advanced, a service": {func(f *fake) {
			f.selectors = cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{management(types.AdvancedFieldSelector{
				Field: aws.String("eventSource"), NotEquals: []string{"rdsdata.amazonaws.com", "kms.amazonaws.com"},
			})}}
		}, "it leaves out management events of kms.amazonaws.com, rdsdata.amazonaws.com"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.trail(f)
			w := newWorld(t, f)
			if got := w.Must(w.Request(incident.Apply, first, audit, nil)); !slices.Contains(got.Changes, c.want) {
				t.Errorf("changes %q lack %q", got.Changes, c.want)
			}
		})
	}
}

func TestSelectorsThatThePlaybookExpects(t *testing.T) {
	f := newFake()
	same := digest(&f.selectors)
	w := newWorld(t, f)
	warned := func(got incident.Result) bool {
		return slices.ContainsFunc(got.Changes, func(l string) bool { return strings.Contains(l, "not the ones that the playbook expects") })
	}
	if got := w.Must(w.Request(incident.Apply, first, audit, map[string]string{"selectors": same})); warned(got) {
		t.Errorf("equal selectors: %q", got.Changes)
	}
	f.selectors.EventSelectors[0].DataResources = []types.DataResource{{Type: aws.String("AWS::S3::Object")}}
	if got := w.Must(w.Request(incident.Apply, "INC-BWJ4TH5BLF5DYQIG", audit, map[string]string{"selectors": same})); !warned(got) {
		t.Errorf("other selectors: %q", got.Changes)
	}
}

// What the trail records is compared with what it recorded when it was last seen to log.
func TestSelectorsThatWereChangedSince(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	warned := func(got incident.Result) bool {
		return slices.ContainsFunc(got.Changes, func(l string) bool { return strings.Contains(l, "last saw it log") })
	}
	if got := w.Must(w.Request(incident.Apply, first, audit, nil)); got.Outcome != incident.Applied || warned(got) {
		t.Errorf("the first time: %s %q", got.Outcome, got.Changes)
	}
	f.logging = false
	if got := w.Must(w.Request(incident.Apply, "INC-BWJ4TH5BLF5DYQIG", audit, nil)); got.Outcome != incident.Applied || warned(got) {
		t.Errorf("equal selectors: %s %q", got.Outcome, got.Changes)
	}
	f.logging, f.selectors.EventSelectors[0].ReadWriteType = false, types.ReadWriteTypeReadOnly
	if got := w.Must(w.Request(incident.Apply, "INC-VEPYW46KHAZJUHQD", audit, nil)); got.Outcome != incident.Applied || !warned(got) {
		t.Errorf("other selectors: %s %q", got.Outcome, got.Changes)
	}
}

func TestThereIsNoUndo(t *testing.T) {
	f := newFake()
	w := newWorld(t, f)
	w.Must(w.Request(incident.Apply, first, audit, nil))
	req := w.Request(incident.Undo, first, audit, nil)
	req.Force = true
	if got := w.Must(req); got.Outcome != incident.Refused || !f.logging || !strings.Contains(got.Reason, "silence") {
		t.Errorf("undo is %s (%s), logging %v", got.Outcome, got.Reason, f.logging)
	}
}

func TestKilledAnywhere(t *testing.T) {
	points := actiontest.KilledAnywhere(t, func() actiontest.Trial {
		f := newFake()
		return actiontest.Trial{World: newWorld(t, f), Wire: &f.Wire, Action: "restart-trail", Target: audit, Stands: func() any { return f.logging }, NoUndo: true}
	})
	if points < 15 {
		t.Errorf("only %d points tried", points)
	}
}

// Any trail: afterwards it logs, and nothing else of it is touched.
func TestAnyTrailLogs(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	for range 1000 {
		f := newFake()
		f.logging = random.IntN(3) == 0
		f.trail.IsMultiRegionTrail, f.trail.IncludeGlobalServiceEvents = aws.Bool(random.IntN(2) == 0), aws.Bool(random.IntN(2) == 0)
		f.selectors.EventSelectors[0].IncludeManagementEvents = aws.Bool(random.IntN(2) == 0)
		f.selectors.EventSelectors[0].ReadWriteType = []types.ReadWriteType{types.ReadWriteTypeAll, types.ReadWriteTypeReadOnly, types.ReadWriteTypeWriteOnly}[random.IntN(3)]
		trail, selectors := *f.trail, digest(&f.selectors)
		w := newWorld(t, f)
		got := w.Must(w.Request(incident.Apply, first, audit, nil))
		if !got.Outcome.Contains() || !f.logging || len(f.Changed) > 1 {
			t.Fatalf("%s, logging %v, changed %v", got.Outcome, f.logging, f.Changed)
		}
		if *f.trail.IsMultiRegionTrail != *trail.IsMultiRegionTrail || digest(&f.selectors) != selectors {
			t.Fatal("something else changed")
		}
	}
}

func TestDigestKnowsNoOrder(t *testing.T) {
	selector := func(fields ...string) types.AdvancedEventSelector {
		var out types.AdvancedEventSelector
		for _, f := range fields {
			out.FieldSelectors = append(out.FieldSelectors, types.AdvancedFieldSelector{Field: &f, Equals: []string{f}})
		}
		return out
	}
	one := digest(&cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{selector("a", "b"), selector("c")}})
	two := digest(&cloudtrail.GetEventSelectorsOutput{AdvancedEventSelectors: []types.AdvancedEventSelector{selector("c"), selector("b", "a")}})
	if diff := cmp.Diff(one, two); diff != "" {
		t.Error(diff)
	}
}

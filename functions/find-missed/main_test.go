package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	aatypes "github.com/aws/aws-sdk-go-v2/service/accessanalyzer/types"
	configtypes "github.com/aws/aws-sdk-go-v2/service/configservice/types"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	shtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	m.Run()
}

const at = clinic + " " + home

func lately() time.Time { return noon.Add(-30 * time.Minute) }

// ofAll has one finding at each source that no event brought.
func ofAll(t *testing.T) *world {
	w := newWorld(t, clinic)
	w.threats[at] = []gdtypes.Finding{mining(t, clinic, 1, lately())}
	f := imported(t, "securityhub-custom-action")
	f.UpdatedAt = aws.String(lately().Format(time.RFC3339))
	w.findings[at] = []shtypes.AwsSecurityFinding{f}
	w.rules[at] = map[string][]configtypes.EvaluationResult{"s3-bucket-public-read-prohibited": {}}
	shared := lately()
	w.shared[at] = []aatypes.FindingSummaryV2{{
		Id: aws.String("a1b2"), Status: aatypes.FindingStatusActive, ResourceType: aatypes.ResourceTypeAwsSqsQueue, Resource: aws.String("arn:aws:sqs:us-east-1:222222222222:orders"),
		ResourceOwnerAccount: aws.String(clinic), CreatedAt: &shared, AnalyzedAt: &shared, UpdatedAt: &shared, FindingType: aatypes.FindingTypeExternalAccess,
	}}
	w.access["a1b2"] = aatypes.ExternalAccessDetails{Principal: map[string]string{"AWS": "999999999999"}, IsPublic: aws.Bool(false)}
	w.run(0) // Config tells states: the first reading remembers them
	w.rules[at]["s3-bucket-public-read-prohibited"] = []configtypes.EvaluationResult{evaluation("AWS::S3::Bucket", "clinic-images", noon.Add(30*time.Minute))}
	return w
}

func TestWhatNeverArrivedIsStartedOnce(t *testing.T) {
	w := ofAll(t)
	r := w.run(time.Hour)
	if r.Sources[config].Missing != 1 {
		t.Errorf("Config: %+v", r.Sources[config])
	}
	for range 3 {
		for source, c := range w.run(time.Hour).Sources {
			if c.Missing+c.Started+c.Failed+c.Unread != 0 {
				t.Errorf("%s finds it missing again: %+v", source, c)
			}
		}
	}
	products := map[string]string{}
	for name, input := range w.started {
		list, err := finding.Decode([]byte(input))
		if err != nil || len(list) != 1 {
			t.Fatalf("%s starts with what cannot be read: %v", name, err)
		}
		f := list[0]
		if !strings.HasPrefix(name, f.IncidentID()+"-m") || f.Doubt != "" || f.Idle() != "" {
			t.Errorf("%s starts with %s %s: %s%s", name, f.Product, f.Type, f.Doubt, f.Idle())
		}
		products[f.Product] = f.Type
		if f.Product == finding.AccessAnalyzer && !slices.Equal(f.External, []string{"999999999999"}) {
			t.Errorf("who has access is %v", f.External)
		}
	}
	want := map[string]string{
		finding.GuardDuty: "CryptoCurrency:EC2/BitcoinTool.B!DNS", finding.Config: "s3-bucket-public-read-prohibited", finding.AccessAnalyzer: "ExternalAccess",
		finding.SecurityHub: products[finding.SecurityHub],
	}
	if diff := cmp.Diff(want, products); diff != "" || products[finding.SecurityHub] == "" {
		t.Errorf("what was started (-want +got):\n%s", diff)
	}
}

// A finding at its source, written as an event, says the same as the event of its service, to the incident and every target.
func TestAFindingOfTheAPIIsThatOfTheEvent(t *testing.T) {
	files, _ := filepath.Glob("../../events/guardduty-*.json")
	compared := 0
	same := func(name string, raw, mine []byte) {
		want, err := finding.Decode(raw)
		got, mineErr := finding.Decode(mine)
		if (err == nil) != (mineErr == nil) {
			t.Errorf("%s: the event says %v, the API %v", name, err, mineErr)
		}
		if err != nil || mineErr != nil {
			return
		}
		compared++
		a, b := want[0], got[0]
		for what, pair := range map[string][2]any{
			"incident": {a.IncidentID(), b.IncidentID()}, "type": {a.Type, b.Type}, "band": {a.Band, b.Band}, "idle": {a.Idle(), b.Idle()}, "doubt": {a.Doubt, b.Doubt}, "principal": {a.Principal, b.Principal},
			"resources": {a.Resources, b.Resources}, "about": {a.About, b.About}, "source": {a.Source, b.Source}, "external": {a.External, b.External}, "last seen": {a.LastSeen, b.LastSeen}, "updated": {a.Updated, b.Updated},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%s: %s (-event +API):\n%s", name, what, diff)
			}
		}
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		// What no API answers: no envelope, text for a number, two things that exclude each other.
		if slices.Contains([]string{"guardduty-api", "guardduty-attack-sequence-bare", "guardduty-severity-missing", "guardduty-contradictory"}, name) {
			continue
		}
		raw, _ := sample(t, name)
		f := threat(t, name)
		mine, err := envelope(place{Account: aws.ToString(f.AccountId), Region: home}, "aws.guardduty", "GuardDuty Finding", nil, noon, f)
		if err != nil {
			t.Fatal(err)
		}
		same(name, raw, mine)
	}
	for _, name := range []string{"securityhub-custom-action", "securityhub-guardduty-asff", "securityhub-misused-user-key-asff", "securityhub-suppressed", "securityhub-imported-by-anybody"} {
		raw, _ := sample(t, name)
		list, err := finding.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		f := imported(t, name)
		mine, err := envelope(place{Account: aws.ToString(f.AwsAccountId), Region: home}, "aws.securityhub", "Security Hub Findings - Imported", nil, noon, map[string]any{"findings": []any{f}})
		if err != nil {
			t.Fatal(err)
		}
		same(name, list[0].Raw, mine)
	}
	if compared < 20 {
		t.Errorf("only %d were compared", compared)
	}
}

func TestWhatHasArrivedIsNotStarted(t *testing.T) {
	w := newWorld(t, clinic)
	arrived, aside := mining(t, clinic, 1, lately()), mining(t, clinic, 2, lately())
	w.threats[at] = []gdtypes.Finding{arrived, aside}
	for n, f := range w.threats[at] {
		id := incident.ID(finding.GuardDuty, clinic, home, *f.Id)
		if n == 0 {
			w.arrives(finding.Finding{Product: finding.GuardDuty, Account: clinic, Region: home, NativeID: *f.Id, Band: incident.Critical})
			continue
		}
		w.setAside(id, lately().Add(time.Minute))
	}
	if c := w.run(0).Sources[guardDuty]; c.Known != 2 || c.Missing != 0 || len(w.started) != 0 {
		t.Errorf("%+v, started %v", c, w.order)
	}
}

// setAside records a copy that may not act, as classify-finding does.
func (w *world) setAside(id string, at time.Time) {
	w.t.Helper()
	it := ledger.Item[aside]{Key: ledger.Key{PK: "INC#" + id, SK: "COPY#some-execution"}, Value: aside{at}}
	if err := ledger.Save(w.t.Context(), w.store, &it); err != nil {
		w.t.Fatal(err)
	}
}

// A finding that was archived, resolved or suppressed when it came, and stands since: the copy that came says nothing of that.
func TestWhatWasSetAsideAndStandsSinceIsMissing(t *testing.T) {
	w := newWorld(t, clinic)
	f := mining(t, clinic, 1, lately())
	w.threats[at] = []gdtypes.Finding{f}
	w.setAside(incident.ID(finding.GuardDuty, clinic, home, *f.Id), lately().Add(-time.Hour))
	if c := w.run(0).Sources[guardDuty]; c.Missing != 1 || c.Started != 1 {
		t.Errorf("%+v, started %v", c, w.order)
	}
}

// What may not act starts nothing, and is counted.
func TestWhatIsNeverActedOnIsCounted(t *testing.T) {
	w := newWorld(t, clinic)
	sampled := threat(t, "guardduty-sample")
	sampled.AccountId, sampled.UpdatedAt = aws.String(clinic), aws.String(lately().Format(time.RFC3339))
	sampled.Service.AdditionalInfo = &gdtypes.ServiceAdditionalInfo{Type: aws.String("default"), Value: aws.String(`{"sample":true}`)}
	w.threats[at] = []gdtypes.Finding{sampled, mining(t, "444444444444", 1, lately()), mining(t, clinic, 2, noon.Add(-time.Minute))}
	w.findings[at] = []shtypes.AwsSecurityFinding{imported(t, "securityhub-suppressed")}
	r := w.run(0)
	want := Count{Read: 3, Idle: 1, Foreign: 1, Young: 1}
	if diff := cmp.Diff(want, *r.Sources[guardDuty]); diff != "" || r.Sources[securityHub].Idle != 1 || len(w.started) != 0 {
		t.Errorf("%s; Security Hub %+v; started %v", diff, r.Sources[securityHub], w.order)
	}
	if c := w.run(time.Hour).Sources[guardDuty]; c.Missing != 1 {
		t.Errorf("the young one, an hour later: %+v", c)
	}
}

// A closed incident whose finding goes on, and one that has become worse, are started; that is nothing that was missed.
func TestARiseThatNobodyToldIsStarted(t *testing.T) {
	w := newWorld(t, clinic)
	f := mining(t, clinic, 1, lately())
	f.Severity = aws.Float64(9.1)
	w.threats[at] = []gdtypes.Finding{f}
	w.arrives(finding.Finding{Product: finding.GuardDuty, Account: clinic, Region: home, NativeID: *f.Id, Band: incident.Medium})
	if c := w.run(0).Sources[guardDuty]; c.Renewed != 1 || c.Started != 1 || c.Missing != 0 {
		t.Errorf("%+v", c)
	}
	if c := w.run(time.Hour).Sources[guardDuty]; c.Started != 0 || c.Known != 1 {
		t.Errorf("again: %+v", c)
	}
}

func TestThreePagesWithAThrottleInTheMiddle(t *testing.T) {
	for _, often := range []int{1, 3, 100} {
		w := newWorld(t, clinic, pharmacy)
		for n := range 130 {
			w.threats[at] = append(w.threats[at], mining(t, clinic, n, lately()))
		}
		w.threats[pharmacy+" "+home] = []gdtypes.Finding{mining(t, pharmacy, 1, lately())}
		left := often
		w.fail = func(call string) error {
			if call == "guardduty.ListFindings "+at+" 50" && left > 0 {
				left--
				return throttle()
			}
			return nil
		}
		c := w.run(0).Sources[guardDuty]
		if often < attempts {
			if c.Started != 131 || c.Unread != 0 {
				t.Errorf("%d throttles: %+v", often, c)
			}
		} else {
			// Everything else was read, and the next run goes on where this one stood.
			if c.Started != 51 || c.Unread != 1 || len(w.waited) != attempts-1 {
				t.Errorf("%d throttles: %+v, waited %v", often, c, w.waited)
			}
			left = 0
			if c := w.run(15 * time.Minute).Sources[guardDuty]; c.Started != 80 || c.Known != 0 || c.Read != 80 {
				t.Errorf("the next run: %+v", c)
			}
		}
		for id, n := range w.incidents() {
			if n != 1 {
				t.Errorf("%s was started %d times", id, n)
			}
		}
		if !slices.IsSorted(w.waited) {
			t.Errorf("it waits %v", w.waited)
		}
	}
}

// A run that dies at any call is carried on by the next: nothing is lost and nothing started twice.
func TestACrashAtEachCall(t *testing.T) {
	build := func() *world {
		w := newWorld(t, clinic)
		for n := range 60 {
			w.threats[at] = append(w.threats[at], mining(t, clinic, n, lately()))
		}
		w.findings[at], w.shared[at] = nil, nil
		for n := range 5 {
			f := imported(t, "securityhub-custom-action")
			f.Id, f.UpdatedAt = aws.String(fmt.Sprint(*f.Id, n)), aws.String(lately().Format(time.RFC3339))
			w.findings[at] = append(w.findings[at], f)
		}
		w.rules[at] = map[string][]configtypes.EvaluationResult{}
		for n := range 3 {
			w.rules[at][fmt.Sprint("rule-", n)] = nil
		}
		w.run(-2 * time.Hour)
		w.clock = noon
		clear(w.started)
		for n := range 3 {
			w.rules[at][fmt.Sprint("rule-", n)] = []configtypes.EvaluationResult{evaluation("AWS::S3::Bucket", fmt.Sprint("bucket-", n), lately())}
		}
		// Run the threats anew: the first reading was two hours ago and has started them.
		for n := range w.threats[at] {
			w.threats[at][n] = mining(t, clinic, 1000+n, lately())
		}
		w.calls = 0
		return w
	}
	whole := build()
	whole.run(0)
	total, want := whole.calls, len(whole.incidents())
	if want != 68 {
		t.Fatalf("%d incidents without a crash", want)
	}
	step := 1
	if testing.Short() {
		step = 13
	}
	for n := 1; n <= total; n += step {
		w := build()
		dead := errors.New("killed")
		w.fail = func(string) error {
			if w.calls >= n {
				return dead
			}
			return nil
		}
		_, _ = w.handle(context.Background(), request{})
		w.fail = nil
		w.clock = noon
		for range 2 {
			w.run(15 * time.Minute)
		}
		got := w.incidents()
		if len(got) != want {
			t.Errorf("killed at call %d of %d: %d incidents, want %d", n, total, len(got), want)
		}
		for id, times := range got {
			if times != 1 {
				t.Errorf("killed at call %d: %s was started %d times", n, id, times)
			}
		}
	}
	t.Logf("killed at each of %d calls, in steps of %d", total, step)
}

// noCopies is a ledger in which nothing was set aside: Memory looks through all that it has for that, the table does not.
type noCopies struct{ *ledger.Memory }

func (n noCopies) List(ctx context.Context, pk, prefix string) ([]ledger.Record, error) {
	if prefix == "COPY#" {
		return nil, n.Fail("list", ledger.Key{PK: pk, SK: prefix})
	}
	return n.Memory.List(ctx, pk, prefix)
}

// Ten thousand findings take several runs, each within its time; an hour later they cost reads only.
func TestTenThousandFindings(t *testing.T) {
	w := newWorld(t, clinic)
	all := 10_000
	if testing.Short() {
		all = 1_000
	}
	for n := range all {
		w.threats[at] = append(w.threats[at], mining(t, clinic, n, noon.Add(-time.Hour)))
	}
	w.missed.store = noCopies{w.store}
	w.slow = 5 * time.Millisecond
	runs := 0
	for len(w.started) < all && runs < 20 {
		began := w.clock
		w.run(0)
		runs++
		if took := w.clock.Sub(began); took > 100*time.Second {
			t.Errorf("run %d took %s", runs, took)
		}
		w.clock = began.Add(15 * time.Minute)
	}
	if len(w.started) != all {
		t.Fatalf("%d of %d were started in %d runs", len(w.started), all, runs)
	}
	for id, n := range w.incidents() {
		if n != 1 {
			t.Fatalf("%s was started %d times", id, n)
		}
	}
	w.slow, w.calls = 0, 0
	c := w.run(time.Hour).Sources[guardDuty]
	if c.Started != 0 || c.Known != all {
		t.Errorf("an hour later: %+v", c)
	}
	t.Logf("%d runs; an hour later %d calls for %d findings", runs, w.calls, all)
	if w.calls > all*11/10+100 {
		t.Errorf("%d calls for %d findings that are known", w.calls, all)
	}
	w.calls = 0
	if c := w.run(time.Minute).Sources[guardDuty]; c.Read != 0 || w.calls > 40 { // 20 of them the index of open incidents
		t.Errorf("a second run in the hour reads %d with %d calls", c.Read, w.calls)
	}
}

// One account that cannot be read stops no other, and is told to people once a day, when it was not for the moment only.
func TestAnAccountThatCannotBeRead(t *testing.T) {
	w := newWorld(t, pharmacy, clinic)
	w.threats[at] = []gdtypes.Finding{mining(t, clinic, 1, lately())}
	w.threats[pharmacy+" "+home] = []gdtypes.Finding{mining(t, pharmacy, 2, lately())}
	w.fail = func(call string) error {
		if call == "sts.AssumeRole "+pharmacy+" "+home {
			return denied()
		}
		return nil
	}
	r := w.run(0)
	if r.Sources[guardDuty].Started != 1 || r.Sources[guardDuty].Unread != 1 || len(w.notices) != 0 {
		t.Errorf("%+v, told %v", r.Sources[guardDuty], w.notices)
	}
	for range 4 {
		w.run(15 * time.Minute)
	}
	if len(w.notices) != 1 || !strings.Contains(w.notices[0], pharmacy) || !strings.Contains(w.notices[0], "AssumeRole") || strings.Contains(w.notices[0], clinic) {
		t.Errorf("told %q", w.notices)
	}
	if w.run(24 * time.Hour); len(w.notices) != 2 {
		t.Errorf("a day later people were told %d times", len(w.notices))
	}
	// When it can be read again, it is read from where it could not: not only the last six hours.
	w.fail = nil
	if r := w.run(time.Hour); r.Sources[guardDuty].Started != 1 {
		t.Errorf("read again: %+v", r.Sources[guardDuty])
	}
}

// Without settings or without the ledger nothing can be done, and the function says so.
func TestWhatCannotBeDoneAtAll(t *testing.T) {
	for _, what := range []string{"settings", "ledger.list MISSED"} {
		w := newWorld(t, clinic)
		w.fail = func(call string) error {
			if call == what {
				return denied()
			}
			return nil
		}
		if _, err := w.handle(t.Context(), request{}); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// AWS Config says what is, not what has changed: what was so at the last reading is no finding, nor is anything at the first.
func TestWhatConfigAlwaysSaidIsNotMissed(t *testing.T) {
	w := newWorld(t, clinic)
	bucket := func(n int) configtypes.EvaluationResult {
		return evaluation("AWS::S3::Bucket", fmt.Sprint("bucket-", n), w.clock.Add(-20*time.Minute))
	}
	w.rules[at] = map[string][]configtypes.EvaluationResult{"a": nil, "b": nil, "c": nil}
	for n := range 250 {
		w.rules[at]["b"] = append(w.rules[at]["b"], bucket(n))
	}
	for range 3 {
		for n := range w.rules[at]["b"] { // each evaluation has a new time
			w.rules[at]["b"][n] = bucket(n)
		}
		if c := w.run(time.Hour).Sources[config]; c.Standing != 250 || c.Started != 0 {
			t.Fatalf("%+v", c)
		}
	}
	w.rules[at]["b"] = append(w.rules[at]["b"], bucket(300))
	w.rules[at]["c"] = []configtypes.EvaluationResult{bucket(301)}
	if c := w.run(time.Hour).Sources[config]; c.Missing != 2 || c.Standing != 250 {
		t.Errorf("two that changed: %+v", c)
	}
	// One that was mended and broken again while nobody read is one that changed.
	w.rules[at]["c"] = nil
	w.run(time.Hour)
	w.store.Delete(t.Context(), ledger.IncidentKey(incident.ID(finding.Config, clinic, home, "config-rule-c|bucket-301")), 1)
	w.rules[at]["c"] = []configtypes.EvaluationResult{bucket(301)}
	if c := w.run(time.Hour).Sources[config]; c.Missing != 1 {
		t.Errorf("one that changed back: %+v", c)
	}
	// One rule that fails does not keep the others.
	w.fail = func(call string) error {
		if strings.HasSuffix(call, "GetComplianceDetailsByConfigRule "+at+" a") {
			return denied()
		}
		return nil
	}
	w.rules[at]["a"] = []configtypes.EvaluationResult{bucket(400)}
	w.rules[at]["b"] = append(w.rules[at]["b"], bucket(401))
	w.rules[at]["c"] = append(w.rules[at]["c"], bucket(402)) // on the next page
	if c := w.run(time.Hour).Sources[config]; c.Missing != 2 || c.Unread != 1 {
		t.Errorf("beside a rule that fails: %+v", c)
	}
	w.fail = nil
	if c := w.run(15 * time.Minute).Sources[config]; c.Missing != 1 || c.Unread != 0 {
		t.Errorf("when it does not fail any more: %+v", c)
	}
}

// Where the hub is the administrator, members are read there, and their role is not taken for it.
func TestTheAdministratorReadsItsMembers(t *testing.T) {
	w := newWorld(t, clinic, pharmacy)
	w.members = []string{clinic}
	w.threats[hubAccount+" "+home] = []gdtypes.Finding{mining(t, clinic, 1, lately())}
	w.threats[at] = w.threats[hubAccount+" "+home]
	w.threats[pharmacy+" "+home] = []gdtypes.Finding{mining(t, pharmacy, 2, lately())}
	var read []string
	w.fail = func(call string) error {
		if strings.HasPrefix(call, "guardduty.ListFindings") || strings.HasPrefix(call, "securityhub.GetFindings") {
			read = append(read, strings.TrimSpace(call))
		}
		return nil
	}
	if c := w.run(0).Sources[guardDuty]; c.Started != 2 {
		t.Errorf("%+v", c)
	}
	slices.Sort(read)
	want := []string{"guardduty.ListFindings 111111111111 us-east-1", "guardduty.ListFindings 333333333333 us-east-1", "securityhub.GetFindings 111111111111 us-east-1", "securityhub.GetFindings 333333333333 us-east-1"}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Error(diff)
	}
}

// A finding that cannot be started for good keeps no other, on its page or on the next ones.
func TestAFindingThatCannotBeStarted(t *testing.T) {
	w := newWorld(t, clinic)
	for n := range 120 {
		w.threats[at] = append(w.threats[at], mining(t, clinic, n, lately()))
	}
	w.threats[at][10].Description = aws.String(strings.Repeat("x", 5<<20)) // more than is ever read back
	if c := w.run(0).Sources[guardDuty]; c.Started != 119 || c.Failed != 1 || c.Unread != 1 {
		t.Errorf("%+v", c)
	}
	w.threats[at][10] = mining(t, clinic, 10, lately())
	if c := w.run(15 * time.Minute).Sources[guardDuty]; c.Started != 1 || c.Failed != 0 || c.Unread != 0 {
		t.Errorf("when it can be started: %+v", c)
	}
}

func TestAPlaceWhoseTokenHasRunOutIsReadAnew(t *testing.T) {
	w := newWorld(t, clinic)
	for n := range 120 {
		w.threats[at] = append(w.threats[at], mining(t, clinic, n, lately()))
	}
	w.fail = func(call string) error {
		if call == "guardduty.ListFindings "+at+" 100" {
			return denied()
		}
		return nil
	}
	w.run(0)
	w.threats[at] = w.threats[at][:40] // its token is beyond the end now
	w.threats[at] = append(w.threats[at], mining(t, clinic, 500, lately()))
	w.fail = nil
	if c := w.run(15 * time.Minute).Sources[guardDuty]; c.Started != 1 || c.Unread != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAnOversizeFindingStartsByReference(t *testing.T) {
	w := newWorld(t, clinic)
	f := mining(t, clinic, 1, lately())
	f.Description = aws.String(strings.Repeat("x", 300_000))
	w.threats[at] = []gdtypes.Finding{f}
	w.run(0)
	for name, input := range w.started {
		if !strings.HasPrefix(input, `{"reference":`) || w.stored != 1 {
			t.Errorf("%s starts with %d bytes, %d stored", name, len(input), w.stored)
		}
	}
	if len(w.started) != 1 {
		t.Errorf("started %v", w.order)
	}
}

func TestTheCountsAreMetrics(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	defer slog.SetDefault(was)
	w := ofAll(t)
	w.run(time.Hour)
	for _, want := range []string{`"Source":"config"`, `"Missing":1`, `"Namespace":"Firebreak"`, `"Dimensions":[["Source"]]`, `"Dimensions":[[]]`, `"Unread":0`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s", want)
		}
	}
}

// The window is a setting, and nothing is read that is older.
func TestTheWindowIsASetting(t *testing.T) {
	for hours, want := range map[int]int{0: 1, 2: 0, 24: 2} {
		w := newWorld(t, clinic)
		w.in.Sweep = setting.Sweep{Hours: hours}
		w.threats[at] = []gdtypes.Finding{mining(t, clinic, 1, noon.Add(-5*time.Hour)), mining(t, clinic, 2, noon.Add(-20*time.Hour))}
		if c := w.run(0).Sources[guardDuty]; c.Started != want {
			t.Errorf("%d hours: %+v, want %d", hours, c, want)
		}
	}
}

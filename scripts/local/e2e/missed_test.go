//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	shtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
)

// earlier is when a finding was made whose event would have come by now.
func earlier() time.Time { return time.Now().Add(-30 * time.Minute) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// found looks at the sources and gives how many findings of each were missing.
func found(t *testing.T) map[string]int {
	t.Helper()
	var r struct {
		Sources map[string]struct{ Missing, Failed, Unread int }
	}
	out := must(hub.FindMissed(t.Context()))(t)
	check(t, json.Unmarshal(out, &r))
	missing := map[string]int{}
	for source, c := range r.Sources {
		if c.Failed+c.Unread > 0 {
			t.Errorf("%s: %s", source, out)
		}
		missing[source] = c.Missing
	}
	return missing
}

// changed is a change of compliance of a rule about a bucket.
func changed(t *testing.T, rule, bucket, compliance string) world.Event {
	e := sample(t, "config-public-bucket")
	e = e.Set(rule, "configRuleName").Set("arn:aws:config:us-east-1:222222222222:config-rule/config-rule-"+rule, "configRuleARN").Set(bucket, "resourceId")
	return e.Set(compliance, "newEvaluationResult", "complianceType").Set(stamp(earlier()), "newEvaluationResult", "resultRecordedTime")
}

// incidentOf is the incident that an event of the member makes.
func incidentOf(t *testing.T, e world.Event) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"source": e.Source, "detail-type": e.DetailType, "account": world.MemberAccount, "region": world.Region, "resources": []any{}, "detail": e.Detail})
	check(t, err)
	list, err := finding.Decode(raw)
	check(t, err)
	return list[0].IncidentID()
}

// taken waits until an execution has the incident, and gives its end.
func taken(t *testing.T, id string) world.Run {
	t.Helper()
	owner := ""
	check(t, world.Until(t.Context(), 20*time.Second, "an execution that has "+id, func(ctx context.Context) (bool, error) {
		meta, err := hub.Meta(ctx, id)
		owner = meta.Owner
		if errors.Is(err, world.ErrAbsent) {
			return false, nil
		}
		return owner != "", err
	}))
	return must(hub.End(t.Context(), owner))(t)
}

// executions about an incident that were started for what nobody brought.
func executions(t *testing.T, id string) (out []string) {
	t.Helper()
	for _, arn := range must(hub.Executions(t.Context()))(t) {
		if strings.Contains(arn, ":"+id+"-m") {
			out = append(out, arn)
		}
	}
	return out
}

// Findings at the four sources whose events were lost become incidents, once; those that arrived are not started again.
func TestFindingsThatNoEventBroughtAreFound(t *testing.T) {
	bucket, threat := public(t)
	exports := name("clinic-exports")
	check(t, member.Bucket(t.Context(), exports))
	_, arrived := public(t)
	rule := "s3-bucket-public-read-prohibited-conformance-pack-" + world.NewID()[:9]
	check(t, member.Lose(t.Context(), changed(t, rule, name("another"), "COMPLIANT")))
	found(t) // AWS Config tells states: what changes is seen from the first reading on

	check(t, member.Put(t.Context(), arrived.At(earlier())))
	settle(t, arrived)
	hubs := sample(t, "securityhub-custom-action")
	one := maps.Clone(hubs.Detail["findings"].([]any)[0].(map[string]any))
	one["Id"], one["UpdatedAt"] = "arn:aws:securityhub:us-east-1:222222222222:subscription/x/v/1/EC2.19/finding/"+world.NewID(), stamp(earlier())
	hubs.Detail, hubs.DetailType = map[string]any{"findings": []any{one}}, "Security Hub Findings - Imported"
	lost := map[string]world.Event{
		"guardduty": threat.At(earlier()), "securityhub": hubs, "config": changed(t, rule, exports, "NON_COMPLIANT"),
		"access-analyzer": sample(t, "access-analyzer-queue").Set(world.NewID(), "id").Set(stamp(earlier()), "updatedAt"),
	}
	check(t, member.Lose(t.Context(), slices.Collect(maps.Values(lost))...))
	missing := found(t)
	for source, e := range lost {
		id := incidentOf(t, e)
		if missing[source] < 1 { // other tests may have left some that nothing came of
			t.Errorf("%s: %d are missing", source, missing[source])
		}
		runs := executions(t, id)
		if len(runs) != 1 {
			t.Errorf("%s: %s was started %d times", source, id, len(runs))
			continue
		}
		run := must(hub.End(t.Context(), runs[0]))(t)
		if meta := must(hub.Meta(t.Context(), id))(t); meta.Episode != 1 || meta.Owner != runs[0] {
			t.Errorf("%s: %s has episode %d of %s", source, id, meta.Episode, meta.Owner)
		}
		t.Logf("%s: %s", source, show(run))
	}
	for _, b := range []string{bucket, exports} {
		if on := must(member.Blocked(t.Context(), b))(t); on != 4 {
			t.Errorf("%d of 4 flags are on at %s", on, b)
		}
	}
	if runs := executions(t, arrived.Incident()); len(runs) != 0 {
		t.Errorf("one that arrived was started again: %v", runs)
	}
	found(t)
	for source, e := range lost {
		if runs := executions(t, incidentOf(t, e)); len(runs) != 1 {
			t.Errorf("%s was started again: %v", source, runs)
		}
	}
}

// The event comes at the very moment at which it is found missing: one incident, one set of effects.
func TestAnEventThatComesWhileItIsFoundMissing(t *testing.T) {
	bucket, f := public(t)
	f = f.At(earlier())
	check(t, member.Lose(t.Context(), f))
	together(t,
		func(ctx context.Context) error { return member.Put(ctx, f) },
		func(ctx context.Context) error { _, err := hub.FindMissed(ctx); return err },
	)
	must(hub.Started(t.Context(), f.ID(), 1))(t)
	contained := 0
	for _, arn := range must(hub.About(t.Context(), f.ID()))(t) {
		if run := must(hub.End(t.Context(), arn))(t); run.Ending() == "Contained" {
			contained++
		} else if run.Ending() != "AlreadyHandled" {
			t.Errorf("%s", show(run))
		}
	}
	if meta := must(hub.Meta(t.Context(), f.Incident()))(t); contained != 1 || meta.Episode != 1 {
		t.Errorf("%d contained it, episode %d", contained, meta.Episode)
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
}

// An event that no state can take fails delivery; redriven, it ends as the incident that it is.
func TestAnOversizeEventIsAnIncident(t *testing.T) {
	bucket, f := public(t)
	f = f.Set(strings.Repeat("x", 400_000), "description")
	check(t, member.Put(t.Context(), f))
	letter(t, world.Delivery, f.ID())
	said := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", f.Incident()))(t)
	if !strings.Contains(said, "by reference") {
		t.Errorf("redrive says %s", said)
	}
	run := taken(t, f.Incident())
	path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
	if len(run.Input) > 300 || !strings.HasPrefix(run.Input, `{"reference":`) {
		t.Errorf("it started with %.200s", run.Input)
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	quiet(t, f.ID(), world.Delivery)

	// One that nobody redrives is found at its source.
	bucket, f = public(t)
	check(t, member.Lose(t.Context(), f.At(earlier()).Set(strings.Repeat("x", 400_000), "description")))
	found(t)
	run = taken(t, f.Incident())
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 || run.Ending() != "Contained" {
		t.Errorf("%d of 4 flags are on, %s", on, show(run))
	}
}

// An account that cannot be read is told to people, and is no reason not to read the rest of what it has.
func TestASourceThatCannotBeReadIsTold(t *testing.T) {
	_, f := public(t)
	check(t, member.Lose(t.Context(), f.At(earlier())))
	restore := must(world.TakeAction(t.Context(), member.IAM, "SecurityRemediationRole-Read", "config:DescribeComplianceByConfigRule"))(t)
	t.Cleanup(func() { check(t, restore(context.Background())) })
	for range 2 {
		must(hub.FindMissed(t.Context()))(t)
	}
	if runs := executions(t, f.Incident()); len(runs) != 1 {
		t.Errorf("GuardDuty's finding was started %d times", len(runs))
	}
	notices := must(hub.Notices(t.Context(), "cannot read the findings of account "+world.MemberAccount))(t)
	if len(notices) != 1 || !strings.Contains(notices[0].Text, "config of account "+world.MemberAccount) {
		t.Errorf("people were told %q", notices)
	}
	check(t, restore(t.Context()))
	found(t)
}

// A finding that is archived at its source closes its incident, and undoes nothing: what it holds can still be released. Seen again,
// it opens the incident again.
func TestAFindingThatItsSourceHasResolvedIsClosed(t *testing.T) {
	bucket, f := public(t)
	put(t, f)
	path(t, settle(t, f), "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
	id := f.Incident()
	i := instance(t)
	waiting := stolen(t, i) // people are asked about this one
	put(t, waiting)
	asks(t, waiting)
	check(t, member.Lose(t.Context(), f.Set(true, "service", "archived"), waiting.Set(true, "service", "archived"))) // the source alone says so
	closed := func() bool { return must(hub.Meta(t.Context(), id))(t).Status == incident.Closed }
	for n := 0; n < 5 && !closed(); n++ { // other tests leave incidents: each has its turn
		found(t)
	}
	standing(t, id, incident.Closed, incident.EndContained)
	line := must(hub.Timeline(t.Context(), id))(t)
	if last := line[len(line)-1]; !strings.HasPrefix(last.What, "resolved at its source: ") || !strings.Contains(last.What, "block-public-access arn:aws:s3:::"+bucket) || last.Who != "find-missed" {
		t.Errorf("on record is %+v", last)
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	if told := must(hub.Notices(t.Context(), id+" --plan"))(t); len(told) != 1 || !strings.Contains(told[0].Text, "Still held: block-public-access") {
		t.Errorf("people were told %q", told)
	}
	if m := must(hub.Meta(t.Context(), waiting.Incident()))(t); m.Status == incident.Closed {
		t.Error("one that people are asked about was closed")
	}
	must(release(t, id, "--why", "it was meant"))(t)
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 0 {
		t.Errorf("%d flags are on after the release", on)
	}
	again := f.Set(stamp(time.Now()), "service", "eventLastSeen").Set(stamp(time.Now()), "updatedAt")
	put(t, again)
	check(t, world.Until(t.Context(), 20*time.Second, "the second episode of "+id, func(ctx context.Context) (bool, error) {
		m, err := hub.Meta(ctx, id)
		return m.Episode == 2 && m.Status != incident.Closed, err
	}))
	reject(t, i, waiting)
}

// Where the hub is the administrator it reads its members itself, and the organization's analyzer too. The last of these tests: from
// here on the hub is one.
func TestTheAdministratorFindsWhatNoEventBrought(t *testing.T) {
	cfg := platform.Config(world.HubAccount)
	own := sample(t, "guardduty-public-bucket").Set(world.HubAccount, "accountId").Set("administrator", "service", "detectorId")
	check(t, hub.Lose(t.Context(), own))
	must(guardduty.NewFromConfig(cfg).CreateMembers(t.Context(), &guardduty.CreateMembersInput{
		DetectorId: aws.String("administrator"), AccountDetails: []gdtypes.AccountDetail{{AccountId: aws.String(world.MemberAccount), Email: aws.String("clinic@example.com")}},
	}))(t)
	must(securityhub.NewFromConfig(cfg).CreateMembers(t.Context(), &securityhub.CreateMembersInput{AccountDetails: []shtypes.AccountDetails{{AccountId: aws.String(world.MemberAccount)}}}))(t)
	bucket, threat := public(t)
	check(t, member.Lose(t.Context(), threat.At(earlier())))
	shared := sample(t, "access-analyzer-queue").Set(world.NewID(), "id").Set(stamp(earlier()), "updatedAt")
	check(t, hub.Lose(t.Context(), shared))
	since := time.Now()
	if missing := found(t); missing["guardduty"] < 1 || missing["access-analyzer"] < 1 {
		t.Errorf("missing: %v", missing)
	}
	for _, id := range []string{threat.Incident(), incidentOf(t, shared)} {
		runs := executions(t, id)
		if len(runs) != 1 {
			t.Fatalf("%s was started %d times", id, len(runs))
		}
		must(hub.End(t.Context(), runs[0]))(t)
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	for _, d := range must(platform.Decided(since, func(d world.Decision) bool { return d.Action == "guardduty:ListFindings" }))(t) {
		if strings.Contains(d.Principal, world.MemberAccount) {
			t.Errorf("%s read what the administrator has", d.Principal)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	aatypes "github.com/aws/aws-sdk-go-v2/service/accessanalyzer/types"
	configtypes "github.com/aws/aws-sdk-go-v2/service/configservice/types"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	shtypes "github.com/aws/aws-sdk-go-v2/service/securityhub/types"
)

const owner = "arn:aws:states:us-east-1:111111111111:execution:firebreak-respond:first"

// stands writes the incident that the machine makes of a finding, contained, and what it holds.
func (w *world) stands(event []byte, change ...func(*ledger.Incident)) string {
	w.t.Helper()
	list, err := finding.Decode(event)
	if err != nil {
		w.t.Fatal(err)
	}
	f := list[0]
	step := incident.Step{Action: "isolate-instance", Target: "arn:aws:ec2:us-east-1:" + f.Account + ":instance/i-" + f.IncidentID()}
	it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey(f.IncidentID()), Value: ledger.Incident{
		ID: f.IncidentID(), Status: incident.Contained, Ending: incident.EndContained, Episode: 1, Band: f.Band, Owner: owner, FirstSeen: f.FirstSeen, LastSeen: f.LastSeen, Seen: f.LastSeen,
		Finding: ledger.Finding{Product: f.Product, NativeID: f.NativeID, Source: f.Source, Type: f.Type, Account: f.Account, Region: f.Region}, Plan: incident.Plan{Contain: []incident.Step{step}},
	}}
	for _, c := range change {
		c(&it.Value)
	}
	ledger.Place(&it)
	hold := ledger.Item[ledger.Hold]{Key: ledger.HoldKey(step.Target, step.Action), Value: ledger.Hold{Resource: step.Target, Action: step.Action, Phase: ledger.Held, Holders: map[string]map[string]string{f.IncidentID(): {}}}}
	if err := ledger.Save(context.Background(), w.store, &it, &hold); err != nil {
		w.t.Fatal(err)
	}
	return f.IncidentID()
}

func (w *world) meta(id string) ledger.Item[ledger.Incident] {
	w.t.Helper()
	it, err := ledger.Load[ledger.Incident](context.Background(), w.store, ledger.IncidentKey(id))
	if err != nil || !it.Exists() {
		w.t.Fatal(it, err)
	}
	return it
}

// written is a finding as the event that its service sends.
func written(t testing.TB, event []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func minedEvent(t testing.TB, f gdtypes.Finding) []byte {
	e, err := envelope(place{Account: *f.AccountId, Region: home}, "aws.guardduty", "GuardDuty Finding", nil, noon, f)
	return written(t, e, err)
}

func archived(f gdtypes.Finding) gdtypes.Finding {
	service := *f.Service
	service.Archived = aws.Bool(true)
	f.Service = &service
	return f
}

// Each of the four sources closes the incident of what it has resolved, with its word for it; nothing is undone.
func TestWhatItsSourceHasResolvedIsClosed(t *testing.T) {
	w := newWorld(t, clinic)
	mined := mining(t, clinic, 1, lately())
	w.threats[at] = []gdtypes.Finding{archived(mined)}
	check := imported(t, "securityhub-custom-action")
	checkEvent, err := hubEvent(home, check)
	checkEvent = written(t, checkEvent, err)
	check.Compliance, check.Workflow = &shtypes.Compliance{Status: shtypes.ComplianceStatusPassed}, &shtypes.Workflow{Status: shtypes.WorkflowStatusResolved}
	check.UpdatedAt, check.LastObservedAt = aws.String(lately().Format(time.RFC3339)), nil
	w.findings[at] = []shtypes.AwsSecurityFinding{check}
	rule := configtypes.ConfigRule{ConfigRuleName: aws.String("s3-bucket-public-read-prohibited"), ConfigRuleArn: aws.String("arn:aws:config:us-east-1:222222222222:config-rule/config-rule-s3-bucket-public-read-prohibited")}
	verdict := evaluation("AWS::S3::Bucket", "clinic-images", lately().Add(-time.Minute))
	ruleEvent, err := change(place{Account: clinic, Region: home}, rule, verdict)
	ruleEvent = written(t, ruleEvent, err)
	verdict = evaluation("AWS::S3::Bucket", "clinic-images", lately())
	verdict.ComplianceType = configtypes.ComplianceTypeCompliant
	w.rules[at] = map[string][]configtypes.EvaluationResult{*rule.ConfigRuleName: {verdict}}
	shared := aatypes.FindingSummaryV2{
		Id: aws.String("a1b2"), Status: aatypes.FindingStatusActive, ResourceType: aatypes.ResourceTypeAwsSqsQueue, Resource: aws.String("arn:aws:sqs:us-east-1:222222222222:orders"),
		ResourceOwnerAccount: aws.String(clinic), CreatedAt: aws.Time(lately()), AnalyzedAt: aws.Time(lately()), UpdatedAt: aws.Time(lately()), FindingType: aatypes.FindingTypeExternalAccess,
	}
	sharedEvent, err := exposure(place{Account: clinic, Region: home}, "arn:aws:access-analyzer:us-east-1:222222222222:analyzer/zone", shared, []aatypes.FindingDetails{
		&aatypes.FindingDetailsMemberExternalAccessDetails{Value: aatypes.ExternalAccessDetails{Principal: map[string]string{"AWS": "999999999999"}, IsPublic: aws.Bool(false)}},
	})
	sharedEvent = written(t, sharedEvent, err)
	shared.Status = aatypes.FindingStatusResolved
	w.shared[at] = []aatypes.FindingSummaryV2{shared}

	says := map[string]string{}
	for event, why := range map[string]string{
		string(minedEvent(t, mined)): "archived", string(checkEvent): "resolved in Security Hub", string(ruleEvent): "COMPLIANT with the rule", string(sharedEvent): "the access is gone",
	} {
		says[w.stands([]byte(event))] = why
	}
	if r := w.run(0).Resolved; r != (Resolution{Open: 4, Closed: 4}) {
		t.Errorf("%+v", r)
	}
	for id, why := range says {
		m := w.meta(id)
		if m.Value.Status != incident.Closed || m.Group != "" || m.Value.ClosedAt.After(lately()) || m.Value.ClosedAt.IsZero() {
			t.Errorf("%s: %+v", why, m)
		}
		line, err := ledger.Timeline(t.Context(), w.store, id)
		if err != nil || len(line) != 1 || !strings.HasPrefix(line[0].What, "resolved at its source: ") || !strings.Contains(line[0].What, why) || !strings.Contains(line[0].What, "stays as it is: isolate-instance") || line[0].Who != "find-missed" {
			t.Errorf("%s: timeline %+v, %v", why, line, err)
		}
		target := m.Value.Plan.Contain[0].Target
		if hold, err := ledger.Load[ledger.Hold](t.Context(), w.store, ledger.HoldKey(target, "isolate-instance")); err != nil || hold.Version != 1 || hold.Value.Phase != ledger.Held || len(hold.Value.Holders) != 1 {
			t.Errorf("%s: the hold was touched: %+v, %v", why, hold, err)
		}
	}
	// Resolved is a state, archived is somebody's word: of that people hear.
	if len(w.started) != 0 || len(w.notices) != 1 || !strings.Contains(w.notices[0], "archived") || !strings.Contains(w.notices[0], "Still held: isolate-instance arn:") {
		t.Errorf("started %v, told %q", w.order, w.notices)
	}
	if r := w.run(time.Minute).Resolved; r != (Resolution{}) {
		t.Errorf("the second time: %+v", r)
	}
}

// What a rule called NON_COMPLIANT at the last reading is no change, unless it was COMPLIANT in between: whoever undoes a containment
// within the hour would not be seen again.
func TestWhatWasResolvedBetweenTwoReadingsIsAChange(t *testing.T) {
	const rule = "s3-bucket-public-read-prohibited"
	w := newWorld(t, clinic)
	public := evaluation("AWS::S3::Bucket", "clinic-images", noon.Add(-time.Hour))
	w.rules[at] = map[string][]configtypes.EvaluationResult{rule: {public}}
	w.run(0) // remembers it
	event, err := change(place{Account: clinic, Region: home}, configtypes.ConfigRule{ConfigRuleName: aws.String(rule), ConfigRuleArn: aws.String("arn:aws:config:us-east-1:222222222222:config-rule/config-rule-" + rule)}, public)
	id := w.stands(written(t, event, err))
	blocked := evaluation("AWS::S3::Bucket", "clinic-images", noon.Add(5*time.Minute))
	blocked.ComplianceType = configtypes.ComplianceTypeCompliant
	w.rules[at][rule] = []configtypes.EvaluationResult{blocked}
	if r := w.run(15 * time.Minute).Resolved; r.Closed != 1 {
		t.Fatalf("%+v", r)
	}
	w.rules[at][rule] = []configtypes.EvaluationResult{evaluation("AWS::S3::Bucket", "clinic-images", noon.Add(20*time.Minute))}
	if c := w.run(time.Hour).Sources[config]; c.Renewed != 1 || c.Started != 1 || w.incidents()[id] != 1 {
		t.Errorf("%+v, started %v", c, w.order)
	}
}

// What was seen after the last time that the closed incident knows of opens it again, also where GuardDuty wrote of both later.
func TestWhatWasSeenBeforeTheClosingAndToldAfterIt(t *testing.T) {
	w := newWorld(t, clinic)
	seen := func(f gdtypes.Finding, last, updated time.Time) gdtypes.Finding {
		service := *f.Service
		service.EventLastSeen, f.UpdatedAt = aws.String(last.Format(time.RFC3339)), aws.String(updated.Format(time.RFC3339))
		f.Service = &service
		return f
	}
	first := seen(mining(t, clinic, 1, lately()), noon.Add(-time.Hour), lately())
	w.threats[at] = []gdtypes.Finding{archived(first)}
	id := w.stands(minedEvent(t, first))
	w.run(0)
	if m := w.meta(id).Value; m.Status != incident.Closed {
		t.Fatal(m.Status)
	}
	w.threats[at] = []gdtypes.Finding{seen(first, noon.Add(-50*time.Minute), noon.Add(-20*time.Minute))}
	if c := w.run(time.Hour).Sources[guardDuty]; c.Renewed != 1 {
		t.Errorf("%+v", c)
	}
}

// Whatever stands in the way leaves the incident as it is.
func TestWhatIsNotClosedThoughASourceSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		incident func(*ledger.Incident)
		set      func(w *world, id string)
		finding  func(*gdtypes.Finding)
		want     Resolution
	}{
		"its execution runs": {set: func(w *world, _ string) { w.running["first"] = true }, want: Resolution{Open: 1, Busy: 1}},
		"a release runs":     {incident: func(m *ledger.Incident) { m.Runs = 1 }, set: func(w *world, id string) { w.running[incident.ReleaseName(id, 1)] = true }, want: Resolution{Open: 1, Busy: 1}},
		"people are asked": {set: func(w *world, id string) {
			it := ledger.Item[approval.Approval]{Key: approval.Key(id, 1), Value: approval.Approval{Incident: id, Number: 1, Episode: 1, Status: approval.StatusOpen}}
			if err := ledger.Save(context.Background(), w.store, &it); err != nil {
				w.t.Fatal(err)
			}
		}, want: Resolution{Open: 1, Busy: 1}},
		"somebody has changed it just now": {set: func(w *world, id string) {
			fail := w.store.Fail
			w.store.Fail = func(op string, k ledger.Key) error {
				if op == "put" && k == ledger.IncidentKey(id) {
					return ledger.ErrConflict
				}
				return fail(op, k)
			}
		}, want: Resolution{Open: 1, Busy: 1}},
		"GuardDuty cannot be read": {set: func(w *world, _ string) {
			w.fail = func(call string) error {
				if strings.HasPrefix(call, "guardduty.GetFindings") {
					return denied()
				}
				return nil
			}
		}, want: Resolution{Open: 1, Unread: 1}},
		"the account cannot be read": {set: func(w *world, _ string) {
			w.fail = func(call string) error {
				if strings.HasPrefix(call, "sts.") {
					return denied()
				}
				return nil
			}
		}, want: Resolution{Open: 1, Unread: 1}},
		"nobody says whether something runs": {set: func(w *world, _ string) {
			w.fail = func(call string) error {
				if call == "sfn.DescribeExecution" {
					return throttle()
				}
				return nil
			}
		}, want: Resolution{Open: 1, Unread: 1}},
		"GuardDuty is off":                {set: func(w *world, _ string) { delete(w.threats, at) }, want: Resolution{Open: 1}},
		"GuardDuty does not have it":      {set: func(w *world, _ string) { w.threats[at] = []gdtypes.Finding{mining(w.t, clinic, 9, lately())} }, want: Resolution{Open: 1}},
		"it stands":                       {finding: func(f *gdtypes.Finding) { f.Service = mining(t, clinic, 1, lately()).Service }, want: Resolution{Open: 1}},
		"another account's of that id":    {finding: func(f *gdtypes.Finding) { *f = archived(mining(t, pharmacy, 1, lately())) }, want: Resolution{Open: 1}},
		"a later copy was seen":           {incident: func(m *ledger.Incident) { m.LastSeen = noon }, want: Resolution{Open: 1}},
		"the account is not looked after": {set: func(w *world, _ string) { w.in.Accounts = nil }},
		"nothing was to be contained":     {incident: func(m *ledger.Incident) { m.Status = incident.Recorded }},
		"it cannot be asked for":          {incident: func(m *ledger.Incident) { m.Finding.Product = finding.Health }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, clinic)
			w.running = map[string]bool{}
			f := mining(t, clinic, 1, lately())
			w.threats[at] = []gdtypes.Finding{archived(f)}
			id := w.stands(minedEvent(t, f), func(m *ledger.Incident) {
				if c.incident != nil {
					c.incident(m)
				}
			})
			if c.finding != nil {
				c.finding(&w.threats[at][0])
			}
			if c.set != nil {
				c.set(w, id)
			}
			before := w.meta(id)
			if r := w.run(0).Resolved; r != c.want {
				t.Errorf("%+v, want %+v", r, c.want)
			}
			w.fail = nil
			if m := w.meta(id); m.Version != before.Version {
				t.Errorf("it is %s now: %+v", m.Value.Status, m.Value)
			}
		})
	}
}

// Whoever may write to Security Hub can mark a finding: of that people hear where something is still held, and not of a check that passes.
func TestAMarkedFindingIsClosedAloud(t *testing.T) {
	for _, c := range []struct {
		workflow   shtypes.WorkflowStatus
		compliance shtypes.ComplianceStatus
		told       int
	}{
		{shtypes.WorkflowStatusSuppressed, shtypes.ComplianceStatusFailed, 1}, {shtypes.WorkflowStatusResolved, shtypes.ComplianceStatusFailed, 1},
		{shtypes.WorkflowStatusSuppressed, shtypes.ComplianceStatusPassed, 1}, {shtypes.WorkflowStatusResolved, shtypes.ComplianceStatusPassed, 0},
	} {
		w := newWorld(t, clinic)
		check := imported(t, "securityhub-custom-action")
		event, err := hubEvent(home, check)
		id := w.stands(written(t, event, err))
		check.Compliance, check.Workflow = &shtypes.Compliance{Status: c.compliance}, &shtypes.Workflow{Status: c.workflow}
		check.UpdatedAt, check.LastObservedAt = aws.String(lately().Format(time.RFC3339)), nil
		w.findings[at] = []shtypes.AwsSecurityFinding{check}
		if r := w.run(0).Resolved; r.Closed != 1 || len(w.notices) != c.told || c.told > 0 && !strings.Contains(w.notices[0], "Still held: isolate-instance") {
			t.Errorf("%s of a check that %s: %+v, %s told %q", c.workflow, c.compliance, r, id, w.notices)
		}
	}
}

// unfinished is an incident that needs a person, and whose finding somebody has archived.
func (w *world) unfinished(t *testing.T, needs string) (id string) {
	f := mining(t, clinic, 1, lately())
	w.threats[at] = []gdtypes.Finding{archived(f)}
	return w.stands(minedEvent(t, f), func(m *ledger.Incident) {
		m.Status, m.Ending, m.Needs = incident.Open, incident.EndNeedsPerson, needs
	})
}

// People hear of one that was not contained, once, with what was not done.
func TestAnIncidentInNeedOfAPersonIsClosedAloud(t *testing.T) {
	w := newWorld(t, clinic)
	id := w.unfinished(t, "isolate-instance of i-1 is not done")
	for range 2 {
		w.run(time.Minute)
	}
	if m := w.meta(id).Value; m.Status != incident.Closed || m.Needs != "" {
		t.Errorf("%+v", m)
	}
	line, _ := ledger.Timeline(t.Context(), w.store, id)
	if len(line) != 1 || !strings.HasSuffix(line[0].What, "; not done: isolate-instance of i-1 is not done") {
		t.Errorf("%+v", line)
	}
	if len(w.notices) != 1 || !strings.Contains(w.notices[0], "Not done: isolate-instance of i-1 is not done") {
		t.Errorf("%q", w.notices)
	}
}

// While nobody can be told, what has to be told is not closed: a closed incident is never looked at again.
func TestNothingIsClosedThatNobodyCouldBeToldOf(t *testing.T) {
	w := newWorld(t, clinic)
	id := w.unfinished(t, "isolate-instance is not done")
	w.mute = errors.New("SNS is away")
	if r := w.run(0).Resolved; r != (Resolution{Open: 1, Unread: 1}) || w.meta(id).Value.Status != incident.Open {
		t.Errorf("%+v, %s", r, w.meta(id).Value.Status)
	}
	w.mute = nil
	if r := w.run(time.Minute).Resolved; r != (Resolution{Open: 1, Closed: 1}) || w.meta(id).Value.Status != incident.Closed || len(w.notices) != 1 {
		t.Errorf("%+v, %s, told %q", r, w.meta(id).Value.Status, w.notices)
	}
}

// More than a run looks at: the next ones go on, and each has its turn.
func TestEachOpenIncidentHasItsTurn(t *testing.T) {
	w := newWorld(t, clinic, pharmacy)
	for n := range mostOpen + 60 {
		who := []string{clinic, pharmacy}[n%2]
		f := mining(t, who, n, lately())
		w.stands(minedEvent(t, f))
		if n%10 == 0 {
			f = archived(f)
		}
		w.threats[who+" "+home] = append(w.threats[who+" "+home], f)
	}
	var closed []string
	for range 2 {
		r := w.run(time.Minute).Resolved
		if closed = append(closed, fmt.Sprint(r.Closed)); r.Open > mostOpen || r.Unread > 0 {
			t.Errorf("%+v", r)
		}
	}
	total := 0
	for n := range mostOpen + 60 {
		f := mining(t, []string{clinic, pharmacy}[n%2], n, lately())
		if m := w.meta(incident.ID(finding.GuardDuty, *f.AccountId, home, *f.Id)).Value; m.Status == incident.Closed {
			total++
		}
	}
	if total != (mostOpen+60)/10 {
		t.Errorf("%d are closed after two runs: %v", total, closed)
	}
}

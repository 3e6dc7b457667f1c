//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
)

// together does all at the same moment.
func together(t testing.TB, do ...func(context.Context) error) {
	t.Helper()
	start, errs := make(chan struct{}), make([]error, len(do))
	var all sync.WaitGroup
	for n, f := range do {
		all.Go(func() {
			<-start
			errs[n] = f(t.Context())
		})
	}
	close(start)
	all.Wait()
	for _, err := range errs {
		check(t, err)
	}
}

func TestTwentyCopiesAtOnceAreOneIncident(t *testing.T) {
	const copies = 20
	i := instance(t)
	finding := stolen(t, i)
	var puts []func(context.Context) error
	for range copies {
		puts = append(puts, func(ctx context.Context) error { return member.Put(ctx, finding) })
	}
	together(t, puts...)
	must(hub.Started(t.Context(), finding.ID(), copies))(t)
	ends := map[string]int{}
	for _, arn := range must(hub.About(t.Context(), finding.ID()))(t) {
		run := must(hub.Follow(t.Context(), arn, time.Minute, nil, func(r world.Run) bool { return r.Ending() == "RequestApproval" }))(t)
		ends[run.Ending()]++
	}
	if diff := cmp.Diff(map[string]int{"RequestApproval": 1, "AlreadyHandled": copies - 1}, ends); diff != "" {
		t.Errorf("where the executions are: %s", diff)
	}
	must(hub.Asked(t.Context(), finding.Incident(), 1))(t)
	if s := must(member.Snapshots(t.Context(), i.Volumes...))(t); len(s) != 2 {
		t.Errorf("%d snapshots, want one of each of the 2 volumes: %v", len(s), s)
	}
	told := 0
	for _, n := range must(hub.Notices(t.Context(), finding.Incident()))(t) {
		if !strings.Contains(n.Text, "/approve/") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the team was told %d times, want once", told)
	}
	isolated(t, i, true)
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
}

// The function's work is done and its answer is lost: the machine asks again, and this is no duplicate.
func TestClassifyFindingThatDiedAfterItsWriteResponds(t *testing.T) {
	bucket, finding := public(t)
	execution := name("died-after-its-write")
	event, err := json.Marshal(map[string]any{
		"version": "0", "id": world.NewID(), "source": finding.Source, "detail-type": finding.DetailType, "account": world.MemberAccount,
		"region": world.Region, "time": time.Now().UTC().Format(time.RFC3339), "resources": []any{}, "detail": finding.Detail,
	})
	check(t, err)
	arn := strings.Replace(world.Machine, ":stateMachine:", ":execution:", 1) + ":" + execution
	answer := must(hub.Invoke(t.Context(), "firebreak-classify-finding", map[string]any{
		"event": json.RawMessage(event), "execution": incident.Execution{ARN: arn, Start: time.Now().UTC()}, "state": incident.State{Name: "ClassifyFinding"},
	}))(t)
	var d incident.Decision
	check(t, json.Unmarshal(answer, &d))
	if d.Disposition != incident.Respond {
		t.Fatalf("first: %s", answer)
	}
	started := must(hub.Start(t.Context(), execution, string(event)))(t)
	if started != arn {
		t.Fatalf("started %s, not %s", started, arn)
	}
	run := must(hub.End(t.Context(), arn))(t)
	path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	if meta := must(hub.Meta(t.Context(), finding.Incident()))(t); meta.Episode != 1 {
		t.Errorf("episode %d, want 1", meta.Episode)
	}
}

// ClassifyFinding killed at any moment of its first call, by real signals.
func TestClassifyFindingKilledResponds(t *testing.T) {
	for n := range 4 {
		bucket, finding := public(t)
		killed := killing(t, "firebreak-classify-finding", time.Duration(n*15)*time.Millisecond)
		put(t, finding)
		run := settle(t, finding)
		path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
		if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
			t.Errorf("%d of 4 flags are on", on)
		}
		t.Logf("%d workers killed", killed())
	}
}

func TestTwoFindingsOfOneInstanceAtOnce(t *testing.T) {
	i, since := instance(t), time.Now()
	one, two := stolen(t, i), mining(t, i)
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, one.Incident())
			explain(t, two.Incident())
		}
	})
	together(t, func(ctx context.Context) error { return member.Put(ctx, one) }, func(ctx context.Context) error { return member.Put(ctx, two) })
	asks(t, one)
	asks(t, two)
	isolated(t, i, true)
	for _, action := range []string{"isolate-instance", "snapshot-volumes"} {
		hold := must(hub.Hold(t.Context(), i.ARN, action))(t)
		if len(hold.Holders) != 2 || hold.Holders[one.Incident()] == nil || hold.Holders[two.Incident()] == nil {
			t.Errorf("%s is held by %v, want both incidents", action, hold.Holders)
		}
	}
	if s := must(member.Snapshots(t.Context(), i.Volumes...))(t); len(s) != 2 {
		t.Errorf("%d snapshots, want one set: %v", len(s), s)
	}
	// one set of changes: all of them made for the same incident
	for _, action := range []string{"ec2:ModifyNetworkInterfaceAttribute", "ec2:CreateSnapshots"} {
		by := map[string]int{}
		for _, d := range changes(t, since, one.Incident(), two.Incident()) {
			if d.Action == action {
				by[d.Session]++
			}
		}
		if len(by) != 1 {
			t.Errorf("%s was called for %v, want for one incident", action, by)
		}
	}
	for _, f := range []world.Event{one, two} {
		decide(t, f.Incident(), world.ToDestroy, "reject", i.ID, "alice")
		settle(t, f)
	}
}

func TestTwoHundredFindingsAtOnce(t *testing.T) {
	const all = 200
	var findings []world.Event
	want := map[string]string{}
	for n := range all {
		var f world.Event
		switch {
		case n%5 == 0:
			_, f = public(t)
			want[f.Incident()] = "Contained"
		case n%5 == 1:
			f = sample(t, "guardduty-unknown-type")
			want[f.Incident()] = "Recorded"
		default:
			f = sample(t, "guardduty-port-probe")
			want[f.Incident()] = "Recorded"
		}
		findings = append(findings, f)
	}
	began := time.Now()
	var puts []func(context.Context) error
	for part := range slices.Chunk(findings, 10) {
		puts = append(puts, func(ctx context.Context) error { return member.Put(ctx, part...) })
	}
	together(t, puts...)
	ids := map[string]string{} // finding to incident
	for _, f := range findings {
		ids[f.ID()] = f.Incident()
	}
	got, known, twice := map[string]string{}, map[string]bool{}, 0
	check(t, world.Until(t.Context(), 2*time.Minute, "an end for each of 200 findings", func(ctx context.Context) (bool, error) {
		time.Sleep(300 * time.Millisecond) // looking costs the engines more than working
		ended, err := hub.Ended(ctx, began)
		for _, arn := range ended {
			if known[arn] || err != nil {
				continue
			}
			known[arn] = true
			run, err := hub.Brief(ctx, arn)
			if err != nil {
				return false, err
			}
			var input struct{ Detail struct{ ID string } }
			if json.Unmarshal([]byte(run.Input), &input) != nil || ids[input.Detail.ID] == "" {
				continue
			}
			id := ids[input.Detail.ID]
			if got[id] != "" {
				twice++
			}
			got[id] = run.Ending()
		}
		return len(got) == all, err
	}))
	t.Logf("200 findings ended after %.1f s", time.Since(began).Seconds())
	if twice > 0 {
		t.Errorf("%d executions too many", twice)
	}
	lettered := 0
	for id, ending := range want {
		if got[id] == ending {
			if _, err := hub.Meta(t.Context(), id); err != nil {
				t.Errorf("%s ended %s and is not in the ledger: %v", id, ending, err)
			}
			continue
		}
		lettered++
		if body := letter(t, world.Incident, id); body != "" {
			t.Logf("%s ended %s: %s", id, got[id], body)
		}
	}
	t.Logf("%d incidents, %d dead letters", all-lettered, lettered)
	if lettered > 0 {
		t.Errorf("%d of 200 needed a person although nothing was wrong with them", lettered)
	}
	for _, q := range []string{world.Delivery, world.Function, world.Deaths} {
		for _, f := range findings {
			quiet(t, f.ID(), q)
			break // one look at each queue is enough: they are empty
		}
	}
}

func TestBudgetHoldsUnderABurst(t *testing.T) {
	used := 0
	settings(t, func(g *setting.Guard) { g.Budget, g.Reserve = budget(t, "block-public-access")+3, 0 })
	var findings []world.Event
	var buckets []string
	for range 8 {
		b, f := public(t)
		buckets, findings = append(buckets, b), append(findings, f)
	}
	put(t, findings...)
	refused := 0
	for _, f := range findings {
		run := settle(t, f)
		if run.Ending() == "NeedsPerson" && strings.Contains(run.Cause, "limit") {
			refused++
		}
	}
	for _, b := range buckets {
		if must(member.Blocked(t.Context(), b))(t) == 4 {
			used++
		}
	}
	if used != 3 || refused != len(buckets)-3 {
		t.Errorf("%d of %d were changed and %d refused, with 3 left in the budget", used, len(buckets), refused)
	}
}

// budget counts what was changed this hour.
func budget(t testing.TB, action string) int {
	t.Helper()
	k := guard.BudgetKey(world.MemberAccount, action, time.Now())
	out := must(hub.Table.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(world.Ledger), ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: k.PK}, "sk": &types.AttributeValueMemberS{Value: k.SK}}}))(t)
	members, _ := out.Item["members"].(*types.AttributeValueMemberSS)
	if members == nil {
		return 0
	}
	return len(members.Value)
}

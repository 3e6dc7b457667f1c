//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"

	"github.com/google/go-cmp/cmp"
)

// The way of every execution that contains and then asks people.
var asked = []string{"ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "RequestApproval", "Approved?"}

func after(first []string, more ...string) []string {
	return append(append([]string{}, first...), more...)
}

func TestContained(t *testing.T) {
	bucket, finding := public(t)
	put(t, finding)
	run := settle(t, finding)
	path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
	if got, want := transitions(run), 6+2*2; got != want {
		t.Errorf("%d transitions, want 6 + 2c = %d", got, want)
	}
	if on, err := member.Blocked(t.Context(), bucket); on != 4 || err != nil {
		t.Errorf("%d of 4 flags are on (%v)", on, err)
	}
	standing(t, finding.Incident(), incident.Contained, incident.EndContained)
	quiet(t, finding.Incident(), world.Queues...)
}

func TestKeysOfAUser(t *testing.T) {
	user, finding := misused(t)
	put(t, finding)
	path(t, asks(t, finding), "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "RequestApproval")
	keys := must(member.Keys(t.Context(), user.Name))(t)
	if diff := cmp.Diff(map[string]string{user.Keys[0]: "Inactive", user.Keys[1]: "Active"}, keys); diff != "" {
		t.Errorf("the named key and no other is inactive: %s", diff)
	}
	decide(t, finding.Incident(), world.ToDestroy, "approve", user.Name, "alice", "bob")
	if run := settle(t, finding); run.Ending() != "Eradicated" {
		t.Errorf("approved: %s", show(run))
	}
	if diff := cmp.Diff(map[string]string{user.Keys[1]: "Active"}, must(member.Keys(t.Context(), user.Name))(t)); diff != "" {
		t.Errorf("the inactive key and no other is deleted: %s", diff)
	}
}

func TestEradicated(t *testing.T) {
	i := instance(t)
	finding := stolen(t, i)
	put(t, finding)
	asks(t, finding)
	isolated(t, i, true)
	if policies := must(member.RolePolicies(t.Context(), i.Role))(t); len(policies) != 2 {
		t.Errorf("the role has the policies %v, want its own and one that denies earlier sessions", policies)
	}
	if snaps := must(member.Snapshots(t.Context(), i.Volumes...))(t); len(snaps) != 2 {
		t.Errorf("snapshots %v, want one of each volume", snaps)
	}
	running(t, i, true)
	decide(t, finding.Incident(), world.ToDestroy, "approve", i.ID, "alice")
	running(t, i, true) // one is not enough
	decide(t, finding.Incident(), world.ToDestroy, "approve", i.ID, "bob")
	run := settle(t, finding)
	path(t, run, after(asked, "Eradicate", "Changed?", "CloseEradicated", "Eradicated")...)
	if got, want := transitions(run), 10+2*4+2*1; got != want {
		t.Errorf("%d transitions, want 10 + 2c + 2e = %d", got, want)
	}
	running(t, i, false)
	want := map[string]incident.Outcome{"isolate-instance": "applied", "snapshot-volumes": "applied", "revoke-sessions": "applied", "notify": "applied", "terminate-instance": "applied"}
	if diff := cmp.Diff(want, outcomes(t, finding.Incident())); diff != "" {
		t.Error(diff)
	}
	standing(t, finding.Incident(), incident.Contained, incident.EndEradicated)
	quiet(t, finding.Incident(), world.Queues...)
}

func TestAlreadyHandled(t *testing.T) {
	_, finding := public(t)
	put(t, finding)
	settle(t, finding)
	since := time.Now()
	put(t, finding)
	run := must(hub.End(t.Context(), must(hub.Started(t.Context(), finding.ID(), 2))(t)))(t)
	path(t, run, "ClassifyFinding", "Disposition?", "AlreadyHandled")
	if got := transitions(run); got != 3 {
		t.Errorf("%d transitions, want 3", got)
	}
	unchanged(t, since, finding.Incident())
}

func TestRecorded(t *testing.T) {
	since := time.Now()
	finding := sample(t, "guardduty-port-probe")
	put(t, finding)
	path(t, settle(t, finding), "ClassifyFinding", "Disposition?", "Recorded")
	standing(t, finding.Incident(), incident.Recorded, incident.EndRecorded)

	// what only told people contained nothing, and does not say so
	told := sample(t, "guardduty-unknown-type")
	put(t, told)
	path(t, settle(t, told), "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseRecorded", "Recorded")
	if n := must(hub.Notices(t.Context(), told.Incident()))(t); len(n) != 1 {
		t.Errorf("%d notices, want 1", len(n))
	}
	unchanged(t, since, finding.Incident(), told.Incident())
}

func TestPlanned(t *testing.T) {
	settings(t, func(g *setting.Guard) { g.Mode = setting.Plan })
	i, since := instance(t), time.Now()
	finding := stolen(t, i)
	put(t, finding)
	path(t, settle(t, finding), "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "ClosePlanned", "Planned")
	isolated(t, i, false)
	unchanged(t, since, finding.Incident())
	if got := outcomes(t, finding.Incident())["isolate-instance"]; got != incident.Planned {
		t.Errorf("isolate-instance is %s, want planned", got)
	}
	if s := must(member.Snapshots(t.Context(), i.Volumes...))(t); len(s) > 0 {
		t.Errorf("snapshots %v although only planned", s)
	}
}

func TestSwitchedOff(t *testing.T) {
	settings(t, func(g *setting.Guard) { g.Mode = setting.Off })
	i, since := instance(t), time.Now()
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	decide(t, finding.Incident(), world.ToDestroy, "approve", i.ID, "alice", "bob")
	check(t, hub.Sweep(t.Context()))
	// approved, and yet nothing is destroyed: there is no evidence, because nothing was kept
	arn := must(hub.Started(t.Context(), finding.ID(), 1))(t)
	if run := must(hub.Run(t.Context(), arn))(t); run.Ending() != "RequestApproval" {
		t.Errorf("without evidence: %s", show(run))
	}
	running(t, i, true)
	isolated(t, i, false)
	unchanged(t, since, finding.Incident())
}

func TestSuperseded(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	first := asks(t, finding)
	put(t, finding.Set(9.5, "severity").At(time.Now())) // the severity rises to CRITICAL: the next episode
	second := must(hub.Started(t.Context(), finding.ID(), 2))(t)
	must(hub.Asked(t.Context(), finding.Incident(), 2))(t)
	check(t, hub.Sweep(t.Context()))
	path(t, must(hub.End(t.Context(), first.ARN))(t), after(asked, "CloseSuperseded", "Superseded")...)

	meta := must(hub.Meta(t.Context(), finding.Incident()))(t)
	if meta.Episode != 2 || meta.Owner != second {
		t.Errorf("episode %d of %s, want 2 of %s", meta.Episode, meta.Owner, second)
	}
	if a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t); a.Value.Status != approval.StatusSuperseded {
		t.Errorf("the first request is %s", a.Value.Status)
	}
	running(t, i, true)

	// whoever resumes in the place of an execution that has it no more changes nothing
	since := time.Now()
	resume, err := json.Marshal(map[string]any{"resume": incident.Resume{Incident: finding.Incident(), Episode: 1, Run: 99, From: first.ARN, Reason: "too late"}})
	check(t, err)
	path(t, must(hub.End(t.Context(), must(hub.Start(t.Context(), name("late"), string(resume)))(t)))(t), "ClassifyFinding", "Disposition?", "Superseded")
	unchanged(t, since, finding.Incident())
	decide(t, finding.Incident(), "CRITICAL", "reject", i.ID, "bob")
}

func TestApprovalRejected(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "bob")
	run := settle(t, finding)
	path(t, run, after(asked, "CloseRejected", "ApprovalRejected")...)
	running(t, i, true)
	isolated(t, i, true)
	standing(t, finding.Incident(), incident.Contained, incident.EndApprovalRejected)
}

func TestApprovalExpired(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	// instead of waiting for a day, the request is made a day old
	_, err := ledger.Update(t.Context(), hub.Store, approval.Key(finding.Incident(), 1), func(it *ledger.Item[approval.Approval]) error {
		it.Value.Expires = time.Now().Add(-time.Minute)
		return nil
	})
	check(t, err)
	check(t, hub.Sweep(t.Context()))
	path(t, settle(t, finding), after(asked, "CloseExpired", "ApprovalExpired")...)
	running(t, i, true)
	isolated(t, i, true)
	standing(t, finding.Incident(), incident.Contained, incident.EndApprovalExpired)
}

func TestNeedsPersonThenRedrive(t *testing.T) {
	restore := must(world.TakeAction(t.Context(), member.IAM, "SecurityRemediationRole-Data", "s3:PutBucketPublicAccessBlock"))(t)
	t.Cleanup(func() { check(t, restore(context.Background())) })
	bucket, finding := public(t)
	put(t, finding)
	run := settle(t, finding)
	path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "DeadLetterIncident", "NeedsPerson")
	if run.Entered("DeadLetterAction") != 1 || run.Error != "NeedsPerson" || !strings.Contains(run.Cause, "block-public-access") {
		t.Errorf("%s", show(run))
	}
	standing(t, finding.Incident(), incident.Open, incident.EndNeedsPerson)
	for _, q := range []string{world.Actions, world.Incident} {
		var l incident.DeadLetter
		check(t, json.Unmarshal([]byte(letter(t, q, finding.Incident())), &l))
		if l.Incident != finding.Incident() || l.Execution != run.ARN || l.Error == "" || l.Cause == "" {
			t.Errorf("%s has %+v", q, l)
		}
	}
	check(t, restore(t.Context()))
	out := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", finding.Incident()))(t)
	t.Logf("redrive says: %s", out)
	again := must(hub.End(t.Context(), must(hub.Started(t.Context(), finding.Incident(), 1))(t)))(t)
	if again.Ending() != "Contained" {
		t.Errorf("after the redrive: %s", show(again))
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	standing(t, finding.Incident(), incident.Contained, incident.EndContained)

	// a second redrive of the same finds nothing to do
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", "--all"))(t)
	if runs := must(hub.About(t.Context(), finding.Incident()))(t); len(runs) != 1 {
		t.Errorf("%d executions resumed it, want 1", len(runs))
	}
	for _, q := range []string{world.Actions, world.Incident} {
		quiet(t, finding.Incident(), q)
	}
}

// What the guard refuses people may set aside: one person, at once.
func TestProtectedThenOverridden(t *testing.T) {
	i := instance(t)
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "protect", i.ARN))(t)
	t.Cleanup(func() {
		_, err := platform.Run(context.Background(), world.HubAccount, "scripts/firebreak", "unprotect", i.ARN)
		check(t, err)
	})
	since := time.Now()
	finding := mining(t, i)
	put(t, finding)
	first := asks(t, finding)
	isolated(t, i, false)
	unchanged(t, since, finding.Incident())
	if r := must(hub.Result(t.Context(), finding.Incident(), "isolate-instance"))(t); r.Outcome != incident.Refused || r.Override != "protected" || !strings.Contains(r.Reason, i.ARN) {
		t.Errorf("isolate-instance: %+v", r)
	}
	decide(t, finding.Incident(), world.ToContain, "approve", i.ID, "alice")
	run := must(hub.End(t.Context(), must(hub.Started(t.Context(), `"incident":"`+finding.Incident(), 1))(t)))(t)
	if run.Name != finding.Incident()+"-e1-r1" || run.Ending() != "Contained" {
		t.Errorf("the override started %s", show(run))
	}
	isolated(t, i, true)
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "bob")
	path(t, must(hub.End(t.Context(), first.ARN))(t), after(asked, "CloseRejected", "ApprovalRejected")...)
	running(t, i, true)
}

// What people approved is not what stands there any more: nothing is destroyed, and they are asked anew, once.
func TestChangedAsksAgain(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	check(t, member.AddVolume(t.Context(), i.ID))
	decide(t, finding.Incident(), world.ToDestroy, "approve", i.ID, "alice", "bob")
	arn := must(hub.Started(t.Context(), finding.ID(), 1))(t)
	must(hub.Asked(t.Context(), finding.Incident(), 2))(t)
	running(t, i, true)
	second := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 2))(t).Value
	if second.Round != 2 || second.Status != approval.StatusOpen {
		t.Errorf("the second request is round %d, %s", second.Round, second.Status)
	}
	if changed := strings.Join(second.Steps[0].Changed, "\n"); !strings.Contains(changed, "volumes: was ") {
		t.Errorf("the second request says %q of the difference", changed)
	}
	check(t, world.Until(t.Context(), 20*time.Second, "a second invitation", func(ctx context.Context) (bool, error) {
		all, err := hub.Invitations(ctx, finding.Incident())
		return len(all) == 4, err
	}))
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice") // the latest link
	run := must(hub.End(t.Context(), arn))(t)
	path(t, run, after(asked, "Eradicate", "Changed?", "RequestApproval", "Approved?", "CloseRejected", "ApprovalRejected")...)
	if got, want := transitions(run), 8+2*3+2*1+4; got != want {
		t.Errorf("%d transitions, want %d", got, want)
	}
	running(t, i, true)
	isolated(t, i, true)
}

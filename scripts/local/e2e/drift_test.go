//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/scripts/local/world"
)

// watched runs the watch now. How many incidents it finds undone is the test's own business only where it names them.
func watched(t *testing.T) (report struct{ Incidents, Still, Undone, Unseen int }) {
	t.Helper()
	check(t, json.Unmarshal(must(hub.WatchContainment(t.Context()))(t), &report))
	return report
}

// What its owner undoes after it was contained is told, once, and is not called contained any more; nothing is changed because of that.
// The operator's command contains it again, and what is undone after that is told again.
func TestWhatSomebodyUndoesLaterIsNotCalledContained(t *testing.T) {
	bucket, finding := public(t)
	_, other := public(t)
	put(t, finding, other)
	for _, f := range []world.Event{finding, other} {
		path(t, settle(t, f), "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
	}
	id := finding.Incident()
	told := func() int { return len(must(hub.Notices(t.Context(), id+" is not contained any more"))(t)) }
	events := func() (n int) {
		for _, e := range must(hub.Timeline(t.Context(), id))(t) {
			if e.Who == "watch-containment" && strings.Contains(e.What, "BlockPublicAcls: none -> true") {
				n++
			}
		}
		return n
	}
	if r := watched(t); r.Incidents < 2 || r.Still < 2 || told() != 0 {
		t.Fatalf("nothing is undone yet: %+v, told %d times", r, told())
	}
	standing(t, id, incident.Contained, incident.EndContained)

	check(t, member.Unblock(t.Context(), bucket))
	since := time.Now()
	for n := range 2 {
		watched(t)
		if told() != 1 || events() != 1 {
			t.Errorf("after look %d people were told %d times, the timeline has it %d times", n+1, told(), events())
		}
	}
	standing(t, id, incident.Open, incident.EndNeedsPerson)
	standing(t, other.Incident(), incident.Contained, incident.EndContained)
	unchanged(t, since, id)
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 0 {
		t.Errorf("%d flags are on: the watch is to change nothing", on)
	}
	if shown := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "show", id))(t); !strings.Contains(shown, "not contained any more") || !strings.Contains(shown, "redrive "+id) {
		t.Errorf("show does not say what was undone and what to do:\n%s", shown)
	}

	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", id))(t)
	check(t, world.Until(t.Context(), 60*time.Second, id+" contained again", func(ctx context.Context) (bool, error) {
		m, err := hub.Meta(ctx, id)
		return m.Status == incident.Contained && m.Ending == incident.EndContained, err
	}))
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	check(t, world.Until(t.Context(), 60*time.Second, "what its owner undoes again is told again", func(ctx context.Context) (bool, error) {
		if err := member.Unblock(ctx, bucket); err != nil { // the execution has ended then, or this look leaves it for the next
			return false, err
		}
		_, err := hub.WatchContainment(ctx)
		return told() == 2, err
	}))
	if events() != 2 {
		t.Errorf("the timeline has it %d times", events())
	}
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "close", id, "--why", "it is a website", "--yes"))(t)
	standing(t, id, incident.Closed, incident.EndNeedsPerson)
}

// What cannot be looked at is neither called undone nor contained: people are told of the account.
func TestWhatCannotBeLookedAtIsTold(t *testing.T) {
	bucket, finding := public(t)
	put(t, finding)
	path(t, settle(t, finding), "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "CloseContained", "Contained")
	before := watched(t).Unseen // what other tests have left
	restore := must(world.TakeAction(t.Context(), member.IAM, "SecurityRemediationRole-Read", "s3:GetBucketPublicAccessBlock"))(t)
	t.Cleanup(func() { check(t, restore(context.Background())) })
	for range 2 {
		if r := watched(t); r.Unseen <= before {
			t.Errorf("%d were not seen before: %+v", before, r)
		}
	}
	notices := must(hub.Notices(t.Context(), "cannot see whether account "+world.MemberAccount))(t)
	if len(notices) != 1 {
		t.Errorf("people were told %q", notices)
	}
	check(t, restore(t.Context()))
	standing(t, finding.Incident(), incident.Contained, incident.EndContained)
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
}

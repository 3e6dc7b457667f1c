//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/scripts/local/world"
)

// seen is what the watch reports.
type seen struct{ Incidents, Still, Undone, Unseen int }

// watched runs the watch now. How much it finds is the test's own business only where it names incidents.
func watched(t *testing.T) (report seen) {
	t.Helper()
	check(t, json.Unmarshal(must(hub.WatchContainment(t.Context()))(t), &report))
	return report
}

// watches runs the watch until it has seen what is waited for: the clock's own run may be at it, and then that one goes on.
func watches(t *testing.T, what string, enough func(seen) bool) {
	t.Helper()
	check(t, world.Until(t.Context(), 60*time.Second, what, func(context.Context) (bool, error) { return enough(watched(t)), nil }))
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
	// told waits until people have been told so often: a message takes its time.
	told := func(n int) {
		t.Helper()
		check(t, world.Until(t.Context(), 20*time.Second, fmt.Sprintf("people told %d times", n), func(ctx context.Context) (bool, error) {
			all, err := hub.Notices(ctx, id+" is not contained any more")
			if len(all) > n {
				err = fmt.Errorf("people were told %d times, not %d", len(all), n)
			}
			return len(all) == n, err
		}))
	}
	events := func() (n int) {
		for _, e := range must(hub.Timeline(t.Context(), id))(t) {
			if e.Who == "watch-containment" && strings.Contains(e.What, "BlockPublicAcls: none -> true") {
				n++
			}
		}
		return n
	}
	watches(t, "both incidents still contained", func(r seen) bool { return r.Incidents >= 2 && r.Still >= 2 })
	told(0)
	standing(t, id, incident.Contained, incident.EndContained)

	check(t, member.Unblock(t.Context(), bucket))
	since := time.Now()
	watches(t, "what is undone on record", func(seen) bool { return events() > 0 })
	told(1)
	watches(t, "a second look", func(r seen) bool { return r.Incidents > 0 })
	if told(1); events() != 1 {
		t.Errorf("the timeline has it %d times", events())
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
		return events() == 2, err
	}))
	if told(2); events() != 2 {
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
		watches(t, fmt.Sprintf("more than %d steps not seen", before), func(r seen) bool { return r.Unseen > before })
	}
	told := func(ctx context.Context) ([]world.Notice, error) {
		return hub.Notices(ctx, "cannot see whether account "+world.MemberAccount)
	}
	check(t, world.Until(t.Context(), 20*time.Second, "people told of the account", func(ctx context.Context) (bool, error) {
		notices, err := told(ctx)
		return len(notices) > 0, err
	}))
	check(t, restore(t.Context()))
	standing(t, finding.Incident(), incident.Contained, incident.EndContained)
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 4 {
		t.Errorf("%d of 4 flags are on", on)
	}
	if notices := must(told(t.Context()))(t); len(notices) != 1 {
		t.Errorf("people were told %q", notices)
	}
}

// What stands is not called undone, whatever contained it: sessions denied since a date, keys deactivated and one of them deleted, an
// instance cut off. The interface that gets its groups back is, and that alone is done again.
func TestWhatStandsIsStillContained(t *testing.T) {
	i := instance(t)
	groups := must(member.Groups(t.Context(), i.ID))(t)
	user, keys := misused(t)
	theft := stolen(t, i)
	put(t, theft, keys)
	asks(t, theft)
	asks(t, keys)
	reject(t, i, theft)
	decide(t, keys.Incident(), world.ToDestroy, "approve", user.Name, "alice", "bob")
	if run := settle(t, keys); run.Ending() != "Eradicated" {
		t.Fatal(show(run))
	}
	watches(t, "sessions, interfaces, keys and a quarantine as they were", func(r seen) bool { return r.Still >= 4 })
	standing(t, theft.Incident(), incident.Contained, incident.EndApprovalRejected)
	standing(t, keys.Incident(), incident.Contained, incident.EndEradicated)

	for eni, before := range groups {
		check(t, member.SetGroups(t.Context(), eni, before...))
	}
	watches(t, theft.Incident()+" undone", func(seen) bool {
		return must(hub.Meta(t.Context(), theft.Incident()))(t).Status == incident.Open
	})
	if meta := must(hub.Meta(t.Context(), theft.Incident()))(t); !strings.Contains(meta.Needs, "isolate-instance") || strings.Contains(meta.Needs, "revoke-sessions") {
		t.Errorf("the incident is %s: %s", meta.Status, meta.Needs)
	}
	standing(t, keys.Incident(), incident.Contained, incident.EndEradicated)
	if said := must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", theft.Incident()))(t); !strings.Contains(said, "isolate-instance of "+theft.Incident()+" starts again") {
		t.Errorf("redrive says %s", said)
	}
	check(t, world.Until(t.Context(), 60*time.Second, theft.Incident()+" contained again", func(ctx context.Context) (bool, error) {
		m, err := hub.Meta(ctx, theft.Incident())
		return m.Status == incident.Contained && m.Ending == incident.EndContained, err
	}))
	isolated(t, i, true)
}

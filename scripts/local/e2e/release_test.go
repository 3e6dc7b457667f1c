//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/scripts/local/world"

	"github.com/google/go-cmp/cmp"
)

// release types the operator's command. An error is that the exit code is not 0.
func release(t testing.TB, id string, more ...string) (string, error) {
	t.Helper()
	return platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", append([]string{"release", id}, more...)...)
}

// A person takes back everything: the resources are as they were, the incident is closed, who waits for people is let go, and
// nothing contains it again without a person.
func TestReleased(t *testing.T) {
	i := instance(t)
	groups := must(member.Groups(t.Context(), i.ID))(t)
	policies := must(member.RolePolicies(t.Context(), i.Role))(t)
	finding := stolen(t, i)
	id := finding.Incident()
	put(t, finding)
	asks(t, finding)
	isolated(t, i, true)

	since := time.Now()
	planned := must(release(t, id, "--plan"))(t)
	for _, words := range []string{"isolate-instance", "PLANNED", "revoke-sessions", "KEPT: snapshot-volumes has no undo", "Planned:"} {
		if !strings.Contains(planned, words) {
			t.Errorf("the plan does not say %q:\n%s", words, planned)
		}
	}
	isolated(t, i, true)
	unchanged(t, since, id)

	told := must(release(t, id, "--why", "a false alarm"))(t)
	if !strings.Contains(told, "\nReleased: ") {
		t.Errorf("it says\n%s", told)
	}
	isolated(t, i, false)
	if diff := cmp.Diff(groups, must(member.Groups(t.Context(), i.ID))(t)); diff != "" {
		t.Errorf("groups of the interfaces (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(policies, must(member.RolePolicies(t.Context(), i.Role))(t)); diff != "" {
		t.Errorf("policies of the role (-before +after):\n%s", diff)
	}
	meta := must(hub.Meta(t.Context(), id))(t)
	if meta.Status != incident.Closed || meta.Ending != incident.EndReleased || meta.Needs != "" {
		t.Errorf("the incident is %s, %s, needs %q", meta.Status, meta.Ending, meta.Needs)
	}
	record := false
	for _, e := range must(hub.Timeline(t.Context(), id))(t) {
		record = record || strings.Contains(e.Why, "asked by arn:aws:") && strings.Contains(e.Why, "a false alarm")
	}
	if !record {
		t.Error("the record does not say who asked and why")
	}
	notices := must(hub.Notices(t.Context(), "release Released"))(t)
	notices = slices.DeleteFunc(notices, func(n world.Notice) bool { return !strings.Contains(n.Subject+n.Text, id) })
	if len(notices) != 1 {
		t.Errorf("people were told %d times: %q", len(notices), notices)
	}
	check(t, hub.Sweep(t.Context()))
	path(t, settle(t, finding), after(asked, "CloseSuperseded", "Superseded")...)
	running(t, i, true)

	again := mining(t, i)
	put(t, again)
	asks(t, again)
	for _, r := range must(hub.Meta(t.Context(), again.Incident()))(t).Outcomes {
		if r.Action == "isolate-instance" && (r.Outcome != incident.Refused || r.Override != "released") {
			t.Errorf("what was released a moment ago: %+v", r)
		}
	}
	isolated(t, i, false)
	quiet(t, id, world.Queues...)
}

// What somebody has changed since is left alone and shown; a person's force restores it.
func TestReleaseOfWhatWasChanged(t *testing.T) {
	bucket, finding := public(t)
	put(t, finding)
	settle(t, finding)
	check(t, member.Unblock(t.Context(), bucket))
	out, err := release(t, finding.Incident())
	if err == nil || !strings.Contains(fmt.Sprint(out, err), "Firebreak left true") || !strings.Contains(fmt.Sprint(out, err), "Drifted:") {
		t.Errorf("error %v:\n%s", err, out)
	}
	if m := must(hub.Meta(t.Context(), finding.Incident()))(t); m.Status == incident.Closed || !strings.Contains(m.Needs, "--force") {
		t.Errorf("the incident is %s, needs %q", m.Status, m.Needs)
	}
	must(release(t, finding.Incident(), "--force"))(t)
	if on, err := member.Blocked(t.Context(), bucket); on != 0 || err != nil {
		t.Errorf("%d flags are on (%v), want those of before: none", on, err)
	}
}

// A right that is missing fails the undo into a dead letter; mended and redriven, the release is whole.
func TestAReleaseThatFailsIsRedriven(t *testing.T) {
	bucket, finding := public(t)
	put(t, finding)
	settle(t, finding)
	id := finding.Incident()
	restore := must(world.TakeAction(t.Context(), member.IAM, "SecurityRemediationRole-Data", "s3:PutBucketPublicAccessBlock"))(t)
	defer func() { check(t, restore(t.Context())) }()
	if out, err := release(t, id); err == nil || !strings.Contains(fmt.Sprint(out, err), "NeedsPerson: Undone 0/1") {
		t.Errorf("error %v:\n%s", err, out)
	}
	var l incident.DeadLetter
	check(t, json.Unmarshal([]byte(letter(t, world.Actions, id)), &l))
	if l.Layer != "release" || l.Error != "Denied" || l.Step == nil || !strings.Contains(l.Cause, "done: nothing; not done: ") {
		t.Errorf("the letter: %+v", l)
	}
	check(t, restore(t.Context()))
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", id))(t)
	check(t, world.Until(t.Context(), 30*time.Second, "the release of "+id, func(ctx context.Context) (bool, error) {
		m, err := hub.Meta(ctx, id)
		return m.Status == incident.Closed, err
	}))
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 0 {
		t.Errorf("%d flags are on, want those of before: none", on)
	}
	if h := must(hub.Hold(t.Context(), "arn:aws:s3:::"+bucket, "block-public-access"))(t); h.Phase != ledger.Released {
		t.Errorf("the hold is %s", h.Phase)
	}
	quiet(t, id, world.Queues...)
}

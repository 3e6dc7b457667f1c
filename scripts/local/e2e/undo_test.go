//go:build e2e

package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"firebreak/lib/incident"
	"firebreak/scripts/local/world"

	"github.com/google/go-cmp/cmp"
)

// undo asks an action's function to take its containment of a target back.
func undo(t *testing.T, id, action, target string) incident.Result {
	t.Helper()
	meta := must(hub.Meta(t.Context(), id))(t)
	for _, step := range meta.Plan.Contain {
		if step.Action != action || step.Target != target {
			continue
		}
		answer := must(hub.Invoke(t.Context(), "firebreak-"+action, incident.Request{
			Mode: incident.Undo, Incident: meta.Ref(), Step: step,
			Execution: incident.Execution{ARN: meta.Owner, Start: time.Now()}, State: incident.State{Name: "Undo"},
		}))(t)
		var r incident.Result
		check(t, json.Unmarshal(answer, &r))
		return r
	}
	t.Fatalf("%s has no step %s %s", id, action, target)
	return incident.Result{}
}

// What was contained can be released, to the exact earlier state.
func TestWhatWasContainedIsRestored(t *testing.T) {
	i := instance(t)
	groups := must(member.Groups(t.Context(), i.ID))(t)
	finding := stolen(t, i)
	put(t, finding)
	asks(t, finding)
	isolated(t, i, true)
	if r := undo(t, finding.Incident(), "isolate-instance", i.ARN); r.Outcome != incident.Restored {
		t.Errorf("isolate-instance: %+v", r)
	}
	if diff := cmp.Diff(groups, must(member.Groups(t.Context(), i.ID))(t)); diff != "" {
		t.Errorf("the groups are not as before: %s", diff)
	}
	role := "arn:aws:iam::" + world.MemberAccount + ":role/" + i.Role
	if r := undo(t, finding.Incident(), "revoke-sessions", role); r.Outcome != incident.Restored {
		t.Errorf("revoke-sessions: %+v", r)
	}
	if diff := cmp.Diff([]string{"own"}, must(member.RolePolicies(t.Context(), i.Role))(t)); diff != "" {
		t.Errorf("the role's policies are not as before: %s", diff)
	}
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")

	user, key := misused(t)
	put(t, key)
	asks(t, key)
	if r := undo(t, key.Incident(), "deactivate-keys", user.ARN); r.Outcome != incident.Restored {
		t.Errorf("deactivate-keys: %+v", r)
	}
	for k, status := range must(member.Keys(t.Context(), user.Name))(t) {
		if status != "Active" {
			t.Errorf("key %s is %s", k, status)
		}
	}
	decide(t, key.Incident(), world.ToDestroy, "reject", user.Name, "bob")

	bucket, open := public(t)
	put(t, open)
	settle(t, open)
	if r := undo(t, open.Incident(), "block-public-access", "arn:aws:s3:::"+bucket); r.Outcome != incident.Restored {
		t.Errorf("block-public-access: %+v", r)
	}
	if on := must(member.Blocked(t.Context(), bucket))(t); on != 0 {
		t.Errorf("%d flags are still on", on)
	}
}

// Somebody changed the resource since: nothing is restored over it, and the difference is said.
func TestWhatSomebodyChangedSinceIsNotRestored(t *testing.T) {
	i := instance(t)
	finding := mining(t, i)
	put(t, finding)
	asks(t, finding)
	forensics := must(member.Group(t.Context(), i.VPC, name("forensics"), 22))(t)
	check(t, member.SetGroups(t.Context(), i.Interfaces[0], forensics))
	r := undo(t, finding.Incident(), "isolate-instance", i.ARN)
	if r.Outcome != incident.Drifted || len(r.Changes) == 0 {
		t.Errorf("%+v, want drifted with the difference", r)
	}
	if got := must(member.Groups(t.Context(), i.ID))(t)[i.Interfaces[0]]; !cmp.Equal(got, []string{forensics}) {
		t.Errorf("the groups are %v", got)
	}
	decide(t, finding.Incident(), world.ToDestroy, "reject", i.ID, "alice")
}

// Two incidents hold an instance: releasing one keeps it isolated, releasing the other restores it.
func TestTheLastHolderReleases(t *testing.T) {
	i := instance(t)
	groups := must(member.Groups(t.Context(), i.ID))(t)
	one, two := mining(t, i), mining(t, i)
	for _, f := range []world.Event{one, two} {
		put(t, f)
		asks(t, f)
	}
	if r := undo(t, one.Incident(), "isolate-instance", i.ARN); r.Outcome != incident.Held {
		t.Errorf("the first: %+v, want held", r)
	}
	isolated(t, i, true)
	if r := undo(t, two.Incident(), "isolate-instance", i.ARN); r.Outcome != incident.Restored {
		t.Errorf("the last: %+v, want restored", r)
	}
	if diff := cmp.Diff(groups, must(member.Groups(t.Context(), i.ID))(t)); diff != "" {
		t.Errorf("the groups are not as before: %s", diff)
	}
	// released a moment ago: the guard asks instead of containing it again
	three := mining(t, i)
	put(t, three)
	asks(t, three)
	isolated(t, i, false)
	if r := must(hub.Result(t.Context(), three.Incident(), "isolate-instance"))(t); r.Outcome != incident.Refused || r.Override != "released" {
		t.Errorf("after the release: %+v", r)
	}
	for _, f := range []world.Event{one, two} {
		decide(t, f.Incident(), world.ToDestroy, "reject", i.ID, "alice")
	}
	decide(t, three.Incident(), world.ToDestroy, "reject", i.ID, "alice")
}

//go:build e2e

package e2e

import (
	"testing"

	"firebreak/lib/incident"

	"github.com/google/go-cmp/cmp"
)

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
	meta := must(hub.Meta(t.Context(), finding.Incident()))(t)
	if meta.Status != incident.Contained || meta.Ending != incident.EndContained {
		t.Errorf("incident is %s, %s", meta.Status, meta.Ending)
	}
}

func TestEradicated(t *testing.T) {
	i := instance(t)
	finding := stolen(t, i)
	put(t, finding)
	asks(t, finding)
	isolated(t, i, true)
	if state, err := member.InstanceState(t.Context(), i.ID); state != "running" {
		t.Errorf("before anybody decided the instance is %s (%v)", state, err)
	}
	decide(t, finding.Incident(), "APPROVAL DESTROYS", "approve", i.ID, "alice", "bob")
	run := settle(t, finding)
	path(t, run, "ClassifyFinding", "Disposition?", "Contain", "NeedsApproval?", "RequestApproval", "Approved?", "Eradicate", "Changed?", "CloseEradicated", "Eradicated")
	if got, want := transitions(run), 10+2*4+2*1; got != want {
		t.Errorf("%d transitions, want 10 + 2c + 2e = %d", got, want)
	}
	if state, err := member.InstanceState(t.Context(), i.ID); state != "terminated" && state != "shutting-down" {
		t.Errorf("the instance is %s (%v)", state, err)
	}
	want := map[string]incident.Outcome{"isolate-instance": "applied", "snapshot-volumes": "applied", "revoke-sessions": "applied", "notify": "applied", "terminate-instance": "applied"}
	if diff := cmp.Diff(want, outcomes(t, finding.Incident())); diff != "" {
		t.Error(diff)
	}
}

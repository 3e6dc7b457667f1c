//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
	"firebreak/scripts/local/world"
)

// The budget is spent: the step is parked and people are asked. One decision raises the budget and starts what it parked.
func TestARaisedBudgetStartsWhatItParked(t *testing.T) {
	bucket, finding := public(t)
	settings(t, func(g *setting.Guard) { g.Budget, g.Reserve = 0, 0 })
	put(t, finding)
	first := settle(t, finding)
	if first.Ending() != "NeedsPerson" {
		t.Errorf("with nothing to spend it ended %s", show(first))
	}
	if on, err := member.Blocked(t.Context(), bucket); on != 0 || err != nil {
		t.Errorf("%d flags are on (%v)", on, err)
	}
	asked := must(hub.Asked(t.Context(), finding.Incident(), 1))(t)
	if asked.Kind != approval.KindOverride || asked.Steps[0].Rule != "budget" {
		t.Errorf("people are asked for %+v", asked)
	}
	t.Cleanup(func() { // the hour is shared with the other tests
		k := guard.RaiseKey(world.MemberAccount, "block-public-access", time.Now())
		it := must(ledger.Load[guard.Raise](context.Background(), hub.Store, k))(t)
		if it.Exists() {
			check(t, hub.Store.Delete(context.Background(), k, it.Version))
		}
	})
	// All tests of the hour have added to the set: the raise goes above it.
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "budget", world.MemberAccount, "block-public-access", "--raise", "1000", "--why", "a fleet was hit"))(t)
	run := must(hub.End(t.Context(), must(hub.Started(t.Context(), `"incident":"`+finding.Incident(), 1))(t)))(t)
	if run.Ending() != "Contained" {
		t.Errorf("what was parked: %s", show(run))
	}
	if on, err := member.Blocked(t.Context(), bucket); on != 4 || err != nil {
		t.Errorf("%d of 4 flags are on (%v)", on, err)
	}
	standing(t, finding.Incident(), incident.Contained, incident.EndContained)
	must(platform.Run(t.Context(), world.HubAccount, "scripts/firebreak", "redrive", finding.Incident()))(t) // its letter: nothing is left
	quiet(t, finding.Incident(), world.Queues...)
	if a := must(approval.Load(t.Context(), hub.Store, finding.Incident(), 1))(t); a.Value.Status != approval.StatusCancelled {
		t.Errorf("the request is %s", a.Value.Status)
	}
}

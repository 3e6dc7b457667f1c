package guard

import (
	"context"
	"errors"
	"strings"
	"testing"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

func raise(t *testing.T, s ledger.Store, by int) {
	t.Helper()
	_, err := ledger.Update(t.Context(), s, RaiseKey("222222222222", "isolate-instance", now), func(it *ledger.Item[Raise]) error {
		it.Value.By += by
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// One decision raises the budget of an account, an action and an hour, and of nothing else.
func TestARaisedBudgetLetsThatManyMoreThrough(t *testing.T) {
	store, set := ledger.NewMemory(), acting()
	set.Budget, set.Reserve = 3, 1
	allowed := func(from, to int, band incident.Band) (yes int) {
		t.Helper()
		for n := from; n < to; n++ {
			no, err := Check(t.Context(), store, set, question(t, store, instance(n), band))
			if err != nil {
				t.Fatal(err)
			}
			if no == nil {
				yes++
			} else if no.Rule != Budget {
				t.Fatalf("refused by %s", no.Rule)
			}
		}
		return yes
	}
	if got := allowed(0, 10, incident.High); got != 2 {
		t.Fatalf("%d of 10 were allowed, want 2: 3 less the 1 kept for CRITICAL", got)
	}
	raise(t, store, 4)
	if got := allowed(0, 10, incident.High); got != 6 {
		t.Errorf("raised by 4, %d are allowed, want 6", got)
	}
	if got := allowed(10, 20, incident.Critical); got != 1 {
		t.Errorf("%d CRITICAL ones are allowed, want the 1 that is kept for them", got)
	}
	raise(t, store, 1)
	if got := allowed(20, 30, incident.Critical); got != 1 {
		t.Errorf("raised by 1 more, %d CRITICAL ones are allowed, want 1", got)
	}
	q := question(t, store, instance(40), incident.High)
	q.Now = now.AddDate(0, 0, 1)
	set.Budget, set.Reserve = 0, 0
	if no, err := Check(t.Context(), store, set, q); err != nil || no == nil || no.Rule != Budget {
		t.Errorf("the raise counts the next day too: %v, %v", no, err)
	}
}

// The hour's set is of what is changed, not of who asks: another incident about the same resource costs nothing.
func TestTheSameResourceCountsOnce(t *testing.T) {
	store, set := ledger.NewMemory(), acting()
	set.Budget, set.Reserve = 1, 0
	for _, id := range []string{"INC-A", "INC-B"} {
		q := question(t, store, instance(1), incident.High)
		_, err := ledger.Update(t.Context(), store, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
			it.Value.ID, it.Value.Status, it.Value.Finding.Account, it.Value.Plan.Contain = id, incident.Open, "222222222222", []incident.Step{q.Request.Step}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		q.Request.Incident.ID = id
		if no, err := Check(t.Context(), store, set, q); no != nil || err != nil {
			t.Errorf("%s: %v, %v", id, no, err)
		}
	}
}

func TestARaiseThatCannotBeReadRaisesNothing(t *testing.T) {
	store, set := ledger.NewMemory(), acting()
	set.Budget, set.Reserve = 0, 0
	q := question(t, store, instance(1), incident.High)
	store.Fail = func(op string, k ledger.Key) error {
		if op == "get" && strings.HasPrefix(k.PK, "BUDGET#") {
			return errors.New("no")
		}
		return nil
	}
	if no, err := Check(context.Background(), store, set, q); no != nil || !fault.Is(err, fault.Unreadable) {
		t.Errorf("%v, %v", no, err)
	}
}

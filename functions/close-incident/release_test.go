package main

import (
	"testing"

	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// A person releases an incident while its execution waits for people: the execution is told that its request is cancelled, and
// ends clean. What it contained is not contained any more, and that is as it should be.
func TestAReleasedIncidentIsSuperseded(t *testing.T) {
	w := newWorld(t, whole)
	_, err := ledger.Update(t.Context(), w.mem, ledger.IncidentKey(id), func(it *ledger.Item[ledger.Incident]) error {
		it.Value.Status, it.Value.Ending = incident.Closed, incident.EndReleased
		it.Value.Outcomes = map[string]incident.Result{isolate.Key(): result(isolate, incident.Restored), revoke.Key(): result(revoke, incident.Held), tell.Key(): result(tell, incident.Applied)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.h.handle(t.Context(), request(incident.EndSuperseded, nil)); err != nil || got.Done != 3 {
		t.Errorf("closing %+v, %v", got, err)
	}
	if m := w.meta().Value; m.Status != incident.Closed || m.Ending != incident.EndReleased {
		t.Errorf("the incident is %s, %s", m.Status, m.Ending)
	}
}

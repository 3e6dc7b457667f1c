package outcome

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

var (
	start = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	ref   = incident.Ref{ID: "INC-A", Episode: 1}
)

func world(t *testing.T, steps ...incident.Step) *ledger.Memory {
	t.Helper()
	mem := ledger.NewMemory()
	it := ledger.Item[ledger.Incident]{Key: ledger.IncidentKey("INC-A"), Value: ledger.Incident{ID: "INC-A", Episode: 1, Status: incident.Open, Plan: incident.Plan{Contain: steps}}}
	if err := ledger.Save(t.Context(), mem, &it); err != nil {
		t.Fatal(err)
	}
	return mem
}

func TestTheNewestExecutionIsBelieved(t *testing.T) {
	step := incident.Step{Action: "a", Target: "arn:x"}
	one := func(o incident.Outcome) []incident.Result {
		return []incident.Result{{Action: "a", Target: "arn:x", Step: step.Key(), Outcome: o}}
	}
	mem := world(t, step)
	for i, tt := range []struct {
		at      int
		outcome incident.Outcome
		want    incident.Outcome
		status  incident.Status
	}{
		{0, incident.Refused, incident.Refused, incident.Open},
		{2, incident.Applied, incident.Applied, incident.Contained},
		{1, incident.Failed, incident.Applied, incident.Contained}, // began earlier, reports later
		{3, incident.Failed, incident.Failed, incident.Open},       // contained is a fact, not a memory
		{3, incident.Already, incident.Already, incident.Contained},
	} {
		m, err := Merge(t.Context(), mem, ref, incident.Execution{ARN: fmt.Sprint(i), Start: start.Add(time.Duration(tt.at) * time.Hour)}, one(tt.outcome), nil)
		if err != nil || m.Outcomes[step.Key()].Outcome != tt.want || m.Status != tt.status {
			t.Errorf("%d: %v, %s, %s", i, err, m.Outcomes[step.Key()].Outcome, m.Status)
		}
	}
}

func TestManyAtOnceLoseNothing(t *testing.T) {
	var steps []incident.Step
	for i := range 16 {
		steps = append(steps, incident.Step{Action: "a", Target: fmt.Sprintf("arn:%d", i)})
	}
	mem := world(t, steps...)
	var wg sync.WaitGroup
	for _, s := range steps {
		wg.Go(func() {
			if _, err := Merge(context.Background(), mem, ref, incident.Execution{Start: start}, []incident.Result{{Action: s.Action, Target: s.Target, Outcome: incident.Applied}}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m, err := Merge(t.Context(), mem, ref, incident.Execution{Start: start}, nil, nil)
	if err != nil || len(m.Outcomes) != 16 || m.Status != incident.Contained {
		t.Errorf("%v, %d outcomes, %s", err, len(m.Outcomes), m.Status)
	}
}

func TestOtherEpisodesAndIncidents(t *testing.T) {
	mem := world(t, incident.Step{Action: "a", Target: "arn:x"})
	called := false
	m, err := Merge(t.Context(), mem, incident.Ref{ID: "INC-A", Episode: 2}, incident.Execution{}, []incident.Result{{Action: "a", Target: "arn:x", Outcome: incident.Applied}}, func(*ledger.Incident) { called = true })
	if err != nil || called || len(m.Outcomes) != 0 {
		t.Errorf("%v, called %v, %d outcomes", err, called, len(m.Outcomes))
	}
	if _, err := Merge(t.Context(), mem, incident.Ref{ID: "INC-B", Episode: 1}, incident.Execution{}, nil, nil); !fault.Is(err, fault.BadInput) {
		t.Error(err)
	}
}

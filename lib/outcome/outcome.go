// Package outcome keeps how each step of an incident stands, over all executions of an episode, and says what is left.
package outcome

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// Told is the record INC#<id> / OUTCOMES#<episode>: which execution, by its start, told the outcome of each step. An older
// execution that reports late does not overwrite what a newer one has found.
type Told map[string]time.Time

func toldKey(id string, episode int) ledger.Key {
	return ledger.Key{PK: "INC#" + id, SK: fmt.Sprintf("OUTCOMES#%04d", episode)}
}

// Starts gives when the execution began that told the outcome of each step in that episode. Errors: Unreadable.
func Starts(ctx context.Context, s ledger.Store, id string, episode int) (Told, error) {
	it, err := ledger.Load[Told](ctx, s, toldKey(id, episode))
	return it.Value, err
}

// Merge writes an execution's results into the incident, and lets change (which may be nil) work on it in the same write. The
// incident's status becomes contained when everything is. Results of another episode than the incident's are left out, and
// change is not called. It may be called any number of times. Errors: BadInput where there is no such incident; Unreadable.
func Merge(ctx context.Context, s ledger.Store, ref incident.Ref, ex incident.Execution, results []incident.Result, change func(*ledger.Incident)) (ledger.Incident, error) {
	for {
		meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(ref.ID))
		if err != nil {
			return ledger.Incident{}, err
		}
		if !meta.Exists() {
			return ledger.Incident{}, fault.New(fault.BadInput, "there is no incident %s", ref.ID)
		}
		if meta.Value.Episode != ref.Episode {
			return meta.Value, nil
		}
		told, err := ledger.Load[Told](ctx, s, toldKey(ref.ID, ref.Episode))
		if err != nil {
			return ledger.Incident{}, err
		}
		if told.Value == nil {
			told.Value = Told{}
		}
		if meta.Value.Outcomes == nil {
			meta.Value.Outcomes = map[string]incident.Result{}
		}
		for k, r := range ByKey(meta.Value.Plan, results) {
			if ex.Start.Before(told.Value[k]) {
				continue
			}
			told.Value[k] = ex.Start
			meta.Value.Outcomes[k] = r
		}
		switch left := Left(meta.Value.Plan.Contain, meta.Value.Outcomes); {
		case !containing(meta.Value.Plan), meta.Value.Status == incident.Closed:
		case len(left) == 0:
			meta.Value.Status = incident.Contained
		case meta.Value.Status == incident.Contained:
			meta.Value.Status = incident.Open
		}
		if change != nil {
			change(&meta.Value)
		}
		ledger.Place(&meta)
		err = ledger.Save(ctx, s, &meta, &told)
		if err == nil {
			return meta.Value, nil
		}
		if !errors.Is(err, ledger.ErrConflict) || ctx.Err() != nil {
			return ledger.Incident{}, fmt.Errorf("record the outcomes of %s: %w", ref.ID, err)
		}
	}
}

// ByKey gives results by their step's key. A result that the machine wrote in place of a failed function names action and
// target only: it belongs to the first such step of the plan that no other result speaks for.
func ByKey(p incident.Plan, results []incident.Result) map[string]incident.Result {
	out := make(map[string]incident.Result, len(results))
	var unnamed []incident.Result
	for _, r := range results {
		if r.Step == "" {
			unnamed = append(unnamed, r)
			continue
		}
		out[r.Step] = r
	}
	for _, r := range unnamed {
		k := incident.Step{Action: r.Action, Target: r.Target}.Key()
		for _, s := range slices.Concat(p.Contain, p.Eradicate) {
			if _, spoken := out[s.Key()]; !spoken && s.Action == r.Action && s.Target == r.Target {
				k = s.Key()
				break
			}
		}
		r.Step = k
		out[k] = r
	}
	return out
}

// Left gives the steps that are not done: nothing is known of them, or their outcome does not count.
func Left(steps []incident.Step, outcomes map[string]incident.Result) []incident.Step {
	var out []incident.Step
	for _, s := range steps {
		if !outcomes[s.Key()].Outcome.Contains() {
			out = append(out, s)
		}
	}
	return out
}

// containing tells whether a plan contains anything; notify alone does not.
func containing(p incident.Plan) bool {
	for _, s := range p.Contain {
		if s.Action != "notify" {
			return true
		}
	}
	return false
}

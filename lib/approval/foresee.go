package approval

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/invocation"
)

// Foresee asks each eradicating step's own function, in mode plan, what it would destroy, what makes the target this very
// thing, and whether the evidence is complete. Nothing is changed. It gives the steps to be approved and, over all of them,
// Complete or what is missing. Errors: the function's own, by its name; Throttled.
func Foresee(ctx context.Context, api invocation.API, req incident.ApprovalRequest) (steps []Step, evidence string, err error) {
	var missing []string
	for _, s := range req.Steps {
		r, err := invocation.Call(ctx, api, incident.Request{Mode: incident.Look, Incident: req.Incident, Step: s, Execution: req.Execution, State: req.State})
		if err != nil {
			return nil, "", fmt.Errorf("ask what %s of %s would destroy: %w", s.Action, s.Target, err)
		}
		step, lacks := Step{Step: s, Identity: r.Identity, Destroys: r.Changes}, r.Evidence
		switch {
		case r.Outcome == incident.Gone:
			step.Destroys, lacks = []string{"nothing: it does not exist any more"}, Complete
		case r.Outcome == incident.Refused:
			step.Refusal, lacks = r.Reason, "failed: "+r.Reason
		case r.Outcome != incident.Planned:
			return nil, "", fault.New(fault.Unexpected, "%s in mode plan for %s gave the outcome %q, not planned", s.Action, s.Target, r.Outcome)
		case lacks == "":
			lacks = "pending: " + s.Action + " does not say what evidence there is"
		}
		if lacks != Complete && !slices.Contains(missing, lacks) {
			missing = append(missing, lacks)
		}
		steps = append(steps, step)
	}
	if len(missing) == 0 {
		return steps, Complete, nil
	}
	return steps, strings.Join(missing, "; "), nil
}

package approval

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// InvokeAPI is the call that asks an action's function.
type InvokeAPI interface {
	Invoke(context.Context, *lambda.InvokeInput, ...func(*lambda.Options)) (*lambda.InvokeOutput, error)
}

// Foresee asks each eradicating step's own function, in mode plan, what it would destroy, what makes the target this very
// thing, and whether the evidence is complete. Nothing is changed. It gives the steps to be approved and, over all of them,
// Complete or what is missing. Errors: the function's own, by its name; Throttled.
func Foresee(ctx context.Context, api InvokeAPI, req incident.ApprovalRequest) (steps []Step, evidence string, err error) {
	var missing []string
	for _, s := range req.Steps {
		r, err := look(ctx, api, incident.Request{Mode: incident.Look, Incident: req.Incident, Step: s, Execution: req.Execution, State: req.State})
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

func look(ctx context.Context, api InvokeAPI, req incident.Request) (incident.Result, error) {
	payload, err := json.Marshal(req)
	if err != nil {
		return incident.Result{}, err
	}
	out, err := api.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("firebreak-" + req.Step.Action), Payload: payload})
	if err != nil {
		return incident.Result{}, err
	}
	if out.FunctionError != nil {
		var failed struct {
			Type    string `json:"errorType"`
			Message string `json:"errorMessage"`
		}
		if err := json.Unmarshal(out.Payload, &failed); err != nil {
			return incident.Result{}, fault.Wrap(fault.Unexpected, err, "the function failed without saying why")
		}
		name := fault.Name(failed.Type)
		if !slices.Contains(fault.Names(), name) {
			name = fault.Unexpected
		}
		return incident.Result{}, fault.New(name, "%s: %s", failed.Type, failed.Message)
	}
	var r incident.Result
	if err := json.Unmarshal(out.Payload, &r); err != nil {
		return incident.Result{}, fault.Wrap(fault.Unexpected, err, "decode the function's answer")
	}
	return r, nil
}

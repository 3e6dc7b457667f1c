// Package invocation calls an action's function directly, where no state machine does: to foresee what an approval would
// destroy, and to finish what a crash left half done.
package invocation

import (
	"context"
	"encoding/json"
	"fmt"

	"firebreak/lib/fault"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// API is the call that this package makes.
type API interface {
	Invoke(context.Context, *lambda.InvokeInput, ...func(*lambda.Options)) (*lambda.InvokeOutput, error)
}

// Stem begins the name of every function.
const Stem = "firebreak-"

// Call asks the function of the request's action and waits for its result. Errors: the name that the function failed with
// (Busy, Denied, …), or what AWS answered.
func Call(ctx context.Context, api API, req incident.Request) (incident.Result, error) {
	payload, err := json.Marshal(req)
	if err != nil {
		return incident.Result{}, err
	}
	name := Stem + req.Step.Action
	out, err := api.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: payload})
	if err != nil {
		return incident.Result{}, fmt.Errorf("invoke %s: %w", name, err)
	}
	if out.FunctionError != nil {
		var failure struct{ ErrorType, ErrorMessage string }
		if json.Unmarshal(out.Payload, &failure) != nil || failure.ErrorType == "" {
			failure.ErrorType, failure.ErrorMessage = string(fault.Unexpected), aws.ToString(out.FunctionError)
		}
		return incident.Result{}, fault.New(known(failure.ErrorType), "%s: %s (%s)", name, failure.ErrorMessage, failure.ErrorType)
	}
	var result incident.Result
	if err := json.Unmarshal(out.Payload, &result); err != nil {
		return incident.Result{}, fmt.Errorf("%s answered what is no result: %w", name, err)
	}
	return result, nil
}

func known(name string) fault.Name {
	for _, n := range fault.Names() {
		if string(n) == name {
			return n
		}
	}
	return fault.Unexpected
}

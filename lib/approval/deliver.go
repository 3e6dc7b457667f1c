package approval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// MachineAPI are the calls that deliver.
type MachineAPI interface {
	SendTaskSuccess(context.Context, *sfn.SendTaskSuccessInput, ...func(*sfn.Options)) (*sfn.SendTaskSuccessOutput, error)
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
}

// Courier takes what was decided to the machine.
type Courier struct {
	Store ledger.Store
	API   MachineAPI
	// Machine is the ARN of the respond machine.
	Machine string
	Now     func() time.Time
}

// Deliver takes a recorded decision to whom it concerns, any number of times: the waiting execution gets its verdict (an
// approval only with the evidence complete), an approved override starts its execution. It tells whether that is done now;
// an open approval, and one that waits for evidence, is not. Errors: Throttled, Denied, Unreadable; the sweep tries again.
func (c Courier) Deliver(ctx context.Context, id string, number int) (bool, error) {
	for {
		it, err := Load(ctx, c.Store, id, number)
		if err != nil {
			return false, err
		}
		a := it.Value
		switch {
		case !it.Exists():
			return false, fault.New(fault.BadInput, "there is no approval %d of %s", number, id)
		case !a.Delivered.IsZero():
			return true, nil
		case a.Status == StatusOpen:
			return false, nil
		}
		if a.Status == StatusApproved {
			meta, err := ledger.Load[ledger.Incident](ctx, c.Store, ledger.IncidentKey(id))
			if err != nil {
				return false, err
			}
			if meta.Value.Episode != a.Episode {
				if err := Supersede(ctx, c.Store, id, meta.Value.Episode); err != nil {
					return false, err
				}
				continue
			}
			if a.Kind == KindEradicate && a.Evidence != Complete {
				return false, nil
			}
		}
		what, err := c.hand(ctx, a)
		if err != nil {
			return false, err
		}
		it.Value.Delivered = c.Now()
		// A token that came meanwhile belongs to a task that has not heard yet: the conflict sends it the verdict as well.
		err = save(ctx, c.Store, &it, &ledger.Event{Time: c.Now(), State: "Approval", Who: "Firebreak", What: what})
		if !errors.Is(err, ledger.ErrConflict) {
			return err == nil, err
		}
	}
}

// hand gives the decision away and says so in words.
func (c Courier) hand(ctx context.Context, a Approval) (string, error) {
	switch {
	case a.Kind == KindOverride && a.Status == StatusApproved:
		return c.start(ctx, a)
	case a.Token == "":
		return fmt.Sprintf("nobody waits for %s %d, which is %s", a.Kind, a.Number, a.Status), nil
	}
	output, err := json.Marshal(a.Verdict())
	if err != nil {
		return "", err
	}
	slog.InfoContext(ctx, "deliver", "incident", a.Incident, "approval", a.Number, "decision", a.Status)
	_, err = c.API.SendTaskSuccess(ctx, &sfn.SendTaskSuccessInput{TaskToken: &a.Token, Output: aws.String(string(output))})
	var over *types.TaskTimedOut
	var absent *types.TaskDoesNotExist
	var invalid *types.InvalidToken
	switch {
	case errors.As(err, &over), errors.As(err, &absent), errors.As(err, &invalid):
		return fmt.Sprintf("%s %d is %s, but the execution does not wait for it any more", a.Kind, a.Number, a.Status), nil
	case err != nil:
		return "", redact(err, a.Token, "deliver approval %d of %s", a.Number, a.Incident)
	}
	return fmt.Sprintf("told the execution that %s %d is %s", a.Kind, a.Number, a.Status), nil
}

// start runs the steps of an approved override. The name makes it one execution, however often it is called.
func (c Courier) start(ctx context.Context, a Approval) (string, error) {
	run, err := ledger.RunNumber(ctx, c.Store, a.Incident, fmt.Sprintf("APPROVAL#%d", a.Number))
	if err != nil {
		return "", err
	}
	resume := incident.Resume{
		Incident: a.Incident, Episode: a.Episode, Run: run, Approval: a.Number,
		Reason: fmt.Sprintf("override %d approved by %s", a.Number, strings.Join(a.By(), " and ")),
	}
	for _, s := range a.Steps {
		if _, kept := a.Kept(s.Key()); !kept {
			resume.Steps = append(resume.Steps, s.Step)
		}
	}
	input, err := json.Marshal(map[string]incident.Resume{"resume": resume})
	if err != nil {
		return "", err
	}
	slog.InfoContext(ctx, "start", "incident", a.Incident, "approval", a.Number, "execution", resume.Name())
	_, err = c.API.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &c.Machine, Name: aws.String(resume.Name()), Input: aws.String(string(input))})
	var exists *types.ExecutionAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return "", fmt.Errorf("start %s: %w", resume.Name(), err)
	}
	return fmt.Sprintf("started %s for override %d", resume.Name(), a.Number), nil
}

// redact wraps err, with the secret taken out of its text should AWS have repeated it.
func redact(err error, secret, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if secret == "" || !strings.Contains(err.Error(), secret) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fault.New(fault.NameOf(err), "%s: %s", what, strings.ReplaceAll(err.Error(), secret, "(task token)"))
}

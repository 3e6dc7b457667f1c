// Package closure closes incidents of which nothing more is to be done, at a person's word or because their source has resolved the
// finding. Nothing is undone: what an incident holds stays, and can be released later.
package closure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/release"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// API is the call that this package makes.
type API interface {
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// Machines are those whose executions work on incidents, by their ARNs.
type Machines struct {
	API              API
	Respond, Release string
}

// Held gives what an incident holds, each as action and resource. Errors: Busy while something of the incident goes on, with what it
// is and the way out: a change is half done, people are being asked, an execution runs; Unreadable.
func (k Machines) Held(ctx context.Context, s ledger.Store, m ledger.Incident, now time.Time) ([]string, error) {
	holds, err := release.Holds(ctx, s, m)
	if err != nil {
		return nil, err
	}
	held := []string{}
	for _, h := range holds {
		held = append(held, h.Action+" "+h.Resource)
	}
	if m.Status == incident.Closed {
		return held, nil
	}
	for _, h := range holds {
		if (h.Phase == ledger.Applying || h.Phase == ledger.Undoing) && now.Before(h.Lease) {
			return nil, fault.New(fault.Busy, "%s of %s is in the middle of something, by %s: close it when that has ended (scripts/firebreak show %s)", h.Action, last(h.Resource), last(h.Lessee), m.ID)
		}
		if h.Part != "" {
			return nil, fault.New(fault.Busy, "%s of %s is left in its part %q, which must not last: the sweep finishes it; close it when that is done (scripts/firebreak show %s)", h.Action, last(h.Resource), h.Part, m.ID)
		}
	}
	asked, err := approval.List(ctx, s, m.ID)
	if err != nil {
		return nil, err
	}
	for _, it := range asked {
		if v := it.Value; v.Status == approval.StatusOpen || v.Status == approval.StatusApproved && v.Delivered.IsZero() {
			return nil, fault.New(fault.Busy, "request %d of %s is %s: decide it, or withdraw it first with scripts/firebreak cancel %s", v.Number, m.ID, v.Status, m.ID)
		}
	}
	running, err := k.running(ctx, m)
	if err == nil && running != "" {
		err = fault.New(fault.Busy, "the execution %s of %s runs still: close it when that has ended (scripts/firebreak show %s)", running, m.ID, m.ID)
	}
	return held, err
}

// running gives the name of an execution of the incident that runs, "" for none: the one that owns it, a resumed one or a release.
func (k Machines) running(ctx context.Context, m ledger.Incident) (string, error) {
	arns := []string{m.Owner}
	execution := func(machine, name string) string {
		return strings.Replace(machine, ":stateMachine:", ":execution:", 1) + ":" + name
	}
	for n := 1; n <= m.Runs; n++ {
		arns = append(arns, execution(k.Respond, incident.Resume{Incident: m.ID, Episode: m.Episode, Run: n}.Name()), execution(k.Release, incident.ReleaseName(m.ID, n)))
	}
	for _, arn := range arns {
		if arn == "" {
			continue
		}
		out, err := k.API.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		var none *types.ExecutionDoesNotExist
		switch {
		case errors.As(err, &none):
		case err != nil:
			return "", fmt.Errorf("look whether %s runs: %w", last(arn), err)
		case out.Status == types.ExecutionStatusRunning || out.Status == types.ExecutionStatusPendingRedrive:
			return last(arn), nil
		}
	}
	return "", nil
}

// Close writes the incident as closed, and the last entry of its timeline, in one piece. Whatever the finding's source saw after
// that moment opens the incident again. Errors: ledger.ErrConflict (wrapped) where somebody has changed the incident since it was read.
func Close(ctx context.Context, s ledger.Store, meta ledger.Item[ledger.Incident], at time.Time, held []string, e ledger.Event) error {
	switch len(held) {
	case 0:
		e.What += ", it holds nothing"
	default:
		e.What += "; what it holds stays as it is: " + strings.Join(held, ", ")
	}
	if needs := meta.Value.Needs; needs != "" {
		e.What += "; not done: " + needs
	}
	entry := ledger.Entry(meta.Value.ID, e)
	meta.Value.Status, meta.Value.ClosedAt, meta.Value.Needs = incident.Closed, at.UTC(), ""
	ledger.Place(&meta)
	return ledger.Save(ctx, s, &meta, &entry)
}

func last(arn string) string { return arn[strings.LastIndexAny(arn, ":/")+1:] }

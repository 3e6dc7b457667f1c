package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/invocation"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// holds brings changes out of a phase that must not last: the action's function is asked again in the owner's place, and the
// spine carries on where the crash was.
func (s sweep) holds(ctx context.Context, r *Report) error {
	items, err := ledger.Open[ledger.Hold](ctx, s.store, ledger.HoldGroup)
	if err != nil {
		return err
	}
	var errs []error
	for _, it := range items {
		h := it.Value
		if h.Part == "" || s.now().Before(h.Lease) {
			continue
		}
		if err := s.finish(ctx, h); err != nil {
			r.Unfinished++
			errs = append(errs, fmt.Errorf("%s of %s is left in its part %q: %w", h.Action, h.Resource, h.Part, err))
			continue
		}
		r.Finished++
	}
	return errors.Join(errs...)
}

func (s sweep) finish(ctx context.Context, h ledger.Hold) error {
	for id := range h.Holders {
		meta, err := ledger.Load[ledger.Incident](ctx, s.store, ledger.IncidentKey(id))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(meta.Value.Plan.Contain, func(step incident.Step) bool { return step.Action == h.Action && step.Target == h.Resource })
		if i < 0 {
			continue
		}
		result, err := invocation.Call(ctx, s.functions, incident.Request{
			Mode: incident.Apply, Incident: meta.Value.Ref(), Step: meta.Value.Plan.Contain[i], State: state, Execution: owner(meta.Value),
		})
		if err == nil && !result.Outcome.Contains() {
			err = fmt.Errorf("%s: %s", result.Outcome, result.Reason)
		}
		if err != nil {
			told := s.notice(ctx, meta.Value, "unfinished-"+h.Action, fmt.Sprintf("%s: %s is half done, a person is needed now", id, h.Action),
				fmt.Sprintf("%s of %s was interrupted in the phase %q and could not be finished: %v\n\nWhile it is in that phase the resource may be open. Look: scripts/firebreak show %s\n", h.Action, h.Resource, h.Part, err, id))
			return errors.Join(err, told)
		}
		return nil
	}
	return fmt.Errorf("no incident that holds it calls for it")
}

// grace is how long an execution may run before the sweep looks at it, and patience how long it may be in flight without
// waiting for anybody.
const (
	grace    = time.Minute
	patience = 5 * time.Minute
)

// owners looks for open incidents whose execution has ended without closing them.
func (s sweep) owners(ctx context.Context, r *Report) error {
	var errs []error
	for _, band := range incident.Bands() {
		items, err := ledger.Open[ledger.Incident](ctx, s.store, ledger.IncidentGroup(band))
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, it := range items {
			in := it.Value
			if in.Status != incident.Open || in.Needs != "" || s.now().Sub(in.OwnerStart) < grace {
				continue
			}
			if err := s.owner(ctx, in, r); err != nil {
				r.Failed++
				errs = append(errs, fmt.Errorf("incident %s: %w", in.ID, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s sweep) owner(ctx context.Context, in ledger.Incident, r *Report) error {
	how := ""
	out, err := s.machines.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &in.Owner})
	var absent *types.ExecutionDoesNotExist
	switch {
	case errors.As(err, &absent):
		how = "does not exist"
	case err != nil:
		return err
	case out.Status == types.ExecutionStatusRunning:
		waits, err := s.waits(ctx, in)
		if err == nil && !waits && s.now().Sub(in.OwnerStart) > patience {
			r.InFlight++
		}
		return err
	default:
		how = fmt.Sprintf("ended %s %s", out.Status, aws.ToString(out.Error))
	}
	needs := fmt.Sprintf("the execution %s %s without closing the incident: what was to be contained may not be. Carry on with scripts/firebreak redrive %s", in.Owner, how, in.ID)
	orphaned := false
	_, err = ledger.Update(ctx, s.store, ledger.IncidentKey(in.ID), func(it *ledger.Item[ledger.Incident]) error {
		orphaned = it.Value.Owner == in.Owner && it.Value.Status == incident.Open && it.Value.Needs == ""
		if !orphaned {
			return errUnchanged
		}
		it.Value.Needs, it.Value.Ending = needs, incident.EndNeedsPerson
		ledger.Place(it)
		return nil
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return err
	}
	if !orphaned {
		return nil
	}
	r.Orphaned++
	event := ledger.Event{Time: s.now(), State: "Sweep", Who: "sweep", What: needs}
	return errors.Join(ledger.Append(ctx, s.store, in.ID, event), s.notice(ctx, in, "orphaned", in.ID+" needs a person", needs+"\n"))
}

var errUnchanged = errors.New("nothing to change")

// waits tells whether the incident's execution waits for people.
func (s sweep) waits(ctx context.Context, in ledger.Incident) (bool, error) {
	all, err := approval.List(ctx, s.store, in.ID)
	for _, it := range all {
		if it.Value.Execution == in.Owner && it.Value.Kind == approval.KindEradicate && it.Value.Delivered.IsZero() {
			return true, nil
		}
	}
	return false, err
}

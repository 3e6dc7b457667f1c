package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/playbook"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// resumption gives the resumption that an input is, if it is one. Errors: BadInput.
func resumption(event json.RawMessage) (incident.Resume, bool, error) {
	var top map[string]json.RawMessage
	var r incident.Resume
	if json.Unmarshal(event, &top) != nil || top["resume"] == nil {
		return r, false, nil
	}
	dec := json.NewDecoder(bytes.NewReader(top["resume"]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, true, fault.Wrap(fault.BadInput, err, "the resumption is not what it should be")
	}
	switch {
	case r.Incident == "" || r.Episode < 1:
		return r, true, fault.New(fault.BadInput, "the resumption names no incident or no episode")
	case r.From == "" && len(r.Steps) == 0:
		return r, true, fault.New(fault.BadInput, "the resumption of %s takes over from nobody and names no step", r.Incident)
	}
	return r, true, nil
}

// errSuperseded ends an attempt to take an incident over.
var errSuperseded = errors.New("superseded")

// resume continues an incident: in the place of the execution that it names, or beside the one that goes on. Steps must stand
// in the incident's plan. Those that destroy wait for approval like at first. Errors: BadInput, Unreadable.
func (h handler) resume(ctx context.Context, in input, r incident.Resume, err error) (incident.Decision, error) {
	if err != nil {
		return incident.Decision{}, err
	}
	why, plan := "", incident.Plan{}
	slog.InfoContext(ctx, "resume", "incident", r.Incident, "episode", r.Episode, "run", r.Run, "from", r.From, "approval", r.Approval, "execution", in.name())
	it, err := ledger.Update(ctx, h.store, ledger.IncidentKey(r.Incident), func(it *ledger.Item[ledger.Incident]) error {
		m := &it.Value
		switch {
		case !it.Exists():
			return fault.New(fault.BadInput, "there is no incident %s to resume", r.Incident)
		case m.Episode != r.Episode:
			why = fmt.Sprintf("episode %d took the place of episode %d", m.Episode, r.Episode)
			return errSuperseded
		case m.Status == incident.Closed:
			why = "the incident is closed"
			return errSuperseded
		case r.From != "" && m.Owner != r.From && m.Owner != in.Execution.ARN:
			why = "execution " + m.Owner + " has it, not " + r.From
			return errSuperseded
		}
		var err error
		if plan, err = some(*m, r); err != nil {
			return err
		}
		if r.From == "" || m.Owner == in.Execution.ARN {
			return errStays
		}
		m.Owner, m.OwnerStart, m.Status, m.Ending, m.Needs = in.Execution.ARN, in.Execution.Start, incident.Open, "", ""
		ledger.Place(it)
		return nil
	})
	m := it.Value
	out := incident.Decision{Disposition: incident.Respond, Reason: r.Reason, Incident: m.Ref(), Plan: plan, Approval: r.Approval}
	switch {
	case errors.Is(err, errSuperseded):
		out.Disposition, out.Reason, out.Plan, out.Approval = incident.Supersede, why, whole(incident.Plan{}), 0
		return out, h.tell(ctx, in, r, "not resumed: "+why)
	case err != nil && !errors.Is(err, errStays):
		return incident.Decision{}, err
	}
	return out, h.tell(ctx, in, r, fmt.Sprintf("resumed: %d to contain, %d to eradicate", len(out.Plan.Contain), len(out.Plan.Eradicate)))
}

// errStays says that the incident's owner does not change.
var errStays = errors.New("the owner stays")

// some makes a plan of the steps that are resumed: the whole plan where none is named.
func some(m ledger.Incident, r incident.Resume) (incident.Plan, error) {
	if len(r.Steps) == 0 {
		return whole(m.Plan), nil
	}
	actions, plan := playbook.Actions(), whole(incident.Plan{Approvers: m.Plan.Approvers})
	for _, s := range r.Steps {
		same := func(o incident.Step) bool { return o.Key() == s.Key() }
		if !slices.ContainsFunc(m.Plan.Contain, same) && !slices.ContainsFunc(m.Plan.Eradicate, same) {
			return plan, fault.New(fault.BadInput, "%s of %s is no step of the plan of %s", s.Action, s.Target, m.ID)
		}
		if actions[s.Action].Destroys {
			plan.Eradicate = append(plan.Eradicate, s)
		} else {
			plan.Contain = append(plan.Contain, s)
		}
	}
	return plan, nil
}

func (h handler) tell(ctx context.Context, in input, r incident.Resume, what string) error {
	return ledger.Append(ctx, h.store, r.Incident, ledger.Event{Time: h.now(), State: in.State.Name, Attempt: in.State.Attempt, Who: in.Execution.ARN, What: what, Why: r.Reason})
}

// split starts an execution for each finding of an event, named after the incident and this execution: a retry starts none
// twice. The event is kept first.
func (h handler) split(ctx context.Context, in input, findings []finding.Finding) (incident.Decision, error) {
	f := findings[0]
	out := incident.Decision{
		Disposition: incident.Record, Reason: fmt.Sprintf("the event has %d findings: each has its own execution", len(findings)), Split: len(findings),
		Plan:     whole(incident.Plan{}),
		Incident: incident.Ref{ID: f.IncidentID(), Severity: f.Band, Account: f.Account, Region: f.Region, Type: f.Type, Seen: h.seen(in, f.LastSeen)},
	}
	if err := h.keep(ctx, in, "split"); err != nil {
		return incident.Decision{}, err
	}
	sum := sha256.Sum256([]byte(in.Execution.ARN))
	for i, f := range findings {
		name := fmt.Sprintf("%s-s%d-%s", f.IncidentID(), i, hex.EncodeToString(sum[:8]))
		slog.InfoContext(ctx, "split", "incident", f.IncidentID(), "execution", in.name(), "starts", name)
		_, err := h.machine.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &h.respond, Name: &name, Input: aws.String(string(f.Raw))})
		var there *types.ExecutionAlreadyExists
		if err != nil && !errors.As(err, &there) {
			return incident.Decision{}, fmt.Errorf("start %s for finding %d of the event: %w", name, i, err)
		}
	}
	return out, nil
}

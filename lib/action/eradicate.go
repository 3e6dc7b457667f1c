package action

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/setting"
)

// Evidence of an eradicating step, as mode plan tells it in Result.Evidence: complete, or one of these with what is missing.
const (
	EvidenceComplete = "complete"
	EvidencePending  = "pending: "
	EvidenceFailed   = "failed: "
)

// Eradicating serves an eradicating action: a function's handler. In mode plan it gives identity, what would be destroyed and
// the evidence, and writes nothing. In mode apply it destroys only what people approved, exactly as they approved it, with the
// evidence complete. Errors as for Containing.
func (s *Spine) Eradicating(name string, d Destruction) func(context.Context, incident.Request) (incident.Result, error) {
	return func(ctx context.Context, req incident.Request) (incident.Result, error) {
		r, err := s.run(name, req, nil)
		if err != nil {
			return incident.Result{}, err
		}
		switch req.Mode {
		case incident.Look:
			return r.settle(ctx, r.foresee(ctx, d))
		case incident.Undo, incident.LookUndo:
			return r.settle(ctx, Refuse("%s destroys: it cannot be undone", name))
		default:
			return r.settle(ctx, r.destroy(ctx, d))
		}
	}
}

func (r *run) foresee(ctx context.Context, d Destruction) error {
	identity, err := d.Identity(ctx, r.call)
	if err != nil {
		return err
	}
	r.done.Outcome, r.done.Identity, r.done.Changes = incident.Planned, identity, d.Destroys(r.call, identity)
	missing, err := d.Evidence(ctx, r.call, identity)
	switch {
	case fault.Is(err, fault.Throttled), fault.Is(err, fault.Denied):
		return err
	case err != nil:
		r.done.Evidence = EvidenceFailed + err.Error()
	case missing != "":
		r.done.Evidence = EvidencePending + missing
	default:
		r.done.Evidence = EvidenceComplete
	}
	return nil
}

func (r *run) destroy(ctx context.Context, d Destruction) error {
	set, err := setting.ReadGuard(ctx, r.store)
	if err != nil {
		return err
	}
	if set.Mode == setting.Plan {
		return r.foresee(ctx, d)
	}
	in, err := r.inst.Deciding(ctx)
	if err != nil {
		return err
	}
	r.set = in.Action
	identity, err := d.Identity(ctx, r.call)
	if err != nil {
		return err
	}
	whole, earlier := identity, []string(nil)
	if div, ok := d.(Divisible); ok {
		approved, err := approval.Identity(ctx, r.store, r.req.Incident.ID, r.req.Approval, r.req.Step)
		if err != nil {
			return err
		}
		whole, earlier = div.Whole(approved, identity)
	}
	ok, difference, err := approval.Verify(ctx, r.store, in, r.req.Incident.ID, r.req.Approval, r.req.Step, whole)
	if err != nil {
		return err
	}
	if !ok {
		// A retry after the destruction finds it done, which must not read as somebody else's change.
		if gone, err := r.destroyed(ctx, d); err != nil || gone {
			return err
		}
		who, why, err := approval.Keeper(ctx, r.store, r.req.Incident.ID, r.req.Approval, r.req.Step)
		if err != nil {
			return err
		}
		if who != "" {
			r.done.Outcome, r.done.Reason = incident.Kept, who+" decided to keep it: "+why
			return nil
		}
		r.done.Outcome, r.done.Changes = incident.Changed, difference
		r.done.Reason = "it is not what people approved: nothing was destroyed"
		return nil
	}
	// Two people who approved destroying exactly this have decided more than an override would.
	no, err := guard.Check(ctx, r.store, set, guard.Question{
		Request: r.req, Target: r.call.Target, Now: r.now(),
		Aside: []string{string(guard.Protected), string(guard.Shared), string(guard.Released), string(guard.Budget)},
	})
	if err != nil {
		return err
	}
	if no != nil {
		r.done.Outcome, r.done.Reason = incident.Refused, no.Reason
		return nil
	}
	missing, err := d.Evidence(ctx, r.call, identity)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	if missing != "" {
		return fault.New(fault.NotVerified, "nothing was destroyed: the evidence is not complete (%s)", missing)
	}
	r.log(ctx, "destroy")
	if err := d.Destroy(ctx, r.call, identity); err != nil {
		return err
	}
	settle := time.Duration(r.set.SettleMilliseconds) * time.Millisecond
	for range 6 {
		if gone, err := r.destroyed(ctx, d); err != nil || gone {
			r.done.Outcome, r.done.Changes = incident.Applied, append(d.Destroys(r.call, identity), earlier...)
			r.before = whole
			return err
		}
		if err := r.pause(ctx, settle); err != nil {
			return err
		}
	}
	return fault.New(fault.NotVerified, "destroying was accepted, but it is still there when read again")
}

// destroyed reads whether the target is gone, and says so in done.
func (r *run) destroyed(ctx context.Context, d Destruction) (bool, error) {
	gone, err := d.Destroyed(ctx, r.call)
	if errors.Is(err, ErrGone) {
		gone, err = true, nil
	}
	if gone {
		r.done.Outcome, r.done.Verified = incident.Gone, true
	}
	return gone, err
}

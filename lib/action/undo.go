package action

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// undo: leave the holders; the last one restores what was there before, if nobody has changed the resource since.
//
// It asks the guard for nothing but the kill switch, which is off in mode plan too: a person asks for it, and whoever has
// stopped Firebreak from acting may want back what it did.
func (r *run) undo(ctx context.Context, c Containment) error {
	set, err := r.mayUndo(ctx, c)
	if err != nil {
		return err
	}
	if err := r.take(ctx); err != nil {
		return err
	}
	h := &r.hold.Value
	if _, holds := h.Holders[r.req.Incident.ID]; !holds && h.Phase != ledger.Undoing {
		r.done.Outcome, r.done.Verified, r.done.Reason = incident.Already, true, "this incident holds nothing here"
		return nil
	}
	if others := slices.DeleteFunc(r.holders(), func(id string) bool { return id == r.req.Incident.ID }); len(others) > 0 {
		if why := r.wary(c, r.req.Incident.ID, h.Holders[r.req.Incident.ID]); why != "" && !slices.Contains(h.Wary, why) {
			h.Wary = append(h.Wary, why)
		}
		h.Holders = maps.Clone(h.Holders)
		delete(h.Holders, r.req.Incident.ID)
		r.done.Outcome, r.done.Verified, r.done.Reason = incident.Held, true, "still held for "+strings.Join(others, ", ")
		return r.save(ctx)
	}
	now, err := c.Observe(ctx, r.call)
	if err != nil {
		return r.forget(ctx, set, err)
	}
	drift := r.drift(c, now)
	if len(drift) > 0 && !r.req.Force {
		r.done.Outcome, r.done.Changes = incident.Drifted, drift
		r.done.Reason = "nothing was changed; a person may restore all the same with --force"
		return nil
	}
	if err := r.goOn(ctx, false); err != nil {
		return err
	}
	earlier := h.Phase
	if err := r.lease(ctx, ledger.Undoing); err != nil {
		return err
	}
	after, err := r.restore(ctx, c, now)
	if err != nil {
		var no *refusal
		if errors.As(err, &no) { // nothing was changed
			h.Phase = earlier
		} else {
			err = r.halfway(ctx, c, err, now, h.Before)
		}
		r.unlease(ctx)
		return err
	}
	r.before, r.after = now, after
	r.done.Outcome, r.done.Verified, r.done.Changes = incident.Restored, true, diff(now, after)
	if len(drift) > 0 {
		r.done.Reason = "restored by force, although " + words(drift)
	}
	return r.release(ctx, set)
}

// lookUndo says what undo would do, and writes nothing. Somebody's lease does not stop it: it only looks.
func (r *run) lookUndo(ctx context.Context, c Containment) error {
	if _, err := r.mayUndo(ctx, c); err != nil {
		return err
	}
	var err error
	if r.hold, err = ledger.Load[ledger.Hold](ctx, r.store, ledger.HoldKey(r.call.Target.ARN, r.req.Step.Action)); err != nil {
		return err
	}
	h := r.hold.Value
	if _, holds := h.Holders[r.req.Incident.ID]; !holds && h.Phase != ledger.Undoing {
		r.done.Outcome, r.done.Verified, r.done.Reason = incident.Already, true, "this incident holds nothing here"
		return nil
	}
	if others := slices.DeleteFunc(r.holders(), func(id string) bool { return id == r.req.Incident.ID }); len(others) > 0 {
		r.done.Outcome, r.done.Reason = incident.Held, "it would stay as it is, held for "+strings.Join(others, ", ")
		return nil
	}
	now, err := c.Observe(ctx, r.call)
	if err != nil {
		return err
	}
	drift := r.drift(c, now)
	if len(drift) > 0 && !r.req.Force {
		r.done.Outcome, r.done.Changes, r.done.Reason = incident.Drifted, drift, "nothing would be changed; a person may restore all the same with --force"
		return nil
	}
	r.done.Outcome, r.done.Changes = incident.Planned, diff(now, r.back(now))
	if len(drift) > 0 {
		r.done.Reason = "it would be restored by force, although " + words(drift)
	}
	return nil
}

// mayUndo gives the guard's settings, or the reason why nothing may be undone.
func (r *run) mayUndo(ctx context.Context, c Containment) (setting.Guard, error) {
	if i, ok := c.(Irreversible); ok {
		return setting.Guard{}, Refuse("%s has no undo: %s", r.req.Step.Action, i.NoUndo())
	}
	set, err := setting.ReadGuard(ctx, r.store)
	if err != nil {
		return setting.Guard{}, err
	}
	if set.Mode == setting.Off {
		return set, Refuse("Firebreak is switched off: nothing is changed until scripts/firebreak mode act (or plan)")
	}
	return set, nil
}

// back is now with the fields as they were before; a part that is gone stays away.
func (r *run) back(now State) State {
	out := maps.Clone(now)
	for f, v := range r.hold.Value.Before {
		if !r.gone(f, now) {
			out[f] = v
		}
	}
	return out
}

// gone tells whether a field is away although we left it there: a part of the resource (an interface, a key) that somebody
// deleted since, and that cannot come back. What we took away ourselves can.
func (r *run) gone(f string, now State) bool {
	left := State(r.hold.Value.After)
	if left == nil {
		left = over(r.hold.Value.Before, r.hold.Value.Intent)
	}
	_, has := now[f]
	return !has && left[f] != ""
}

// drift says what stands in the way of restoring: what differs from what we left, and what an action wants a person for.
func (r *run) drift(c Containment, now State) []string {
	h := r.hold.Value
	var out []string
	for _, f := range fields(h.Before, h.After, now) {
		switch v := now[f]; {
		case h.Phase == ledger.Held && v == h.After[f]:
		case h.Phase != ledger.Held && (v == h.Before[f] || v == h.After[f] || r.ours(f, v)):
		default:
			was := h.After[f]
			if h.Phase != ledger.Held {
				was = h.Intent[f]
			}
			out = append(out, f+": Firebreak left "+show(was)+", it is "+show(v)+" now")
		}
	}
	for _, f := range h.Foreign {
		out = append(out, f+": somebody else changed it while it was being contained; "+show(h.Before[f])+" was found then")
	}
	for id, with := range h.Holders {
		if why := r.wary(c, id, with); why != "" {
			out = append(out, why)
		}
	}
	return append(out, h.Wary...)
}

// wary says why an action wants a person's force to restore what an incident holds with those parameters, "" for no reason.
func (r *run) wary(c Containment, id string, with map[string]string) string {
	f, ok := c.(Forcible)
	if !ok {
		return ""
	}
	call := r.call
	call.With = with
	if why := f.NeedsForce(call); why != "" {
		return why + " (" + id + ")"
	}
	return ""
}

func (r *run) restore(ctx context.Context, c Containment, now State) (State, error) {
	before := r.hold.Value.Before
	settle := time.Duration(r.set.SettleMilliseconds) * time.Millisecond
	for round := range rounds {
		if round > 0 {
			if err := r.goOn(ctx, true); err != nil {
				return nil, err
			}
		}
		r.log(ctx, "restore")
		if err := c.Restore(ctx, r.call, now, before); err != nil {
			return nil, err
		}
		for range 6 {
			s, err := c.Observe(ctx, r.call)
			if err != nil {
				return nil, err
			}
			if now = s; r.same(s) {
				return s, nil
			}
			if err := r.pause(ctx, settle/5); err != nil {
				return nil, err
			}
		}
	}
	return nil, fault.New(fault.NotVerified, "restored %d times, and each time it differed when read again: %s", rounds, words(diff(before, now)))
}

// same tells whether every field has its value of before again; of parts that are gone drift has told.
func (r *run) same(now State) bool {
	for f, v := range r.hold.Value.Before {
		if now[f] != v && !r.gone(f, now) {
			return false
		}
	}
	return true
}

// forget releases the hold on a resource that is gone.
func (r *run) forget(ctx context.Context, set setting.Guard, err error) error {
	if !errors.Is(err, ErrGone) {
		return err
	}
	if rerr := r.release(ctx, set); rerr != nil {
		return rerr
	}
	return ErrGone
}

func (r *run) release(ctx context.Context, set setting.Guard) error {
	h := &r.hold.Value
	h.Phase, h.Part, h.Tried, h.Lessee, h.Lease, h.Foreign, h.Wary = ledger.Released, "", nil, "", time.Time{}, nil, nil
	h.Holders = map[string]map[string]string{}
	h.Until = r.now().Add(time.Duration(set.ReleasedHours) * time.Hour)
	return r.save(ctx)
}

package action

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// rounds is how often a change is applied when somebody keeps undoing it, before a person is called.
const rounds = 5

// apply: guard, observe, take the hold, contain, read back, record.
func (r *run) apply(ctx context.Context, c Containment) error {
	ok, err := r.ask(ctx, c)
	if err != nil {
		return err
	}
	if !ok {
		if r.done.Outcome == incident.Planned {
			return r.plan(ctx, c)
		}
		return nil
	}
	if err := r.take(ctx); err != nil {
		return err
	}
	now, err := c.Observe(ctx, r.call)
	if errors.Is(err, ErrGone) && r.hold.Value.Part != "" {
		if err := r.part(ctx, ""); err != nil { // else the sweep would go on to finish it
			return err
		}
	}
	if err != nil {
		return err
	}
	midway := r.hold.Value.Phase == ledger.Applying || r.hold.Value.Phase == ledger.Undoing
	if !midway && c.Contained(r.call, now) {
		return r.join(ctx, c, now)
	}
	intent, err := r.intent(ctx, c, now)
	if err != nil {
		return err
	}
	if err := r.goOn(ctx, false); err != nil {
		return err
	}
	_, irreversible := c.(Irreversible)
	r.merge(now, intent, irreversible)
	if err := r.lease(ctx, ledger.Applying); err != nil {
		return err
	}
	after, err := r.contain(ctx, c, now, intent)
	if err != nil {
		err = r.halfway(ctx, c, err, r.hold.Value.Before, r.hold.Value.Intent)
		r.unlease(ctx)
		return err
	}
	h := &r.hold.Value
	h.After, h.Phase, h.Part, h.Tried, h.Lessee, h.Lease = after, ledger.Held, "", nil, "", time.Time{}
	if err := r.save(ctx); err != nil {
		return err
	}
	r.before, r.after = h.Before, after
	r.done.Outcome, r.done.Verified, r.done.Changes = incident.Applied, true, diff(h.Before, after)
	if len(h.Foreign) > 0 {
		r.done.Changes = append(r.done.Changes, "changed by somebody else meanwhile, kept as found: "+strings.Join(h.Foreign, ", "))
	}
	r.note(c, after)
	r.follow(ctx, c)
	return nil
}

// follow does what is to be done after a containment.
func (r *run) follow(ctx context.Context, c Containment) {
	if f, ok := c.(Follower); ok {
		r.done.Changes = append(r.done.Changes, f.Follow(ctx, r.call)...)
	}
}

func (r *run) intent(ctx context.Context, c Containment, now State) (State, error) {
	if p, ok := c.(Preparer); ok {
		r.log(ctx, "prepare")
		return p.Prepare(ctx, r.call, now)
	}
	return c.Intent(r.call, now)
}

// join adds the incident to a containment that stands already, or records one that somebody else made.
func (r *run) join(ctx context.Context, c Containment, now State) error {
	stays, err := r.stays(ctx, c)
	if err != nil {
		return err
	}
	if stays == nil {
		return fault.New(fault.Busy, "%s was contained and a moment later was not: look again", r.call.Target.ARN)
	}
	h := &r.hold.Value
	if h.Phase != ledger.Held {
		*h = r.fresh(now)
		h.Intent, h.After, h.Phase = now, now, ledger.Held
	}
	h.Holders = maps.Clone(h.Holders)
	h.Holders[r.req.Incident.ID] = with(r.call.With)
	if err := r.save(ctx); err != nil {
		return err
	}
	r.done.Outcome, r.done.Verified = incident.Already, true
	if others := slices.DeleteFunc(r.holders(), func(id string) bool { return id == r.req.Incident.ID }); len(others) > 0 {
		r.done.Reason = "held for " + strings.Join(others, ", ") + " too"
	}
	r.note(c, now)
	r.follow(ctx, c)
	return nil
}

func (r *run) fresh(now State) ledger.Hold {
	return ledger.Hold{
		Resource: r.call.Target.ARN, Action: r.req.Step.Action, Account: r.call.Target.Account, Region: r.call.Target.Region,
		Before: now, Holders: map[string]map[string]string{r.req.Incident.ID: with(r.call.With)},
	}
}

// merge writes what was observed and what is intended into the hold. The first Before is never overwritten: a hold found in
// the middle is a crash, and what stands there now is partly ours.
func (r *run) merge(now, intent State, irreversible bool) {
	h := &r.hold.Value
	if h.Phase == "" || h.Phase == ledger.Released {
		*h = r.fresh(now)
		h.Intent = intent
		return
	}
	r.grow(now)
	for f, v := range now {
		if b, known := h.Before[f]; !known || irreversible || v == b || r.ours(f, v) {
			continue
		}
		h.Before[f] = v
		if !slices.Contains(h.Foreign, f) {
			h.Foreign = append(h.Foreign, f)
		}
	}
	r.intend(intent)
	h.Holders = maps.Clone(h.Holders)
	h.Holders[r.req.Incident.ID] = with(r.call.With)
}

// grow keeps how parts stood that the resource did not have when it was first observed, for instance an interface, and gives their fields.
func (r *run) grow(now State) []string {
	h := &r.hold.Value
	h.Before = over(h.Before, nil)
	var added []string
	for _, f := range fields(now) {
		_, known := h.Before[f]
		if _, made := h.Intent[f]; !known && !made {
			h.Before[f] = now[f]
			added = append(added, f)
		}
	}
	return added
}

// intend lays what is intended now over what was intended before, of which any may stand after a crash, and tells whether that is news.
func (r *run) intend(intent State) bool {
	h := &r.hold.Value
	wanted := over(h.Intent, intent)
	if maps.Equal(wanted, h.Intent) {
		return false
	}
	h.Tried = maps.Clone(h.Tried)
	for f, v := range h.Intent {
		if v != wanted[f] && !slices.Contains(h.Tried[f], v) {
			if h.Tried == nil {
				h.Tried = map[string][]string{}
			}
			h.Tried[f] = append(slices.Clone(h.Tried[f]), v)
		}
	}
	h.Intent = wanted
	return true
}

// ours tells whether a value may be what Firebreak left in a field.
func (r *run) ours(f, v string) bool {
	h := r.hold.Value
	return v == h.Intent[f] || h.After != nil && v == h.After[f] || slices.Contains(h.Tried[f], v)
}

// contain applies until the resource has been read back as contained and has stayed so, and gives what was read last.
func (r *run) contain(ctx context.Context, c Containment, now, intent State) (State, error) {
	_, irreversible := c.(Irreversible)
	for round := range rounds {
		if round > 0 {
			if err := r.goOn(ctx, true); err != nil {
				return nil, err
			}
		}
		r.log(ctx, "change")
		if err := c.Apply(ctx, r.call, now, over(now, intent)); err != nil {
			return nil, err
		}
		after, err := r.stays(ctx, c)
		if err != nil || after != nil {
			return after, err
		}
		if now, err = c.Observe(ctx, r.call); err != nil {
			return nil, err
		}
		intent, err = r.intent(ctx, c, now)
		var no *refusal
		if errors.As(err, &no) { // refused is only what nothing was changed of
			return nil, fault.New(fault.NotVerified, "%s", no.reason)
		}
		if err != nil {
			return nil, err
		}
		// A crash after the next change must know it as ours, and what somebody added meanwhile as theirs.
		if added := r.grow(now); !irreversible {
			r.hold.Value.Foreign = append(r.hold.Value.Foreign, added...)
		}
		if err := r.instead(ctx, intent); err != nil {
			return nil, err
		}
	}
	return nil, fault.New(fault.NotVerified, "applied %d times, and each time it was not contained when read again: somebody or something undoes it", rounds)
}

// goOn stops a change where the kill switch was thrown since the guard asked: looking can take long, and so can a change that is to
// be made again. Errors: a refusal before the first change, NotVerified after it.
func (r *run) goOn(ctx context.Context, begun bool) error {
	set, err := setting.ReadGuard(ctx, r.store)
	// A person may undo in mode plan too.
	if err != nil || set.Mode == setting.Act || set.Mode == setting.Plan && r.req.Mode.Undoes() {
		return err
	}
	if !begun {
		return Refuse("Firebreak was switched to %s (by %s) in the meantime: nothing was changed", set.Mode, set.By)
	}
	return fault.New(fault.NotVerified, "it did not stay so, and Firebreak was switched to %s (by %s) before it could be done again", set.Mode, set.By)
}

// stays reads the resource until it is contained, waits for the settle time, and reads it again. It gives the second reading,
// or nil where the resource is not contained or did not stay so. AWS shows a change seconds later at times: one settle time
// is given for it to appear.
func (r *run) stays(ctx context.Context, c Containment) (State, error) {
	settle := time.Duration(r.set.SettleMilliseconds) * time.Millisecond
	for look := 0; ; look++ {
		s, err := c.Observe(ctx, r.call)
		if err != nil {
			return nil, err
		}
		if c.Contained(r.call, s) {
			break
		}
		if look == 5 {
			return nil, nil
		}
		if err := r.pause(ctx, settle/5); err != nil {
			return nil, err
		}
	}
	if err := r.pause(ctx, settle); err != nil {
		return nil, err
	}
	s, err := c.Observe(ctx, r.call)
	if err != nil || !c.Contained(r.call, s) {
		return nil, err
	}
	return s, nil
}

// halfway adds to a failure on the way from one state to another what is done and what is not, as read back, because that is
// what the person called will need.
func (r *run) halfway(ctx context.Context, c Containment, err error, from, to State) error {
	if errors.Is(err, ErrGone) {
		return err
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	now, oerr := c.Observe(rctx, r.call)
	if oerr != nil {
		return fmt.Errorf("%w (what is done could not be read: %v)", err, oerr)
	}
	r.before, r.after = from, now
	wanted := over(now, to)
	if _, irreversible := c.(Irreversible); irreversible {
		// What it makes has a name only then: whatever stands in the place of what was is done.
		for f := range to {
			if now[f] != from[f] {
				wanted[f] = now[f]
			}
		}
	}
	done, open := diff(from, now), diff(now, wanted)
	return fmt.Errorf("%w (done: %s; not done: %s)", err, words(done), words(open))
}

func words(lines []string) string {
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(capped(lines), "; ")
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fault.Wrap(fault.NotVerified, ctx.Err(), "no time was left to read the resource again")
	case <-t.C:
		return nil
	}
}

func with(w map[string]string) map[string]string {
	if w == nil {
		return map[string]string{}
	}
	return w
}

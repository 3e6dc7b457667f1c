package action

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Spine runs actions.
type Spine struct {
	store ledger.Store
	inst  *setting.Installation
	now   func() time.Time
	pause func(context.Context, time.Duration) error
}

// NewSpine gives a spine on that ledger and those settings.
func NewSpine(store ledger.Store, inst *setting.Installation) *Spine {
	return &Spine{store: store, inst: inst, now: func() time.Time { return time.Now().UTC() }, pause: pause}
}

// Meanwhile has f called at each wait between two readings, and then waits: what somebody does in that time can so be told exactly.
func (s *Spine) Meanwhile(f func(time.Duration)) *Spine {
	s.pause = func(ctx context.Context, d time.Duration) error {
		f(d)
		return pause(ctx, d)
	}
	return s
}

// refusal is an action's own no.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// Refuse makes an error by which an action says that the target is none it may ever act on (for instance a service-linked
// role). The outcome is refused, and no person can set it aside here.
func Refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// Containing serves a containing action: a function's handler. Errors by name: Busy, Throttled, NotVerified, Denied,
// Unreadable, BadInput, Unexpected.
func (s *Spine) Containing(name string, c Containment) func(context.Context, incident.Request) (incident.Result, error) {
	return func(ctx context.Context, req incident.Request) (incident.Result, error) {
		r, err := s.run(name, req, c)
		var no *refusal
		switch {
		case errors.As(err, &no):
			return r.settle(ctx, err)
		case err != nil:
			return incident.Result{}, err
		}
		switch req.Mode {
		case incident.Look:
			return r.settle(ctx, r.plan(ctx, c))
		case incident.Undo:
			return r.settle(ctx, r.undo(ctx, c))
		case incident.LookUndo:
			return r.settle(ctx, r.lookUndo(ctx, c))
		default:
			return r.settle(ctx, r.apply(ctx, c))
		}
	}
}

// run is one call of an action.
type run struct {
	*Spine
	req  incident.Request
	call Call
	hold ledger.Item[ledger.Hold]
	set  setting.Action
	// done is what the run comes to.
	done incident.Result
	// before and after go into the timeline where something was changed.
	before, after State
}

// run begins a call. Errors: BadInput; a refusal, with the run, where the target is another account's and the action knows what
// somebody there has to do.
func (s *Spine) run(name string, req incident.Request, act any) (*run, error) {
	switch {
	case req.Step.Action != name:
		return nil, fault.New(fault.BadInput, "%s was asked to do %q", name, req.Step.Action)
	case req.Mode != incident.Apply && !req.Mode.Looks() && !req.Mode.Undoes():
		return nil, fault.New(fault.BadInput, "mode is %q, not one of apply, plan, undo, plan-undo", req.Mode)
	case req.Incident.ID == "" || req.Execution.ARN == "" || req.Execution.Start.IsZero():
		return nil, fault.New(fault.BadInput, "incident.id, execution.arn and execution.start are needed")
	}
	t, err := incident.ParseTarget(req.Step, req.Incident)
	words := ""
	if f, ok := act.(Foreigner); ok && errors.Is(err, incident.ErrForeign) {
		words = f.Foreign(t)
	}
	if err != nil && words == "" {
		return nil, fault.Wrap(fault.BadInput, err, "incident %s", req.Incident.ID)
	}
	r := &run{Spine: s, req: req}
	r.call = Call{Incident: req.Incident, Target: t, With: req.Step.With, Since: req.Execution.Start, Part: r.part, Instead: r.instead}
	r.done = incident.Result{Action: name, Target: t.ARN, Step: req.Step.Key(), Changes: []string{}}
	if words != "" {
		return r, Refuse("%s", words)
	}
	return r, nil
}

// settle ends a run: the outcome goes into the timeline before it is reported.
func (r *run) settle(ctx context.Context, err error) (incident.Result, error) {
	var no *refusal
	switch {
	case errors.Is(err, ErrGone):
		r.done.Outcome, r.done.Verified, r.done.Reason, err = incident.Gone, true, "the resource does not exist", nil
	case errors.As(err, &no):
		r.done.Outcome, r.done.Reason, err = incident.Refused, no.reason, nil
	}
	r.done.Changes = capped(r.done.Changes)
	if err != nil {
		err = fmt.Errorf("%s %s for %s: %w", r.req.Step.Action, r.call.Target.ARN, r.req.Incident.ID, err)
	}
	if r.req.Mode.Looks() {
		return r.done, err
	}
	what, result := string(r.done.Outcome), &r.done
	if err != nil {
		// What failed may be half done: a release finds it by this entry when a later episode has another plan.
		what = fmt.Sprintf("failed (%s): %v", fault.NameOf(err), err)
		result = &incident.Result{Action: r.done.Action, Target: r.done.Target, Step: r.done.Step, Outcome: incident.Failed, Changes: []string{}}
	}
	// What was done must not be lost from the record because the time ran out.
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	event := ledger.Event{
		Time: r.now(), State: r.req.State.Name, Attempt: r.req.State.Attempt, Who: r.req.Execution.ARN,
		What: fmt.Sprintf("%s %s: %s", r.req.Step.Action, r.call.Target.ARN, what), Result: result, Before: r.before, After: r.after, Why: r.why(wctx),
	}
	if werr := ledger.Append(wctx, r.store, r.req.Incident.ID, event); werr != nil && err == nil {
		return incident.Result{}, fault.Wrap(fault.NameOf(werr), werr, "record that %s %s is %s", r.req.Step.Action, r.call.Target.ARN, what)
	}
	if err != nil {
		return incident.Result{}, err
	}
	return r.done, nil
}

// why is the reason for the record: a person's words, or the playbook's rule by file and line. Where the ledger does not say, the entry is
// written without it.
func (r *run) why(ctx context.Context) string {
	if r.req.Why != "" || r.req.Mode.Undoes() {
		return r.req.Why
	}
	meta, err := ledger.Load[ledger.Incident](ctx, r.store, ledger.IncidentKey(r.req.Incident.ID))
	if err != nil || meta.Value.Episode != r.req.Incident.Episode { // the rule of another episode says nothing of this step
		return ""
	}
	return meta.Value.Rule
}

// ask puts the step before the guard. It tells whether to go on; where not, done says why.
func (r *run) ask(ctx context.Context, act any) (bool, error) {
	set, err := setting.ReadGuard(ctx, r.store)
	if err != nil {
		return false, err
	}
	q := guard.Question{Request: r.req, Target: r.call.Target, Now: r.now()}
	if r.req.Approval > 0 && r.req.Mode == incident.Apply {
		if q.Aside, err = approval.Override(ctx, r.store, r.req.Incident.ID, r.req.Approval, r.req.Step); err != nil {
			return false, err
		}
	}
	if set.Mode == setting.Act {
		if t, ok := act.(Tagger); ok {
			if q.Tags, err = t.Tags(ctx, r.call); err != nil {
				return false, fmt.Errorf("read tags: %w", err)
			}
			if a, ok := act.(Asker); ok {
				q.Asks = a.Asks(r.call, q.Tags)
			}
		}
		if n, ok := act.(Named); ok {
			if q.FullARN, err = n.FullARN(ctx, r.call); err != nil {
				return false, fmt.Errorf("read the full ARN: %w", err)
			}
		}
		if sh, ok := act.(Sharer); ok {
			if q.Shared, err = sh.Shared(ctx, r.call); err != nil {
				return false, fmt.Errorf("count what uses it: %w", err)
			}
		}
	}
	if set.Mode == setting.Plan {
		r.done.Outcome = incident.Planned
		return false, nil
	}
	no, err := guard.Check(ctx, r.store, set, q)
	if err != nil || no == nil {
		return err == nil, err
	}
	r.done.Outcome, r.done.Reason = incident.Refused, no.Reason
	if no.Rule.Overridable() {
		r.done.Override = string(no.Rule)
	}
	return false, nil
}

// plan says what would change and writes nothing.
func (r *run) plan(ctx context.Context, c Containment) error {
	now, err := c.Observe(ctx, r.call)
	if err != nil {
		return err
	}
	r.done.Outcome = incident.Planned
	if c.Contained(r.call, now) {
		r.done.Outcome, r.done.Verified = incident.Already, true
		return nil
	}
	intent, err := c.Intent(r.call, now)
	if err != nil {
		return err
	}
	r.done.Changes = diff(now, over(now, intent))
	r.note(c, now)
	return nil
}

func (r *run) note(act any, s State) {
	if n, ok := act.(Noter); ok {
		r.done.Changes = append(r.done.Changes, n.Notes(r.call, s)...)
	}
}

// part writes the phase inside Applying that must not last.
func (r *run) part(ctx context.Context, part string) error {
	r.hold.Value.Part = part
	return r.save(ctx)
}

// instead writes what is intended in the place of what was.
func (r *run) instead(ctx context.Context, intent State) error {
	if !r.intend(intent) {
		return nil
	}
	return r.save(ctx)
}

func (r *run) save(ctx context.Context) error {
	ledger.PlaceHold(&r.hold)
	err := ledger.Save(ctx, r.store, &r.hold)
	if errors.Is(err, ledger.ErrConflict) {
		return fault.Wrap(fault.Busy, err, "the hold on %s", r.call.Target.ARN)
	}
	return err
}

// take loads the hold and stops where another execution's lease is live.
func (r *run) take(ctx context.Context) error {
	in, err := r.inst.Read(ctx)
	if err != nil {
		return err
	}
	r.set = in.Action
	r.hold, err = ledger.Load[ledger.Hold](ctx, r.store, ledger.HoldKey(r.call.Target.ARN, r.req.Step.Action))
	if err != nil {
		return err
	}
	h := r.hold.Value
	if h.Lessee != "" && h.Lessee != r.req.Execution.ARN && r.now().Before(h.Lease) {
		return fault.New(fault.Busy, "%s is being worked on by %s until %s", r.call.Target.ARN, h.Lessee, h.Lease.Format(time.RFC3339))
	}
	return nil
}

// lease takes the resource for this execution and moves the hold to a phase in which a crash is found again.
func (r *run) lease(ctx context.Context, p ledger.Phase) error {
	h := &r.hold.Value
	h.Phase, h.Lessee, h.Lease = p, r.req.Execution.ARN, r.now().Add(time.Duration(r.set.LeaseSeconds)*time.Second)
	return r.save(ctx)
}

// unlease lets others at the resource after a failure; the phase stays as it is, so that the next run knows.
func (r *run) unlease(ctx context.Context) {
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	r.hold.Value.Lessee, r.hold.Value.Lease = "", time.Time{}
	if err := r.save(wctx); err != nil {
		slog.WarnContext(ctx, "the lease stays until it runs out", "resource", r.call.Target.ARN, "error", err.Error())
	}
}

func (r *run) log(ctx context.Context, msg string) {
	slog.InfoContext(ctx, msg, "incident", r.req.Incident.ID, "action", r.req.Step.Action, "target", r.call.Target.ARN, "mode", r.req.Mode)
}

func (r *run) holders() []string {
	var out []string
	for id := range r.hold.Value.Holders {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// Request is what people are to be asked.
type Request struct {
	Incident incident.Ref
	Kind     Kind
	// Round of an eradication, 1 or 2. Overrides get theirs from Open.
	Round int
	Steps []Step
	// Need is how many have to approve, where that is more than always.
	Need int
	// Token is the waiting task's; none for an override.
	Token     string
	Execution incident.Execution
	Evidence  string
	Expires   time.Time
	Now       time.Time
}

// Open asks: it writes a new approval under the next number, or gives the one that stands for the same request.
//
// An eradication that is asked again by its own execution (a retry), or by another one while the first is not delivered, with
// an equal hash keeps number, decisions and links, and gets the new token. With another hash the old one is superseded. An
// override is asked only for steps that no other override of the episode asks for, or has decided since the execution began.
// Errors: BadInput, Unreadable.
func Open(ctx context.Context, s ledger.Store, r Request) (Approval, error) {
	if r.Incident.ID == "" || len(r.Steps) == 0 || (r.Kind == KindEradicate) != (r.Token != "") || !r.Expires.After(r.Now) {
		return Approval{}, fault.New(fault.BadInput, "an approval for %q needs steps, an end in the future and, to eradicate, a task token", r.Incident.ID)
	}
	for {
		all, err := List(ctx, s, r.Incident.ID)
		if err != nil {
			return Approval{}, err
		}
		a, err := r.place(ctx, s, all)
		if !errors.Is(err, ledger.ErrConflict) {
			return a, err
		}
		if ctx.Err() != nil {
			return Approval{}, ctx.Err()
		}
	}
}

// place writes the request beside those that are there. ErrConflict says that they were changed meanwhile.
func (r Request) place(ctx context.Context, s ledger.Store, all []ledger.Item[Approval]) (Approval, error) {
	a := Approval{
		Incident: r.Incident.ID, Number: 1, Episode: r.Incident.Episode, Kind: r.Kind, Round: r.Round, Need: max(r.Need, r.Kind.need()), Status: StatusOpen,
		Decisions: []Decision{}, Token: r.Token, Execution: r.Execution.ARN, Evidence: r.Evidence, Asked: r.Now, Expires: r.Expires, Steps: r.Steps,
	}
	if n := len(all); n > 0 {
		a.Number = all[n-1].Value.Number + 1
	}
	if r.Kind == KindOverride {
		covering, left := r.uncovered(all)
		if len(left) == 0 {
			return covering, nil
		}
		a.Steps, a.Round, a.Evidence = left, 1, Complete
		for _, it := range all {
			if it.Value.Kind == KindOverride && it.Value.Episode == a.Episode {
				a.Round++
			}
		}
	}
	a.Hash = Hash(a.Kind, a.Incident, a.Episode, a.Steps)
	a.Steps = compared(a, all)
	items := []ledger.Saver{}
	if r.Kind == KindEradicate {
		for i := range all {
			it := &all[i]
			switch v := it.Value; {
			case v.Kind != a.Kind || v.Episode != a.Episode || v.Round != a.Round || v.Status == StatusSuperseded:
			case v.Hash == a.Hash && (v.Execution == a.Execution || v.Delivered.IsZero()):
				return r.renew(ctx, s, it)
			case v.Delivered.IsZero() && (v.Status == StatusOpen || v.Status == StatusApproved):
				it.Value.end(StatusSuperseded, r.Now)
				if v.Execution == a.Execution {
					// Its task is the one that asks now: the old token is dead, and must never end the new wait.
					it.Value.Token, it.Value.Delivered = "", r.Now
				}
				place(it)
				items = append(items, it)
			}
		}
	}
	fresh := ledger.Item[Approval]{Key: Key(a.Incident, a.Number), Value: a}
	place(&fresh)
	return a, ledger.Save(ctx, s, append(items, &fresh)...)
}

// compared gives the steps of a request with what is different from the one before it that asked the same, if there was one.
func compared(a Approval, all []ledger.Item[Approval]) []Step {
	steps := slices.Clone(a.Steps)
	for _, it := range slices.Backward(all) {
		before := it.Value
		if before.Kind != KindEradicate || a.Kind != KindEradicate || before.Episode != a.Episode || before.Hash == a.Hash {
			continue
		}
		for i := range steps {
			s := &steps[i]
			was := slices.IndexFunc(before.Steps, func(o Step) bool { return o.Key() == s.Key() })
			if was < 0 {
				s.Changed = []string{"this was not asked before"}
				continue
			}
			s.Changed = differences("was", before.Steps[was].Identity, s.Identity)
		}
		break
	}
	return steps
}

// renew gives an approval the token of the task that waits now. One that is decided already is to be delivered again.
func (r Request) renew(ctx context.Context, s ledger.Store, it *ledger.Item[Approval]) (Approval, error) {
	if it.Value.Token == r.Token && it.Value.Execution == r.Execution.ARN {
		return it.Value, nil
	}
	it.Value.Token, it.Value.Execution, it.Value.Delivered = r.Token, r.Execution.ARN, time.Time{}
	it.Value.Evidence = r.Evidence
	place(it)
	return it.Value, ledger.Save(ctx, s, it)
}

// uncovered gives the steps that no override asks for, and the last override that does ask for one of the others.
func (r Request) uncovered(all []ledger.Item[Approval]) (covering Approval, left []Step) {
	for _, step := range r.Steps {
		found := false
		for _, it := range all {
			a := it.Value
			if a.Kind != KindOverride || a.Episode != r.Incident.Episode || !(a.Status == StatusOpen || a.Ended.After(r.Execution.Start)) {
				continue
			}
			for _, have := range a.Steps {
				if have.Key() == step.Key() && have.Rule == step.Rule {
					found, covering = true, a
				}
			}
		}
		if !found {
			left = append(left, step)
		}
	}
	return covering, left
}

// Refused gives the steps that the guard refused and that people may allow: what an override asks for.
func Refused(plan []incident.Step, results []incident.Result) []Step {
	var out []Step
	for _, r := range results {
		if r.Outcome != incident.Refused || r.Override == "" {
			continue
		}
		step := incident.Step{Action: r.Action, Target: r.Target}
		for _, p := range plan {
			if p.Key() == r.Step {
				step = p
			}
		}
		out = append(out, Step{Step: step, Refusal: r.Reason, Rule: r.Override})
	}
	return out
}

// end closes an approval. Where no execution waits for it, that is delivered already; but one that ran out still has to be told to
// people.
func (a *Approval) end(status Status, now time.Time) {
	a.Status, a.Ended = status, now
	if a.Token == "" && status != StatusApproved && status != StatusExpired {
		a.Delivered = now
	}
}

// Supersede ends what is open or not delivered of the incident's episodes before this one: their links decide nothing more.
// Errors: Unreadable.
func Supersede(ctx context.Context, s ledger.Store, id string, episode int) error {
	all, err := List(ctx, s, id)
	if err != nil {
		return err
	}
	for _, it := range all {
		if it.Value.Episode >= episode {
			continue
		}
		why := fmt.Sprintf("episode %d began", episode)
		if err := finish(ctx, s, id, it.Value.Number, StatusSuperseded, "Firebreak", why, time.Now().UTC()); err != nil {
			return err
		}
	}
	return nil
}

// Cancel ends an approval at a person's word. Errors: BadInput where there is none; Unreadable.
func Cancel(ctx context.Context, s ledger.Store, id string, number int, who, why string) error {
	return finish(ctx, s, id, number, StatusCancelled, who, why, time.Now().UTC())
}

// Expire ends an approval that is still open after its time. What people have decided in time stays. Errors: BadInput where
// there is none; Unreadable.
func Expire(ctx context.Context, s ledger.Store, id string, number int, now time.Time) error {
	return finish(ctx, s, id, number, StatusExpired, "Firebreak", "nobody decided in time", now)
}

func finish(ctx context.Context, s ledger.Store, id string, number int, status Status, who, why string, now time.Time) error {
	_, _, err := update(ctx, s, id, number, func(a *Approval) (bool, *ledger.Event) {
		live := a.Status == StatusOpen
		switch status {
		case StatusExpired:
			live = live && !now.Before(a.Expires)
		default:
			live = live || a.Status == StatusApproved && a.Delivered.IsZero()
		}
		if live {
			a.end(status, now)
			if status == StatusCancelled {
				a.EndedBy = who
			}
		}
		return live, &ledger.Event{Time: now, State: "Approval", Who: who, What: fmt.Sprintf("%s %d is %s", a.Kind, number, status), Why: why}
	})
	return err
}

package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/functions"
	"firebreak/lib/approval"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/outcome"
)

// Close holds a release against what came of it and writes it into the incident: closed when the incident holds nothing any
// more that can be undone, else open with what is not as it was asked. It may be called any number of times. It gives the
// incident as it is afterwards, and the closing: Released or Drifted.
//
// Errors: Incomplete where a step failed or was refused, or holds still, with what is done, what is not and what to do (all of
// that is written, and the incident given); BadInput; Unreadable.
func Close(ctx context.Context, s ledger.Store, in incident.ReleaseCloseRequest, now time.Time) (incident.Closing, ledger.Incident, error) {
	id := in.Release.Incident.ID
	if id == "" || in.Execution.ARN == "" || in.Execution.Start.IsZero() {
		return incident.Closing{}, ledger.Incident{}, fault.New(fault.BadInput, "a release is closed for an incident and an execution")
	}
	meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(id))
	if err != nil {
		return incident.Closing{}, ledger.Incident{}, err
	}
	if !meta.Exists() {
		return incident.Closing{}, ledger.Incident{}, fault.New(fault.BadInput, "there is no incident %s", id)
	}
	v := weigh(in)
	if in.Release.Mode != incident.Undo {
		return incident.Closing{}, meta.Value, fault.New(fault.Incomplete, "nothing was to be changed, and nothing was; but it could not be said what would be: %s", strings.Join(v.failed, ", "))
	}
	rest, err := v.look(ctx, s, meta.Value)
	if err != nil {
		return incident.Closing{}, ledger.Incident{}, err
	}
	closes := v.clean() && rest == 0
	if closes {
		if err := cancel(ctx, s, id, in.Release.Why); err != nil {
			return incident.Closing{}, ledger.Incident{}, err
		}
	}
	m, err := outcome.Merge(ctx, s, in.Release.Incident, in.Execution, in.Results, func(m *ledger.Incident) {
		if m.Status == incident.Closed {
			return
		}
		m.Ending, m.Needs = v.ending(), v.words(in, rest)+" ("+in.Release.Why+")"
		if closes {
			m.Status, m.ClosedAt, m.Needs = incident.Closed, now, ""
		}
	})
	if err != nil {
		return incident.Closing{}, ledger.Incident{}, err
	}
	words := v.words(in, rest)
	if m.Episode != in.Release.Incident.Episode {
		words += fmt.Sprintf("; episode %d has begun meanwhile and stays open", m.Episode)
	}
	if err := once(ctx, s, id, ledger.Event{Time: now, State: in.State.Name, Attempt: in.State.Attempt, Who: in.Execution.ARN, What: words, Why: in.Release.Why}); err != nil {
		return incident.Closing{}, ledger.Incident{}, err
	}
	if v.ending() == incident.EndNeedsPerson {
		return incident.Closing{}, m, fault.New(fault.Incomplete, "%s", words)
	}
	return incident.Closing{Incident: id, Ending: v.ending(), Done: len(v.done), Summary: words}, m, nil
}

// once appends an event that the same state of the same execution has not told yet.
func once(ctx context.Context, s ledger.Store, id string, e ledger.Event) error {
	past, err := ledger.Timeline(ctx, s, id)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(past, func(p ledger.Event) bool { return p.Who == e.Who && p.State == e.State && p.What == e.What }) {
		return nil
	}
	return ledger.Append(ctx, s, id, e)
}

// Tell puts on record that a release was asked for, once for each execution. Errors: Unreadable.
func Tell(ctx context.Context, s ledger.Store, p incident.ReleasePlan, ex incident.Execution, state incident.State, now time.Time) error {
	what := "release: " + p.Reason
	for _, step := range p.Steps {
		what += "; " + say(step.Action, step.Target, "")
	}
	if p.Force {
		what += "; by force"
	}
	return once(ctx, s, p.Incident.ID, ledger.Event{Time: now, State: state.Name, Attempt: state.Attempt, Who: ex.ARN, What: what, Why: p.Why})
}

// cancel ends every request to people: what is released is neither destroyed nor contained again.
func cancel(ctx context.Context, s ledger.Store, id, why string) error {
	all, err := approval.List(ctx, s, id)
	if err != nil {
		return err
	}
	for _, it := range all {
		if err := approval.Cancel(ctx, s, id, it.Value.Number, "Firebreak", "the incident was released, "+why); err != nil {
			return err
		}
	}
	return nil
}

// verdict is what came of a release, in words.
type verdict struct {
	done    []string // undone, or not held any more
	drifted []string // left as it is, because somebody has changed it since
	failed  []string // neither
	todo    []string
}

func weigh(in incident.ReleaseCloseRequest) verdict {
	var v verdict
	for _, step := range in.Release.Steps {
		r := of(step, in.Results)
		switch {
		case r.Outcome.Releases():
			v.done = append(v.done, say(step.Action, step.Target, past(r)))
		case r.Outcome == incident.Drifted:
			v.drifted = append(v.drifted, say(step.Action, step.Target, "is not as Firebreak left it ("+strings.Join(r.Changes, "; ")+")"))
		case r.Outcome == incident.Refused:
			v.miss(step, "was refused ("+r.Reason+")", "do by hand what was refused, then scripts/firebreak release "+in.Release.Incident.ID)
		case r.Outcome == incident.Failed:
			v.miss(step, "failed ("+r.Reason+")", "mend the cause in the dead letter, then scripts/firebreak redrive "+in.Release.Incident.ID)
		default:
			v.miss(step, "is "+string(r.Outcome), "look at it: scripts/firebreak show "+in.Release.Incident.ID)
		}
	}
	return v
}

// of finds the result of a step. One that the machine wrote in place of a failed function names action and target only.
func of(step incident.Step, results []incident.Result) incident.Result {
	for _, r := range results {
		if r.Step == step.Key() || r.Step == "" && r.Action == step.Action && r.Target == step.Target {
			return r
		}
	}
	return incident.Result{Outcome: incident.Failed, Reason: "nothing is known of it"}
}

func (v *verdict) miss(step incident.Step, why, todo string) {
	v.failed = append(v.failed, say(step.Action, step.Target, why))
	if !slices.Contains(v.todo, todo) {
		v.todo = append(v.todo, todo)
	}
}

// look reads again what the incident holds. A step that should be undone and is held was contained again meanwhile. It gives
// how many holds are left that could be undone.
func (v *verdict) look(ctx context.Context, s ledger.Store, m ledger.Incident) (int, error) {
	known, err := functions.Actions()
	if err != nil {
		return 0, fault.Wrap(fault.Unreadable, err, "read which actions there are")
	}
	holds, err := Holds(ctx, s, m)
	if err != nil {
		return 0, err
	}
	rest := 0
	for _, h := range holds {
		if a, ok := known[h.Action]; !ok || !a.Undoable() {
			continue
		}
		rest++
		again := func(done string) bool { return strings.HasPrefix(done, say(h.Action, h.Resource, "")+" ") }
		if slices.ContainsFunc(v.done, again) {
			v.done = slices.DeleteFunc(v.done, again)
			v.miss(incident.Step{Action: h.Action, Target: h.Resource}, "was contained again meanwhile", "release it again: scripts/firebreak redrive "+m.ID)
		}
	}
	return rest, nil
}

func (v verdict) clean() bool { return len(v.drifted)+len(v.failed) == 0 }

func (v verdict) ending() incident.Ending {
	switch {
	case len(v.failed) > 0:
		return incident.EndNeedsPerson
	case len(v.drifted) > 0:
		return incident.EndDrifted
	}
	return incident.EndReleased
}

func (v verdict) words(in incident.ReleaseCloseRequest, rest int) string {
	id := in.Release.Incident.ID
	out := "released: " + list(v.done)
	if !v.clean() {
		out = "not all is released. Done: " + list(v.done) + ". Not done: " + list(append(slices.Clone(v.failed), v.drifted...))
		todo := v.todo
		if len(v.drifted) > 0 {
			todo = append(slices.Clone(todo), fmt.Sprintf("look at what was changed, then scripts/firebreak release %s --force restores all the same", id))
		}
		out += ". To do: " + strings.Join(todo, "; ")
	}
	for _, k := range in.Release.Kept {
		out += fmt.Sprintf(". Kept: %s (%s)", say(k.Action, k.Target, ""), k.Reason)
	}
	if v.clean() && rest > 0 {
		out += fmt.Sprintf(". It still holds %d more: scripts/firebreak release %s", rest, id)
	}
	return out
}

func list(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

// say names a step by its action and the last part of its target.
func say(action, target, what string) string {
	return strings.TrimSpace(action + " " + target[strings.LastIndexAny(target, ":/")+1:] + " " + what)
}

// past says an outcome that counts.
func past(r incident.Result) string {
	switch r.Outcome {
	case incident.Restored:
		return strings.TrimSpace("restored" + forced(r))
	case incident.Gone:
		return "does not exist any more"
	case incident.Held:
		return "stays as it is, " + r.Reason
	}
	return "was not held any more"
}

func forced(r incident.Result) string {
	if r.Reason == "" {
		return ""
	}
	return " (" + r.Reason + ")"
}

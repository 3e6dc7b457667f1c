// Package release undoes what an incident holds, at a person's word: what is undone and in which order, and what came of it.
// The undoing itself is the spine's (lib/action).
package release

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/functions"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Plan says what a release undoes: every hold of the incident, of whichever episode, that has an undo; the newest first. It
// writes nothing. Errors: BadInput where nobody asks or there is no such incident; Busy while the incident is still being
// contained; Unreadable.
func Plan(ctx context.Context, s ledger.Store, ask incident.Release) (incident.ReleasePlan, error) {
	if ask.Incident == "" || ask.By == "" {
		return incident.ReleasePlan{}, fault.New(fault.BadInput, "a release names an incident and who asks for it")
	}
	known, err := functions.Actions()
	if err != nil {
		return incident.ReleasePlan{}, fault.Wrap(fault.Unreadable, err, "read which actions there are")
	}
	meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(ask.Incident))
	if err != nil {
		return incident.ReleasePlan{}, err
	}
	if !meta.Exists() {
		return incident.ReleasePlan{}, fault.New(fault.BadInput, "there is no incident %s", ask.Incident)
	}
	set, err := setting.ReadGuard(ctx, s)
	if err != nil {
		return incident.ReleasePlan{}, err
	}
	holds, err := Holds(ctx, s, meta.Value)
	if err != nil {
		return incident.ReleasePlan{}, err
	}
	p := incident.ReleasePlan{
		Disposition: incident.ReleaseSteps, Incident: meta.Value.Ref(), Mode: incident.Undo, Force: ask.Force, Why: "asked by " + ask.By,
		Whole: len(ask.Actions) == 0, Steps: []incident.Step{}, Kept: []incident.Result{},
	}
	if ask.Why != "" {
		p.Why += ": " + ask.Why
	}
	if ask.Plan {
		p.Mode = incident.LookUndo
	}
	if ask.Episode > 0 && ask.Episode != meta.Value.Episode {
		return refuse(p, "episode %d of %s has begun since: look at it, then release that", meta.Value.Episode, ask.Incident), nil
	}
	if set.Mode == setting.Off {
		return refuse(p, "Firebreak is switched off (by %s): nothing is released until scripts/firebreak mode act (or plan)", set.By), nil
	}
	if !ask.Plan && containing(meta.Value) {
		return p, fault.New(fault.Busy, "%s is still being contained by %s: release it when that has ended", ask.Incident, meta.Value.Owner)
	}
	var held []string
	for _, h := range holds {
		if !slices.Contains(held, h.Action) {
			held = append(held, h.Action)
		}
		if !p.Whole && !slices.Contains(ask.Actions, h.Action) {
			continue
		}
		step := incident.Step{Action: h.Action, Target: h.Resource}
		if with := h.Holders[meta.Value.ID]; len(with) > 0 {
			step.With = with
		}
		a, ok := known[h.Action]
		if ok && a.Undoable() {
			p.Steps = append(p.Steps, step)
			continue
		}
		why := h.Action + " is no action of this version"
		if ok {
			why = h.Action + " has no undo: " + a.NoUndo
		}
		p.Kept = append(p.Kept, incident.Result{Action: h.Action, Target: h.Resource, Outcome: incident.Refused, Changes: []string{}, Reason: why, Step: step.Key()})
	}
	if p.Whole {
		p.Reason = fmt.Sprintf("%d steps to undo, %d stay as they are", len(p.Steps), len(p.Kept))
		return p, nil
	}
	var absent []string
	for _, name := range ask.Actions {
		if !slices.Contains(held, name) {
			absent = append(absent, name)
		}
	}
	switch {
	case len(absent) > 0:
		slices.Sort(held)
		return refuse(p, "%s holds nothing by %s; it holds by %s", ask.Incident, strings.Join(absent, ", "), orNothing(held)), nil
	case len(p.Steps) == 0:
		return refuse(p, "%s", p.Kept[0].Reason), nil
	}
	p.Reason = fmt.Sprintf("%d steps to undo, chosen by name", len(p.Steps))
	return p, nil
}

func refuse(p incident.ReleasePlan, format string, args ...any) incident.ReleasePlan {
	p.Disposition, p.Steps, p.Reason = incident.ReleaseNothing, []incident.Step{}, fmt.Sprintf(format, args...)
	return p
}

// containing tells whether an execution still works on the first try of a step.
func containing(m ledger.Incident) bool {
	if m.Status != incident.Open || m.Ending != "" {
		return false
	}
	return slices.ContainsFunc(m.Plan.Contain, func(s incident.Step) bool {
		_, told := m.Outcomes[s.Key()]
		return !told
	})
}

// Holds gives what an incident holds, over all its episodes, the newest first. What is half done has no time of its own and
// comes before the rest. Errors: Unreadable.
func Holds(ctx context.Context, s ledger.Store, m ledger.Incident) ([]ledger.Hold, error) {
	events, err := ledger.Timeline(ctx, s, m.ID)
	if err != nil {
		return nil, err
	}
	resources := map[string]bool{}
	for _, step := range slices.Concat(m.Plan.Contain, m.Plan.Eradicate) {
		resources[step.Target] = true
	}
	for _, arn := range m.Finding.Resources {
		resources[arn] = true
	}
	done := map[string]time.Time{}
	for _, e := range events {
		if r := e.Result; r != nil {
			resources[r.Target] = true
			if r.Outcome.Contains() {
				done[r.Action+" "+r.Target] = e.Time
			}
		}
	}
	var out []ledger.Hold
	for _, arn := range slices.Sorted(maps.Keys(resources)) {
		items, err := ledger.List[ledger.Hold](ctx, s, "RES#"+arn, "HOLD#")
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if _, holds := it.Value.Holders[m.ID]; holds {
				out = append(out, it.Value)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b ledger.Hold) int {
		x, y := done[a.Action+" "+a.Resource], done[b.Action+" "+b.Resource]
		switch {
		case x.IsZero() || y.IsZero():
			return x.Compare(y)
		default:
			return y.Compare(x)
		}
	})
	return out, nil
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing at all"
	}
	return strings.Join(list, ", ")
}

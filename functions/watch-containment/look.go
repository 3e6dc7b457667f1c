package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"firebreak/functions"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/invocation"
	"firebreak/lib/ledger"
	"firebreak/lib/outcome"
)

// state names this function in timelines and in the calls of actions.
const state = "WatchContainment"

// undone is a step that somebody has undone, and what its action says of it now.
type undone struct {
	step   incident.Step
	since  time.Time // when the execution began that contained it
	result incident.Result
}

// incident looks at one incident, and tells of what is undone. What changes while it is looked at has its turn at the next run.
func (r *run) incident(ctx context.Context, id string) error {
	meta, err := ledger.Load[ledger.Incident](ctx, r.store, ledger.IncidentKey(id))
	if err != nil || meta.Value.Status != incident.Contained {
		return err
	}
	m := meta.Value
	_, err = r.closing.Held(ctx, r.store, m, r.now())
	switch {
	case fault.Is(err, fault.Busy):
		r.report.Busy++
		return nil
	case err != nil:
		return err
	}
	began, err := outcome.Starts(ctx, r.store, m.ID, m.Episode)
	if err != nil {
		return err
	}
	r.report.Incidents++
	var lost []undone
	for _, s := range m.Plan.Contain {
		watched, err := r.held(ctx, m, s)
		if err != nil {
			return err
		}
		if !watched {
			continue
		}
		since := began[s.Key()]
		if since.IsZero() {
			since = m.OwnerStart
		}
		result, err := r.look(ctx, m, s, since)
		if why := unseen(result, err); why != "" {
			r.report.Unseen++
			slog.WarnContext(ctx, "whether it is contained cannot be seen", "incident", m.ID, "action", s.Action, "target", s.Target, "reason", why)
			if !fault.Is(err, fault.Throttled) { // which passes
				r.unseen[m.Finding.Account] = append(r.unseen[m.Finding.Account], fmt.Sprintf("%s: %s %s: %s", m.ID, s.Action, channel.Plain(s.Target), channel.Line(why, 300)))
			}
			continue
		}
		switch {
		case err != nil:
			r.report.Busy++
		case result.Outcome == incident.Planned:
			lost = append(lost, undone{s, since, result})
		default:
			r.report.Still++
		}
	}
	if len(lost) == 0 {
		return nil
	}
	r.report.Undone++
	return r.tell(ctx, meta, lost)
}

// held tells whether a step is held for the incident, and nothing goes on with it: what was released, or never held, is not watched.
func (r *run) held(ctx context.Context, m ledger.Incident, s incident.Step) (bool, error) {
	actions, err := functions.Actions()
	if err != nil {
		return false, fault.Wrap(fault.Unreadable, err, "read which actions there are")
	}
	a, known := actions[s.Action]
	o := m.Outcomes[s.Key()].Outcome
	if !known || a.Tells() || a.Destroys || a.Unwatched != "" || o != incident.Applied && o != incident.Already {
		return false, nil
	}
	it, err := ledger.Load[ledger.Hold](ctx, r.store, ledger.HoldKey(s.Target, s.Action))
	if err != nil {
		return false, err
	}
	h := it.Value
	_, ours := h.Holders[m.ID]
	switch {
	case !ours || h.Phase == ledger.Released:
		return false, nil
	case h.Phase == ledger.Undoing, h.Lessee != "" && r.now().Before(h.Lease):
		r.report.Busy++
		return false, nil
	}
	return true, nil
}

// look asks the step's own action whether it is contained. It changes nothing. Contained since is what the execution found that did it: a
// deny of old sessions has to be as new as that.
func (r *run) look(ctx context.Context, m ledger.Incident, s incident.Step, since time.Time) (incident.Result, error) {
	left := max(0, r.until.Add(patience).Sub(r.now())) // so that there is time to tell what was seen
	ctx, cancel := context.WithTimeout(ctx, min(patience, left))
	defer cancel()
	return invocation.Call(ctx, r.functions, incident.Request{
		Mode: incident.Look, Incident: m.Ref(), Step: s, State: incident.State{Name: state}, Execution: incident.Execution{ARN: m.Owner, Start: since},
	})
}

// unseen says why a look shows nothing, "" where it does. What somebody works on is seen at the next run.
func unseen(result incident.Result, err error) string {
	switch {
	case fault.Is(err, fault.Busy):
		return ""
	case err != nil:
		return fmt.Sprintf("%s: %v", fault.NameOf(err), err)
	case result.Outcome.Contains() || result.Outcome == incident.Planned:
		return ""
	}
	return fmt.Sprintf("%s: %s", cmp.Or(result.Outcome, "no outcome"), result.Reason)
}

// tell tells people, and then writes the incident as open, with what is undone, and the timeline's entry in one piece. People are told
// once of one difference and one containment: whatever breaks between the two is made good by the next run, and told no second time.
func (r *run) tell(ctx context.Context, meta ledger.Item[ledger.Incident], lost []undone) error {
	m := meta.Value
	sum := sha256.New()
	var short, long []string
	for _, u := range lost {
		differs := differs(u.result)
		fmt.Fprintf(sum, "%s\x00%s\x00%q\n", u.step.Key(), ledger.Stamp(u.since), u.result.Changes)
		short = append(short, fmt.Sprintf("%s %s (%s)", u.step.Action, channel.Plain(u.step.Target), strings.Join(differs, "; ")))
		long = append(long, fmt.Sprintf("%s %s\ncontained by the execution of %s; what it is now -> what it would be, contained again:\n- %s", u.step.Action, channel.Plain(u.step.Target), u.since.Format(time.RFC3339), strings.Join(differs, "\n- ")))
	}
	kind := "undone-" + hex.EncodeToString(sum.Sum(nil))[:16]
	_, err := r.topic.Once(ctx, r.store, m.ID, m.Episode, kind, channel.Message{
		Subject: m.ID + " is not contained any more: " + lost[0].step.Action + " was undone", Severity: m.Band,
		Body: fmt.Sprintf("%s in %s was contained. Somebody or something has undone this since:\n\n%s\n\nFirebreak has changed nothing: it may be meant. What is new since then counts too, for instance a new key.\n\n"+
			"Contain it again, in mode act: scripts/firebreak redrive %[4]s\nLeave it as it is:            scripts/firebreak close %[4]s --why …\nGive back what it still holds: scripts/firebreak release %[4]s --plan says what that would be\nLook:                         scripts/firebreak show %[4]s\n",
			channel.Plain(m.Finding.Type), m.Finding.Account, strings.Join(long, "\n\n"), m.ID),
	})
	if errors.Is(err, ledger.ErrConflict) { // another run tells it
		r.report.Busy++
		return nil
	}
	if err != nil {
		return err
	}
	what := "not contained any more: " + strings.Join(short, ", ")
	slog.InfoContext(ctx, "open", "incident", m.ID, "episode", m.Episode, "reason", what)
	entry := ledger.Entry(m.ID, ledger.Event{
		Time: r.now(), State: state, Who: "watch-containment", What: what, Why: "somebody or something has undone it; nothing was changed because of that",
	})
	meta.Value.Status, meta.Value.Ending = incident.Open, incident.EndNeedsPerson
	meta.Value.Needs = fmt.Sprintf("%s. Contain it again with scripts/firebreak redrive %s (mode act), or leave it so with scripts/firebreak close %[2]s", what, m.ID)
	for _, u := range lost {
		u.result.Reason = "it was contained and is not any more"
		meta.Value.Outcomes[u.step.Key()] = u.result
	}
	ledger.Place(&meta)
	err = ledger.Save(ctx, r.store, &meta, &entry)
	if errors.Is(err, ledger.ErrConflict) { // something goes on with it: the next run looks again
		r.report.Busy++
		return nil
	}
	return err
}

// differs are a look's lines, made inert: names in them are other people's.
func differs(result incident.Result) []string {
	out := make([]string, 0, len(result.Changes))
	for _, line := range result.Changes {
		out = append(out, channel.Line(line, 300))
	}
	if len(out) == 0 {
		out = append(out, "its action does not say how it differs")
	}
	return out
}

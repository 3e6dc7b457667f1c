package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/owner"
	"firebreak/lib/playbook"
	"firebreak/lib/setting"
)

// outsideRule stands for the rule of an incident that may not be acted on, because of its account, its region or its form. The
// first copy that may act begins the next episode.
const outsideRule = "settings: accounts"

func outside(f finding.Finding, reason string) choice {
	c := choice{Decision: playbook.Tell(f, reason)}
	c.Rule = outsideRule
	c.told = owner.Resolve(c.Audience, f, setting.Account{})
	c.told.EscalateMinutes = int(c.Escalate.Minutes())
	return c
}

// turn is what a copy of a finding does to its incident.
type turn int

const (
	begin turn = iota // an episode
	again             // this execution has it already: go on
	raise             // the band only: there is nothing to do
	later             // a duplicate
)

// turnOf decides by what the ledger says of the incident, and says why in words.
func turnOf(it ledger.Item[ledger.Incident], execution string, f finding.Finding, d choice) (turn, string) {
	m := it.Value
	switch {
	case !it.Exists():
		return begin, d.Reason
	case m.Owner == execution:
		return again, "a retry of the execution that has it"
	case !d.eligible:
		return later, "execution " + m.Owner + " has it: " + d.Reason
	case m.Rule == outsideRule:
		return begin, d.Reason + " (it may be acted on now)"
	case d.Band.Above(m.Band) && len(d.Plan.Contain)+len(d.Plan.Eradicate) == 0:
		return raise, fmt.Sprintf("the severity rose from %s to %s, %s", m.Band, d.Band, d.Reason)
	case d.Band.Above(m.Band):
		return begin, fmt.Sprintf("%s (the severity rose from %s to %s)", d.Reason, m.Band, d.Band)
	case m.Status == incident.Closed && f.LastSeen.After(m.ClosedAt):
		return begin, fmt.Sprintf("%s (seen again at %s, after it was closed)", d.Reason, ledger.Stamp(f.LastSeen))
	}
	return later, "execution " + m.Owner + " has it"
}

// take takes the incident by one conditional write, or finds that another execution has it. Of any number of copies at once,
// one writes; the others read what it wrote and decide again.
func (h handler) take(ctx context.Context, in input, f finding.Finding, d choice) (incident.Decision, error) {
	id := f.IncidentID()
	for {
		it, err := ledger.Load[ledger.Incident](ctx, h.store, ledger.IncidentKey(id))
		if err != nil {
			return incident.Decision{}, err
		}
		t, why := turnOf(it, in.Execution.ARN, f, d)
		slog.InfoContext(ctx, "take", "incident", id, "type", f.Type, "execution", in.name(), "disposition", d.Disposition, "reason", why)
		err = h.write(ctx, in, f, d, t, &it)
		if errors.Is(err, ledger.ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return incident.Decision{}, err
		}
		return h.taken(ctx, in, it.Value, d, t, why)
	}
}

// write brings the incident to what the turn makes of it. A duplicate that says nothing new writes nothing.
func (h handler) write(ctx context.Context, in input, f finding.Finding, d choice, t turn, it *ledger.Item[ledger.Incident]) error {
	m := &it.Value
	seen := h.seen(in, f.LastSeen)
	switch t {
	case again:
		return nil
	case later:
		if f.LastSeen.IsZero() || !seen.After(m.LastSeen) {
			return nil
		}
	case raise:
		m.Band = d.Band
	case begin:
		links, err := h.links(ctx, f)
		if err != nil {
			return err
		}
		if m.FirstSeen.IsZero() {
			m.FirstSeen = h.seen(in, f.FirstSeen)
		}
		m.ID, m.Episode, m.Band, m.Status, m.Seen = f.IncidentID(), m.Episode+1, d.Band, incident.Open, seen
		m.Owner, m.OwnerStart, m.ClosedAt = in.Execution.ARN, in.Execution.Start, time.Time{}
		m.Finding, m.Rule, m.Plan, m.Told = kept(f), d.Rule, d.Plan, d.told
		m.Outcomes, m.Ending, m.Needs = map[string]incident.Result{}, "", ""
		if len(d.Plan.Contain)+len(d.Plan.Eradicate) == 0 {
			m.Status, m.Ending = incident.Recorded, incident.EndRecorded
		}
		if d.Dropped > 0 {
			m.Needs = d.Reason
		}
		m.LastSeen = latest(m.LastSeen, seen)
		ledger.Place(it)
		return ledger.Save(ctx, h.store, append([]ledger.Saver{it}, links...)...)
	}
	m.LastSeen = latest(m.LastSeen, seen)
	ledger.Place(it)
	return ledger.Save(ctx, h.store, it)
}

// taken puts on record what happened and gives the machine its answer. Everything here may happen twice.
func (h handler) taken(ctx context.Context, in input, m ledger.Incident, d choice, t turn, why string) (incident.Decision, error) {
	out := incident.Decision{Disposition: incident.Duplicate, Reason: why, Incident: m.Ref(), Plan: incident.Plan{Contain: []incident.Step{}, Eradicate: []incident.Step{}}}
	what := fmt.Sprintf("a copy arrived (%s): %s", d.Band, why)
	if t == begin || t == again {
		what = fmt.Sprintf("episode %d: %s %s, %s", m.Episode, m.Band, m.Finding.Type, why)
		out.Disposition, out.Plan = incident.Respond, whole(m.Plan)
		if len(m.Plan.Contain)+len(m.Plan.Eradicate) == 0 {
			out.Disposition = incident.Record
		}
		if m.Episode > 1 {
			if err := approval.Supersede(ctx, h.store, m.ID, m.Episode); err != nil {
				return incident.Decision{}, err
			}
		}
		linked, err := h.linked(ctx, m)
		if err != nil {
			return incident.Decision{}, err
		}
		if len(linked) > 0 {
			what += "; shares resources with " + strings.Join(linked, ", ")
		}
	}
	return out, h.note(ctx, in, m.ID, what, m.Rule)
}

func (h handler) note(ctx context.Context, in input, id, what, why string) error {
	return ledger.Append(ctx, h.store, id, ledger.Event{Time: h.now(), State: in.State.Name, Attempt: in.State.Attempt, Who: in.Execution.ARN,
		What: what + "; the event is kept as " + evidenceKey(in, id), Why: why})
}

// copied is the record of something that never takes an incident: INC#<id> / COPY#<execution>.
type copied struct {
	Reason    string         `json:"reason"`
	Finding   ledger.Finding `json:"finding"`
	Execution string         `json:"execution"`
	Evidence  string         `json:"evidence"`
	At        time.Time      `json:"at"`
}

// aside records a copy that may not act, beside its incident. Once for each execution.
func (h handler) aside(ctx context.Context, in input, f finding.Finding, reason string) (incident.Decision, error) {
	id := f.IncidentID()
	slog.InfoContext(ctx, "set aside", "incident", id, "type", f.Type, "execution", in.name(), "reason", reason)
	it := ledger.Item[copied]{Key: ledger.Key{PK: "INC#" + id, SK: "COPY#" + in.name()}, Value: copied{Reason: reason, Finding: kept(f), Execution: in.Execution.ARN, Evidence: evidenceKey(in, id), At: h.now()}}
	out := incident.Decision{
		Disposition: incident.Record, Reason: reason, Plan: whole(incident.Plan{}),
		Incident: incident.Ref{ID: id, Severity: f.Band, Account: f.Account, Region: f.Region, Type: f.Type, Seen: h.seen(in, f.LastSeen)},
	}
	err := ledger.Save(ctx, h.store, &it)
	if errors.Is(err, ledger.ErrConflict) {
		return out, nil
	}
	if err != nil {
		return incident.Decision{}, err
	}
	return out, h.note(ctx, in, id, "recorded, not acted on: "+reason, "")
}

// link says that an incident names a resource: RES#<arn> / INC#<id>.
type link struct {
	Incident string    `json:"incident"`
	Type     string    `json:"type"`
	At       time.Time `json:"at"`
}

// maxLinks keeps the write that takes an incident within a transaction (DynamoDB: 100 items).
const maxLinks = 90

func (h handler) links(ctx context.Context, f finding.Finding) ([]ledger.Saver, error) {
	var out []ledger.Saver
	for _, arn := range f.ARNs() {
		it, err := ledger.Load[link](ctx, h.store, ledger.Key{PK: "RES#" + arn, SK: "INC#" + f.IncidentID()})
		if err != nil {
			return nil, err
		}
		if !it.Exists() && len(out) < maxLinks {
			it.Value = link{Incident: f.IncidentID(), Type: f.Type, At: h.now()}
			out = append(out, &it)
		}
	}
	return out, nil
}

// linked names other incidents with the same resources, ten at most.
func (h handler) linked(ctx context.Context, m ledger.Incident) ([]string, error) {
	var out []string
	seen := map[string]bool{m.ID: true}
	for _, arn := range m.Finding.Resources {
		items, err := ledger.List[link](ctx, h.store, "RES#"+arn, "INC#")
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if id := it.Value.Incident; !seen[id] && len(out) < 10 {
				out, seen[id] = append(out, id), true
			}
		}
	}
	return out, nil
}

// seen is t, or the execution's start where t is unknown or lies in the future.
func (h handler) seen(in input, t time.Time) time.Time {
	if t.IsZero() || t.After(h.now()) {
		return in.Execution.Start
	}
	return t
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// kept is what the ledger keeps of a finding.
func kept(f finding.Finding) ledger.Finding {
	return ledger.Finding{
		Product: f.Product, NativeID: f.NativeID, Source: f.Source, Type: f.Type, Title: f.Title, Account: f.Account,
		Region: f.Region, Score: f.Score, Resources: f.ARNs(), People: f.People(),
	}
}

// whole makes the plan's lists never null.
func whole(p incident.Plan) incident.Plan {
	return incident.Plan{Contain: append([]incident.Step{}, p.Contain...), Eradicate: append([]incident.Step{}, p.Eradicate...), Approvers: p.Approvers}
}

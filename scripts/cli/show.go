package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/evidence"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

const showHelp = `Shows one incident: what was found, how each step stands, what is held on the resources, who was asked and who decided, and
everything that happened, in the order of time. Task tokens and links are never shown.
`

// record is all that the ledger has of an incident, without what is secret.
type record struct {
	Incident  ledger.Incident     `json:"incident"`
	Holds     []ledger.Hold       `json:"holds"`
	Manifests []evidence.Manifest `json:"manifests"`
	Approvals []approval.Approval `json:"approvals"`
	Timeline  []ledger.Event      `json:"timeline"`
}

var incidentID = regexp.MustCompile(`^INC-[A-Z2-7]{16}$`)

// named reads an incident's id as a person types it.
func named(typed string) (string, error) {
	id := strings.ToUpper(strings.TrimSpace(typed))
	if !incidentID.MatchString(id) {
		return "", wrong("%q is not the id of an incident: one looks like INC-BWJ4TH5BLF5DYQIG, and scripts/firebreak incidents lists them", typed)
	}
	return id, nil
}

func show(ctx context.Context, a *app, c *call) error {
	id, err := c.incident()
	if err != nil {
		return err
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	r, err := k.record(ctx, id)
	if err != nil {
		return k.explain(err)
	}
	if c.json {
		return dump(a.out, r)
	}
	r.print(a)
	return nil
}

// record reads an incident.
func (k *cloud) record(ctx context.Context, id string) (record, error) {
	r := record{Holds: []ledger.Hold{}, Manifests: []evidence.Manifest{}, Approvals: []approval.Approval{}}
	meta, err := ledger.Load[ledger.Incident](ctx, k.store, ledger.IncidentKey(id))
	if err != nil {
		return r, err
	}
	if r.Timeline, err = ledger.Timeline(ctx, k.store, id); err != nil {
		return r, err
	}
	if !meta.Exists() && len(r.Timeline) == 0 {
		return r, fmt.Errorf("there is no incident %s in %s", id, k.where)
	}
	// Copies that may not act (samples, archived findings) have a timeline and no incident.
	r.Incident = meta.Value
	r.Incident.ID = id
	for _, s := range r.Incident.Plan.Contain {
		hold, err := ledger.Load[ledger.Hold](ctx, k.store, ledger.HoldKey(s.Target, s.Action))
		if err != nil {
			return r, err
		}
		if hold.Exists() && !slices.ContainsFunc(r.Holds, func(h ledger.Hold) bool { return h.Resource == s.Target && h.Action == s.Action }) {
			r.Holds = append(r.Holds, hold.Value)
		}
		if s.Action != "snapshot-volumes" {
			continue
		}
		taken, err := ledger.Load[evidence.Manifest](ctx, k.store, evidence.ManifestKey(s.Target))
		if err != nil {
			return r, err
		}
		if taken.Exists() {
			r.Manifests = append(r.Manifests, taken.Value)
		}
	}
	items, err := approval.List(ctx, k.store, id)
	if err != nil {
		return r, err
	}
	for _, it := range items {
		it.Value.Token, it.Value.Nonces = "", nil
		r.Approvals = append(r.Approvals, it.Value)
	}
	return r, nil
}

func (r record) print(a *app) {
	w, i := a.out, r.Incident
	if i.Status == "" {
		fmt.Fprintf(w, "%s: copies of it were recorded, none was acted on\n", i.ID)
	} else {
		fmt.Fprintf(w, "%s  %s  %s (episode %d)\n", i.ID, i.Band, strings.ToUpper(string(i.Status)), i.Episode)
		if i.Needs != "" {
			fmt.Fprintf(w, "\nNEEDS A PERSON\n  %s\n", plain(i.Needs, 1000))
		}
		fmt.Fprintf(w, "\nFOUND\n  %s\n", plain(i.Finding.Type, 200))
		if t := channel.Plain(i.Finding.Title); t != "" {
			fmt.Fprintf(w, "  %s\n", t)
		}
		fmt.Fprintf(w, "  account %s, %s; first seen %s, last seen %s (%s)\n", plain(i.Finding.Account, 20), plain(i.Finding.Region, 20), clock(i.FirstSeen), clock(i.LastSeen), ago(a.now(), i.LastSeen))
		for _, arn := range i.Finding.Resources {
			fmt.Fprintf(w, "  names %s\n", plain(arn, 300))
		}
		fmt.Fprintf(w, "  decided by %s, executed by %s\n", orDash(i.Rule), orDash(last(i.Owner)))
		steps(w, "CONTAIN", i.Plan.Contain, i)
		steps(w, "ERADICATE, AFTER APPROVAL", i.Plan.Eradicate, i)
		byHand(w, i)
	}
	if len(r.Holds) > 0 {
		fmt.Fprint(w, "\nHELD\n")
	}
	for _, h := range r.Holds {
		fmt.Fprintf(w, "  %s on %s: %s, for %s\n", h.Action, short(h.Resource), phase(h), strings.Join(slices.Sorted(maps.Keys(h.Holders)), ", "))
	}
	if len(r.Manifests) > 0 {
		fmt.Fprint(w, "\nKEPT\n")
	}
	for _, m := range r.Manifests {
		fmt.Fprintf(w, "  %s\n", short(m.Instance))
		for _, e := range m.Snapshots {
			fmt.Fprintf(w, "      %s\n", plain(e.String(), 400))
		}
	}
	if len(r.Approvals) > 0 {
		fmt.Fprint(w, "\nASKED\n")
	}
	for _, p := range r.Approvals {
		fmt.Fprintf(w, "  %d %s: %s, asked %s, expires %s; %d of %d approvals\n", p.Number, p.Kind, strings.ToUpper(string(p.Status)), clock(p.Asked), clock(p.Expires), len(p.By()), p.Need)
		for _, s := range p.Steps {
			fmt.Fprintf(w, "      %s %s\n", s.Action, short(s.Target))
			if s.Refusal != "" {
				fmt.Fprintf(w, "      held back: %s\n", plain(s.Refusal, 300))
			}
		}
		for _, d := range p.Decisions {
			word := "rejected"
			if d.Approve {
				word = "approved"
			}
			fmt.Fprintf(w, "      %s %s %s via %s: %s\n", clock(d.At), plain(d.Approver, 60), word, d.Via, plain(d.Reason, 200))
		}
	}
	fmt.Fprint(w, "\nTIMELINE (UTC)\n")
	for _, e := range r.Timeline {
		fmt.Fprintf(w, "  %s  %-16s %s\n", clock(e.Time), orDash(e.State), told(e.What))
		if e.Result != nil {
			for _, line := range e.Result.Changes {
				fmt.Fprintf(w, "      %s\n", plain(line, 300))
			}
		}
	}
}

// steps says how each step of a plan stands.
func steps(w io.Writer, head string, list []incident.Step, i ledger.Incident) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", head)
	for _, s := range list {
		r, known := i.Outcomes[s.Key()]
		how := "not known yet"
		if known {
			how = strings.ToUpper(string(r.Outcome))
			if r.Verified {
				how += ", read back"
			}
			if r.Reason != "" {
				how += ": " + plain(r.Reason, 300)
			}
		}
		fmt.Fprintf(w, "  %-20s %s  %s\n", s.Action, short(s.Target), how)
	}
}

// byHand gives in full what an action refused and nobody can set aside: the exact edit, where one was prepared.
func byHand(w io.Writer, i ledger.Incident) {
	head := "\nTO BE DONE BY HAND\n"
	for _, s := range i.Plan.Contain {
		if r := i.Outcomes[s.Key()]; r.Outcome == incident.Refused && r.Override == "" {
			fmt.Fprintf(w, "%s  %s %s\n      %s\n", head, s.Action, short(s.Target), plain(r.Reason, 4000))
			head = ""
		}
	}
}

func phase(h ledger.Hold) string {
	switch h.Phase {
	case ledger.Applying:
		return "HALF DONE"
	case ledger.Undoing:
		return "half undone"
	case ledger.Released:
		return "released, people are asked until " + clock(h.Until)
	}
	return string(h.Phase)
}

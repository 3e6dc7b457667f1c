package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/channel"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// seen answers the link by which a person acknowledges an incident. GET shows it; POST stops the escalation, nothing else.
func (h handler) seen(ctx context.Context, req request, segment string, p pages) (response, error) {
	wrong := p.message(http.StatusNotFound, "wrong")
	ring, link, err := h.keys.Follow(ctx, segment)
	if errors.Is(err, approval.ErrLink) {
		return wrong, nil
	} else if err != nil {
		return response{}, err
	}
	v := visit{link: link, ring: ring, now: h.now().UTC()}
	if v.installed, err = h.inst.Deciding(ctx); err != nil {
		return response{}, err
	}
	meta, err := ledger.Load[ledger.Incident](ctx, h.store, ledger.IncidentKey(link.Incident))
	if err != nil {
		return response{}, err
	}
	if v.meta = meta.Value; !v.ring.GenuineSeen(link, v.meta) {
		return wrong, nil
	}
	people, err := approval.Watchers(ctx, h.store, v.installed, v.meta)
	if err != nil {
		return response{}, err
	}
	if !slices.ContainsFunc(people, func(p setting.Approver) bool { return p.ID == link.Approver }) {
		return p.message(http.StatusForbidden, "barred"), nil
	}
	if req.RequestContext.HTTP.Method == http.MethodPost {
		return h.acknowledge(ctx, req, v, p)
	}
	return h.sighting(ctx, http.StatusOK, v, entry{}, p)
}

// past names why a link to acknowledge is good for nothing any more, in the table of texts; "" while it is.
func past(v visit) string {
	switch {
	case v.meta.Status == incident.Closed:
		return "seen.closed"
	case v.link.Number != -v.meta.Episode:
		return "seen.newer"
	case !v.now.Before(v.link.Expires):
		return "seen.old"
	}
	return ""
}

// acknowledge takes the form. The link alone is enough, with an id typed by hand: whatever presses buttons types none.
func (h handler) acknowledge(ctx context.Context, req request, v visit, p pages) (response, error) {
	if !ownForm(req) {
		return p.message(http.StatusForbidden, "foreign"), nil
	}
	form, status := parse(req)
	if status != http.StatusOK {
		return p.message(status, "malformed"), nil
	}
	in := entry{Typed: []string{strings.TrimSpace(form.Get("typed-0"))}, Keep: []bool{false}}
	if past(v) != "" {
		return h.sighting(ctx, http.StatusConflict, v, entry{}, p)
	}
	if _, ok := v.ring.Spend(v.link, "", form.Get("nonce"), v.now); !ok {
		in.Wrong, in.Trouble = []bool{false}, "stale"
		return h.sighting(ctx, http.StatusConflict, v, in, p)
	}
	if in.Typed[0] != named(v.meta) {
		in.Wrong, in.Trouble = []bool{true}, "typed"
		return h.sighting(ctx, http.StatusUnprocessableEntity, v, in, p)
	}
	slog.InfoContext(ctx, "acknowledge", "incident", v.meta.ID, "approver", v.link.Approver)
	_, _, err := approval.Acknowledge(ctx, h.store, v.meta, approval.Acknowledgement{By: v.link.Approver, Via: setting.ViaLink, At: v.now})
	if err != nil {
		return response{}, err
	}
	h.showSeen(ctx, v.installed, v.meta)
	see := p.message(http.StatusSeeOther, "done")
	see.Headers["location"] = v.link.String()
	return see, nil
}

// named is what is typed to acknowledge: the name of the resource that the finding names first, else the account.
func named(meta ledger.Incident) string {
	for _, r := range meta.Finding.Resources {
		if n := r[strings.LastIndexAny(r, ":/")+1:]; n != "" {
			return n
		}
	}
	return meta.Finding.Account
}

// sighting shows an incident with who looks after it, or the form.
func (h handler) sighting(ctx context.Context, status int, v visit, in entry, p pages) (response, error) {
	ack, known, err := approval.Acknowledged(ctx, h.store, v.meta)
	if err != nil {
		return response{}, err
	}
	s := p.finding(v)
	s.Tag, s.Kind, s.DecisionsTitle, s.DecisionsNone, s.Mood = v.meta.ID, "seen", p.text("seen.who"), p.text("decisions.none"), "open"
	s.Title, s.Text, s.Console = p.text("seen"), p.text("seen.text"), console(v.meta.Owner)
	over := past(v)
	if known {
		s.Decisions = []decision{{Who: name(v.installed, ack.By), Word: p.text("seen.word"), At: p.clock(ack.At), You: ack.By == v.link.Approver, Approve: true}}
	}
	if over == "seen.old" && known {
		over = "" // somebody has it: how old the link is does not matter
	}
	if over != "" {
		s.Mood, s.Title, s.Text = "superseded", p.text(over), p.text(over+".text")
	} else if known {
		s.Mood, s.Title, s.Text = "decided", p.text("seen.done"), p.text("seen.done.text")
	} else {
		s.Form, s.Nonce, s.FormTitle, s.You = true, v.ring.Nonce(v.link, "", v.now), p.text("seen.form"), p.text("seen.you", name(v.installed, v.link.Approver))
		s.SeenLabel = p.text("seen.button")
		f := field{Field: "typed-0", Name: channel.Plain(named(v.meta)), Typed: true}
		f.Before, f.After, _ = strings.Cut(p.words["seen.type%"], "%s")
		if len(in.Typed) > 0 {
			f.Value, f.Wrong = channel.Plain(in.Typed[0]), in.Wrong[0]
		}
		s.Fields = []field{f}
	}
	if in.Trouble != "" && !known {
		s.Trouble = p.text("trouble." + in.Trouble)
	}
	var b bytes.Buffer
	if err := p.template.ExecuteTemplate(&b, "approval", s); err != nil {
		return response{}, fmt.Errorf("render incident %s: %w", v.meta.ID, err)
	}
	return response{StatusCode: status, Headers: p.headers(), Body: b.String()}, nil
}

// finding fills in what was found and how it stands: what every page about an incident shows.
func (p pages) finding(v visit) sheet {
	f := v.meta.Finding
	s := sheet{
		Band: string(v.meta.Band), BandClass: bandClass(v.meta.Band), Type: parts(channel.Plain(f.Type)), Heading: channel.Plain(f.Title), Account: channel.Plain(f.Account),
		Region: channel.Plain(f.Region), Seen: p.clock(v.meta.FirstSeen), SeenISO: v.meta.FirstSeen.UTC().Format(time.RFC3339), Incident: v.meta.ID, Rule: channel.Plain(v.meta.Rule),
	}
	if a, known := v.installed.Account(f.Account); known && a.Name != "" {
		s.AccountName = channel.Plain(a.Name)
	}
	if told := v.meta.Told; told.Name != "" && told.Missing == "" {
		s.Owner = channel.Plain(told.Name)
	}
	for _, st := range v.meta.Plan.Contain {
		if st.Action == "notify" {
			continue
		}
		row := standing{Action: st.Action, Name: channel.Plain(approval.Step{Step: st}.Name()), Standing: p.text("standing.unknown")}
		if r, known := v.meta.Outcomes[st.Key()]; known {
			row.Standing, row.Good = p.text("standing."+string(r.Outcome)), r.Outcome.Contains()
			if !row.Good {
				row.Reason = channel.Plain(r.Reason)
			}
		}
		s.Contained = append(s.Contained, row)
	}
	return s
}

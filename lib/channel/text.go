package channel

import (
	"fmt"
	"strings"
	"time"

	"firebreak/lib/approval"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
)

// Found says what was found and what is being done about it, the moment it is. It needs nobody's answer.
func Found(meta ledger.Incident) Message {
	var b body
	b.found(meta)
	b.head("BEING CONTAINED NOW")
	n := 0
	for _, s := range meta.Plan.Contain {
		if s.Action != "notify" {
			b.line("- %s %s", s.Action, Plain(s.Target))
			n++
		}
	}
	if n == 0 {
		b.line("Nothing: the playbook records this finding and tells you.")
	}
	if len(meta.Plan.Eradicate) > 0 {
		b.head("PEOPLE WILL BE ASKED BEFORE")
		for _, s := range meta.Plan.Eradicate {
			b.line("- %s %s", s.Action, Plain(s.Target))
		}
	}
	b.foot(meta)
	return Message{Subject: title(meta, "found"), Body: b.String(), Severity: meta.Band}
}

// Ask asks one approver to decide, with the approver's own link.
func Ask(meta ledger.Incident, a approval.Approval, to, link string, now time.Time) Message {
	var b body
	b.line("Firebreak asks for your decision.")
	b.found(meta)
	b.contained(meta)
	if a.Kind == approval.KindEradicate {
		b.head("APPROVAL DESTROYS (cannot be undone)")
		for _, s := range a.Steps {
			b.line("- %s %s", s.Action, Plain(s.Target))
			for _, c := range s.Changed {
				b.line("    DIFFERENT from what was asked before: %s", Line(c, 500))
			}
			for _, d := range s.Destroys {
				b.line("    %s", Plain(d))
			}
		}
		b.line("Evidence: %s", evidence(a))
		b.line("")
		b.line("%d different people have to approve. One rejection ends it. Until then the containment stays and nothing is destroyed.", a.Need)
	} else {
		b.head("APPROVAL CONTAINS WHAT WAS HELD BACK")
		for _, s := range a.Steps {
			b.line("- %s %s", s.Action, Plain(s.Target))
			b.line("    held back: %s", Plain(s.Refusal))
		}
		b.line("")
		b.line("One person decides. Until then these are NOT contained.")
	}
	b.head("DECIDE BEFORE " + clock(a.Expires) + " (" + left(a.Expires.Sub(now)) + ")")
	b.line("%s", link)
	b.line("")
	b.line("The link is yours alone, do not forward it. Opening it decides nothing.")
	b.foot(meta)
	return Message{Subject: title(meta, "your decision is needed"), Body: b.String(), Severity: meta.Band, To: to}
}

// Remind asks again at half time.
func Remind(meta ledger.Incident, a approval.Approval, to, link string, now time.Time) Message {
	m := Ask(meta, a, to, link, now)
	m.Subject = title(meta, "still waits for your decision")
	m.Body = fmt.Sprintf("Half of the time to decide is over: %d of %d have approved.\n\n", len(a.By()), a.Need) + m.Body
	return m
}

// Escalated tells the next audience that a request waits. It carries no link: whoever decides has one.
func Escalated(meta ledger.Incident, a approval.Approval, now time.Time) Message {
	var b body
	b.line("Nobody has decided yet, %s after people were asked: %d of %d have approved.", ago(now.Sub(a.Asked)), len(a.By()), a.Need)
	if a.Kind == approval.KindEradicate {
		b.line("Until they do, the containment stays and nothing is destroyed.")
	} else {
		b.line("Until they do, what was held back is NOT contained.")
	}
	b.head("WAITS FOR A DECISION")
	for _, s := range a.Steps {
		b.line("- %s %s", s.Action, Plain(s.Target))
	}
	b.line("The time to decide ends %s (%s).", clock(a.Expires), left(a.Expires.Sub(now)))
	b.found(meta)
	b.contained(meta)
	b.foot(meta)
	return Message{Subject: title(meta, "nobody has decided yet"), Body: b.String(), Severity: meta.Band, Audience: Escalation}
}

// Attend asks one approver to look after an incident that needs no decision. round is 1 for the first time.
func Attend(meta ledger.Incident, to, link string, round int) Message {
	var b body
	if round > 1 {
		b.line("Nobody has said yet that they look after this.")
	}
	b.line("Firebreak needs no decision from you, but somebody has to look after this. Say that you do, and it stops calling others:")
	b.line("")
	b.line("%s", link)
	b.line("")
	b.line("The link is yours alone, do not forward it. Opening it changes nothing.")
	b.found(meta)
	b.contained(meta)
	b.foot(meta)
	return Message{Subject: title(meta, "who looks after it?"), Body: b.String(), Severity: meta.Band, To: to}
}

// Unattended tells the next audience that nobody looks after an incident.
func Unattended(meta ledger.Incident, since time.Duration) Message {
	var b body
	b.line("Nobody has said that they look after this, %s after people were asked.", ago(since))
	b.found(meta)
	b.contained(meta)
	b.foot(meta)
	return Message{Subject: title(meta, "nobody looks after it"), Body: b.String(), Severity: meta.Band, Audience: Escalation}
}

// Ended tells the team what became of an approval.
func Ended(meta ledger.Incident, a approval.Approval) Message {
	var b body
	b.line("The request to %s for %s is %s.", verb(a.Kind), meta.ID, a.Status)
	for _, d := range a.Decisions {
		word := "rejected"
		if d.Approve {
			word = "approved"
		}
		b.line("- %s %s at %s: %s", Plain(d.Approver), word, clock(d.At), orNone(Plain(d.Reason)))
	}
	if a.Status == approval.StatusExpired {
		b.line("Nobody decided in time.")
	}
	switch {
	case a.Status == approval.StatusApproved:
		b.line("What follows is in the timeline. Concerned are:")
	case a.Kind == approval.KindOverride:
		b.line("What was held back is NOT contained. Somebody has to look after it by hand:")
	default:
		b.line("What is contained stays contained, nothing was destroyed. Decide what is to become of the resources:")
	}
	for _, s := range a.Steps {
		b.line("- %s %s", s.Action, Plain(s.Target))
	}
	b.found(meta)
	b.contained(meta)
	b.foot(meta)
	return Message{Subject: title(meta, fmt.Sprintf("request %s", a.Status)), Body: b.String(), Severity: meta.Band}
}

// ByHand tells the team what Firebreak may not do and a person has to, with all that the actions have prepared for it.
func ByHand(meta ledger.Incident, refused []incident.Result) Message {
	var b body
	b.line("Firebreak has not done this, and no approval lets it. A person has to:")
	for _, r := range refused {
		b.line("")
		b.line("- %s %s", r.Action, Plain(r.Target))
		b.line("    %s", Line(r.Reason, reason))
	}
	b.line("")
	b.line("Once it is done, scripts/firebreak redrive %s reads that it is.", meta.ID)
	b.found(meta)
	b.contained(meta)
	b.foot(meta)
	return Message{Subject: title(meta, "a person has to act"), Body: b.String(), Severity: meta.Band}
}

// reason is how long a prepared edit may be.
const reason = 4000

// Few tells the team that fewer people can decide than it takes.
func Few(meta ledger.Incident, a approval.Approval, can int) Message {
	var b body
	b.line("It takes %d to approve, and %d of the approvers may: the others are not asked about %s incidents in %s, are named in the finding, or have changed the incident or the settings.", a.Need, can, meta.Band, Plain(meta.Finding.Account))
	if a.Kind == approval.KindOverride {
		b.line("What was held back is NOT contained until somebody approves it.")
	} else {
		b.line("Nothing will be destroyed.")
	}
	b.line("Whoever is put on the list before %s is asked at once (scripts/firebreak approvers add, run by somebody who does not decide this); or act by hand.", clock(a.Expires))
	b.found(meta)
	b.contained(meta)
	b.foot(meta)
	return Message{Subject: title(meta, "too few approvers"), Body: b.String(), Severity: meta.Band}
}

// Standing says in words how one containing step stands.
func Standing(r incident.Result, known bool) string {
	switch {
	case !known:
		return "not known yet"
	case r.Outcome == incident.Applied, r.Outcome == incident.Already:
		return "contained, read back"
	case r.Outcome == incident.Gone:
		return "the resource does not exist any more"
	case r.Outcome == incident.Planned:
		return "NOT DONE: only planned"
	case r.Outcome == incident.Refused:
		return "NOT DONE, held back: " + Plain(r.Reason)
	case r.Outcome == incident.Failed:
		return "FAILED: " + orNone(Plain(r.Reason))
	}
	return string(r.Outcome)
}

type body struct{ strings.Builder }

func (b *body) line(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }

func (b *body) head(s string) { b.line("\n%s", s) }

func (b *body) found(meta ledger.Incident) {
	b.head("FOUND")
	b.line("%s  %s", meta.Band, Plain(meta.Finding.Type))
	if t := Plain(meta.Finding.Title); t != "" {
		b.line("%s", t)
	}
	b.line("account %s, %s, first seen %s", Plain(meta.Finding.Account), Plain(meta.Finding.Region), clock(meta.FirstSeen))
}

func (b *body) contained(meta ledger.Incident) {
	b.head("CONTAINED")
	n := 0
	for _, s := range meta.Plan.Contain {
		if s.Action == "notify" {
			continue
		}
		r, known := meta.Outcomes[s.Key()]
		b.line("- %s %s: %s", s.Action, Plain(s.Target), Standing(r, known))
		n++
	}
	if n == 0 {
		b.line("Nothing was to be contained.")
	}
}

func (b *body) foot(meta ledger.Incident) {
	b.line("\nIncident %s, episode %d. All of it: scripts/firebreak show %s", meta.ID, meta.Episode, meta.ID)
}

func title(meta ledger.Incident, what string) string {
	return fmt.Sprintf("[Firebreak] %s %s in %s: %s", meta.Band, meta.ID, meta.Finding.Account, what)
}

func verb(k approval.Kind) string {
	if k == approval.KindEradicate {
		return "destroy"
	}
	return "contain what was held back"
}

func evidence(a approval.Approval) string {
	if a.Evidence == approval.Complete {
		return "complete"
	}
	return Plain(a.Evidence) + " (approval waits until it is complete)"
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func left(d time.Duration) string {
	switch {
	case d <= 0:
		return "over"
	case d < 2*time.Minute:
		return "a minute left"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes left", int(d.Minutes()))
	}
	return fmt.Sprintf("%d hours left", int(d.Hours()))
}

func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "a minute"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	}
	return fmt.Sprintf("%d hours", int(d.Hours()))
}

func orNone(s string) string {
	if s == "" {
		return "no reason given"
	}
	return s
}

package approval

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Vote is one person's decision on its way in. Who the person is has been proven by then.
type Vote struct {
	Incident string
	Number   int
	Approver string
	Approve  bool
	// Keep has the keys of steps that an approving person does not approve: nobody destroys those on this request.
	Keep   []string
	Reason string
	Via    string
	// Hash is of the plan that the person was shown.
	Hash string
	// Nonce is the fingerprint of the form's nonce; empty where the person came by another way than a form.
	Nonce string
	Now   time.Time
}

// Answer says what became of a vote.
type Answer string

const (
	Counted  Answer = "counted"  // recorded; more people have to approve
	Carried  Answer = "carried"  // recorded; approved now
	Ended    Answer = "ended"    // recorded; rejected now
	Used     Answer = "used"     // the form was sent before: nothing was recorded
	Repeated Answer = "repeated" // this person has decided before: nothing was recorded
	Late     Answer = "late"     // decided, expired, superseded or cancelled before: nothing was recorded
	Barred   Answer = "barred"   // this person may not decide this: nothing was recorded
	Unproven Answer = "unproven" // who it is was not proven in a way that counts here: nothing was recorded
)

// Recorded tells whether the vote counts.
func (a Answer) Recorded() bool { return a == Counted || a == Carried || a == Ended }

// Decide records a vote, with its entry in the timeline, by one conditional write: of any number at once, each person's first one
// counts, the first rejection ends it, and what comes after the end does nothing. It gives the approval as it is afterwards.
// Errors: BadInput where there is no such approval; Unreadable.
func Decide(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(v.Incident))
	if err != nil {
		return "", Approval{}, err
	}
	if !meta.Exists() {
		return "", Approval{}, fault.New(fault.BadInput, "there is no incident %s", v.Incident)
	}
	hands, err := Hands(ctx, s, in, meta.Value)
	if err != nil {
		return "", Approval{}, err
	}
	var answer Answer
	a, _, err := update(ctx, s, v.Incident, v.Number, func(a *Approval) (bool, *ledger.Event) {
		c := counting{in, meta.Value, hands, a.Kind}
		answer = v.weigh(*a, c)
		if !answer.Recorded() {
			return false, nil
		}
		a.Decisions = append(a.Decisions, Decision{Approver: v.Approver, Approve: v.Approve, Keep: v.Keep, Reason: v.Reason, Via: v.Via, At: v.Now})
		if v.Nonce != "" {
			a.Nonces = append(a.Nonces, v.Nonce)
		}
		switch answer {
		case Ended:
			a.end(StatusRejected, v.Now)
		case Carried:
			a.end(StatusApproved, v.Now)
		}
		return true, v.event(v.said(*a))
	})
	if err != nil {
		return "", Approval{}, err
	}
	if answer == Barred || answer == Unproven || answer == Late {
		err = ledger.Append(ctx, s, v.Incident, *v.event(fmt.Sprintf("refused a decision on %s %d: %s", a.Kind, a.Number, answer)))
	}
	return answer, a, err
}

func (v Vote) event(what string) *ledger.Event {
	return &ledger.Event{Time: v.Now, State: "Approval", Who: v.Approver, What: what, Why: v.Reason}
}

// said is what the person decided, in words.
func (v Vote) said(a Approval) string {
	switch {
	case v.Approve && len(v.Keep) > 0:
		return fmt.Sprintf("approved %s %d by %s (%d of %d), but keeps %s", a.Kind, a.Number, v.Via, len(a.By()), a.Need, strings.Join(v.Keep, ", "))
	case v.Approve:
		return fmt.Sprintf("approved %s %d by %s (%d of %d)", a.Kind, a.Number, v.Via, len(a.By()), a.Need)
	}
	return fmt.Sprintf("rejected %s %d by %s", a.Kind, a.Number, v.Via)
}

// weigh says what becomes of the vote on the approval as it is.
func (v Vote) weigh(a Approval, c counting) Answer {
	_, decided := a.Decided(v.Approver)
	switch {
	case v.Nonce != "" && slices.Contains(a.Nonces, v.Nonce):
		return Used
	case decided:
		return Repeated
	case a.Status != StatusOpen || !v.Now.Before(a.Expires) || a.Episode != c.meta.Episode || a.Hash != v.Hash:
		return Late
	case !c.in.Approval.Accepts(v.Via, a.Kind == KindEradicate):
		return Unproven
	}
	person, ok := c.person(v.Approver)
	if !ok {
		return Barred
	}
	for _, d := range a.Decisions {
		for _, p := range c.in.Approvers {
			if p.ID == d.Approver && sameEntry(p, person) {
				return Barred // one person listed twice is one person
			}
		}
	}
	if !v.Approve || !slices.ContainsFunc(a.Steps, func(s Step) bool {
		_, kept := a.Kept(s.Key())
		return !kept && !slices.Contains(v.Keep, s.Key())
	}) {
		return Ended
	}
	if len(c.by(a))+1 < max(a.Need, a.Kind.need()) {
		return Counted
	}
	return Carried
}

// counting is what it depends on whether a person's decision counts: the settings and the incident as they are now, the AWS
// principals that had a hand in it, and whether it is one that cannot be undone.
type counting struct {
	in    setting.Installed
	meta  ledger.Incident
	hands []string
	kind  Kind
}

// person gives the approver of that id, where he or she may decide.
func (c counting) person(id string) (setting.Approver, bool) {
	i := slices.IndexFunc(c.in.Approvers, func(p setting.Approver) bool { return p.ID == id })
	if i < 0 || id == "" || !c.may(c.in.Approvers[i]) {
		return setting.Approver{}, false
	}
	return c.in.Approvers[i], true
}

// may tells whether a person may decide: asked for the incident's severity and account, not named in the finding, and, to
// destroy something, without a hand in the incident.
func (c counting) may(p setting.Approver) bool {
	if p.ID == "" || !p.Decides(c.meta.Band, c.meta.Finding.Account) {
		return false
	}
	barring := c.meta.Finding.People
	if c.kind == KindEradicate {
		barring = slices.Concat(barring, c.hands)
	}
	return !slices.ContainsFunc(barring, func(other string) bool {
		return named(p, other) || slices.ContainsFunc(p.Principals, func(own string) bool { return samePrincipal(own, other) })
	})
}

// named tells whether a principal goes by the approver's e-mail address, as users and the sessions of IAM Identity Center do: also
// one that is not among the approver's own.
func named(p setting.Approver, other string) bool {
	_, _, name, session := principal(other)
	return p.Email != "" && (strings.EqualFold(p.Email, name) || strings.EqualFold(p.Email, session))
}

// by lists the different people whose approvals count as things are now: who was taken off the list, or has changed the
// incident since, does not count any more.
func (c counting) by(a Approval) []string {
	var people []setting.Approver
	for _, d := range a.Decisions {
		p, ok := c.person(d.Approver)
		same := func(q setting.Approver) bool { return q.ID == p.ID || sameEntry(p, q) }
		if ok && d.Approve && c.in.Approval.Accepts(d.Via, a.Kind == KindEradicate) && !slices.ContainsFunc(people, same) {
			people = append(people, p)
		}
	}
	ids := make([]string, len(people))
	for i, p := range people {
		ids[i] = p.ID
	}
	return ids
}

// Deciders gives the people who may decide a request of that kind about an incident, as things are now. Errors: Unreadable.
func Deciders(ctx context.Context, s ledger.Store, in setting.Installed, meta ledger.Incident, kind Kind) ([]setting.Approver, error) {
	hands, err := Hands(ctx, s, in, meta)
	if err != nil {
		return nil, err
	}
	c := counting{in, meta, hands, kind}
	return slices.DeleteFunc(slices.Clone(in.Approvers), func(p setting.Approver) bool { return !c.may(p) }), nil
}

// Hands gives the AWS principals of the people who have changed the incident by hand since the finding that opened its episode
// (released something, cancelled a request), or the playbook, the list of approvers, how they decide or who vouches for them. The timeline
// says the one: people stand in it with their ARN when they do something, machines with their execution, approvers with their
// id when they decide. SSM says the other. Errors: Unreadable.
func Hands(ctx context.Context, s ledger.Store, in setting.Installed, meta ledger.Incident) ([]string, error) {
	events, err := ledger.Timeline(ctx, s, meta.ID)
	if err != nil {
		return nil, fmt.Errorf("who has changed %s: %w", meta.ID, err)
	}
	var hands []string
	for _, a := range in.Authors {
		if !a.At.Before(meta.Seen) && !slices.Contains(hands, a.Who) {
			hands = append(hands, a.Who)
		}
	}
	for _, e := range events {
		a, err := arn.Parse(e.Who)
		person := err == nil && (a.Service == "iam" || a.Service == "sts")
		if person && !e.Time.Before(meta.Seen) && !slices.Contains(hands, e.Who) {
			hands = append(hands, e.Who)
		}
	}
	return hands, nil
}

// sameEntry tells whether two entries of the list are one person: one mailbox, one subject, one Slack member, one IAM user or
// one session of a role. A role may be shared.
func sameEntry(a, b setting.Approver) bool {
	switch {
	case a.Email != "" && strings.EqualFold(a.Email, b.Email), a.Slack != "" && a.Slack == b.Slack:
		return true
	case slices.ContainsFunc(a.Subjects, func(s string) bool { return s != "" && slices.Contains(b.Subjects, s) }):
		return true
	}
	return slices.ContainsFunc(a.Principals, func(p string) bool {
		return personal(p) && slices.ContainsFunc(b.Principals, func(q string) bool { return personal(q) && samePrincipal(p, q) })
	})
}

// personal tells whether an ARN is one person's: an IAM user, or a role's session by its name. (Whoever lists a session has to
// see to it that nobody else can choose its name: IAM Identity Center does, a trust policy with sts:RoleSessionName can.)
func personal(s string) bool {
	a, err := arn.Parse(s)
	_, kind, name, session := principal(s)
	return err == nil && name != "" && (kind == "user" && a.Service == "iam" || kind == "role" && session != "")
}

// Caller gives the approver who calls AWS as that ARN: exactly one, who lists exactly that principal.
func Caller(in setting.Installed, caller string) (setting.Approver, bool) {
	return only(in, func(p setting.Approver) bool { return personal(caller) && slices.Contains(p.Principals, caller) })
}

// Subject gives the approver whom the issuer of the sign-in calls so: exactly one.
func Subject(in setting.Installed, subject string) (setting.Approver, bool) {
	return only(in, func(p setting.Approver) bool { return subject != "" && slices.Contains(p.Subjects, subject) })
}

// Member gives the approver who is that member of the Slack workspace: exactly one.
func Member(in setting.Installed, member string) (setting.Approver, bool) {
	return only(in, func(p setting.Approver) bool { return member != "" && p.Slack == member })
}

func only(in setting.Installed, is func(setting.Approver) bool) (setting.Approver, bool) {
	i := slices.IndexFunc(in.Approvers, is)
	if i < 0 || in.Approvers[i].ID == "" || slices.ContainsFunc(in.Approvers[i+1:], is) {
		return setting.Approver{}, false
	}
	return in.Approvers[i], true
}

// samePrincipal tells whether two ARNs may be one principal. A role's session and its role are (whoever can take the role can
// have been the session); two sessions of one role under different names are not. Neither paths nor capitals count: an STS ARN has
// no path, and names are unique in an account without them.
func samePrincipal(a, b string) bool {
	if a == b {
		return true
	}
	accountA, kindA, nameA, sessionA := principal(a)
	accountB, kindB, nameB, sessionB := principal(b)
	if nameA == "" || accountA != accountB || kindA != kindB || !strings.EqualFold(nameA, nameB) {
		return false
	}
	return sessionA == "" || sessionB == "" || strings.EqualFold(sessionA, sessionB)
}

func principal(s string) (account, kind, name, session string) {
	a, err := arn.Parse(s)
	if err != nil {
		return "", "", "", ""
	}
	parts := strings.Split(a.Resource, "/")
	if len(parts) < 2 {
		return a.AccountID, a.Resource, a.Resource, ""
	}
	if parts[0] == "assumed-role" {
		if len(parts) > 2 {
			session = parts[2]
		}
		return a.AccountID, "role", parts[1], session
	}
	return a.AccountID, parts[0], parts[len(parts)-1], ""
}

// Time gives how long people may take to decide about an incident of that band. The settings have a default of at least an hour.
func Time(in setting.Installed, b incident.Band) time.Duration {
	hours := in.Approval.Hours[string(b)]
	if hours < 1 {
		hours = in.Approval.Hours[""]
	}
	return time.Duration(hours) * time.Hour
}

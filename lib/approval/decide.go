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
	Reason   string
	Via      string
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
)

// Recorded tells whether the vote counts.
func (a Answer) Recorded() bool { return a == Counted || a == Carried || a == Ended }

// Decide records a vote by one conditional write: of any number at once, each person's first one counts, the first rejection
// ends it, and what comes after the end does nothing. It gives the approval as it is afterwards. Errors: BadInput where there
// is no such approval; Unreadable.
func Decide(ctx context.Context, s ledger.Store, in setting.Installed, v Vote) (Answer, Approval, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(v.Incident))
	if err != nil {
		return "", Approval{}, err
	}
	if !meta.Exists() {
		return "", Approval{}, fault.New(fault.BadInput, "there is no incident %s", v.Incident)
	}
	var answer Answer
	a, changed, err := update(ctx, s, v.Incident, v.Number, func(a *Approval) bool {
		answer = v.weigh(*a, meta.Value, in)
		if !answer.Recorded() {
			return false
		}
		a.Decisions = append(a.Decisions, Decision{Approver: v.Approver, Approve: v.Approve, Reason: v.Reason, Via: v.Via, At: v.Now})
		if v.Nonce != "" {
			a.Nonces = append(a.Nonces, v.Nonce)
		}
		switch answer {
		case Ended:
			a.end(StatusRejected, v.Now)
		case Carried:
			a.end(StatusApproved, v.Now)
		}
		return true
	})
	if err != nil {
		return "", Approval{}, err
	}
	what := fmt.Sprintf("refused a decision on %s %d: %s", a.Kind, a.Number, answer)
	switch {
	case changed && v.Approve:
		what = fmt.Sprintf("approved %s %d by %s (%d of %d)", a.Kind, a.Number, v.Via, len(a.By()), a.Need)
	case changed:
		what = fmt.Sprintf("rejected %s %d by %s", a.Kind, a.Number, v.Via)
	case answer != Barred:
		return answer, a, nil
	}
	err = ledger.Append(ctx, s, v.Incident, ledger.Event{Time: v.Now, State: "Approval", Who: v.Approver, What: what, Why: v.Reason})
	return answer, a, err
}

// weigh says what becomes of the vote on the approval as it is.
func (v Vote) weigh(a Approval, meta ledger.Incident, in setting.Installed) Answer {
	_, decided := a.Decided(v.Approver)
	switch {
	case v.Nonce != "" && slices.Contains(a.Nonces, v.Nonce):
		return Used
	case decided:
		return Repeated
	case a.Status != StatusOpen || !v.Now.Before(a.Expires) || a.Episode != meta.Episode || a.Hash != v.Hash:
		return Late
	}
	i := slices.IndexFunc(in.Approvers, func(p setting.Approver) bool { return p.ID == v.Approver })
	if i < 0 || v.Approver == "" || !eligible(in.Approvers[i], meta) {
		return Barred
	}
	for _, d := range a.Decisions {
		for _, p := range in.Approvers {
			if p.ID == d.Approver && sameEntry(p, in.Approvers[i]) {
				return Barred // one person listed twice is one person
			}
		}
	}
	if !v.Approve {
		return Ended
	}
	if len(a.By())+1 < max(a.Need, a.Kind.need()) {
		return Counted
	}
	return Carried
}

// Eligible gives the approvers who may decide about an incident: asked for its severity and account, and not named in the
// finding.
func Eligible(in setting.Installed, meta ledger.Incident) []setting.Approver {
	var out []setting.Approver
	for _, p := range in.Approvers {
		if p.ID != "" && eligible(p, meta) {
			out = append(out, p)
		}
	}
	return out
}

func eligible(p setting.Approver, meta ledger.Incident) bool {
	if !p.Decides(meta.Band, meta.Finding.Account) {
		return false
	}
	for _, principal := range p.Principals {
		for _, named := range meta.Finding.People {
			if samePrincipal(principal, named) {
				return false
			}
		}
	}
	return true
}

// sameEntry tells whether two entries of the list are one person: one mailbox, or one IAM user. A role may be shared.
func sameEntry(a, b setting.Approver) bool {
	if a.Email != "" && strings.EqualFold(a.Email, b.Email) {
		return true
	}
	return slices.ContainsFunc(a.Principals, func(p string) bool { return strings.Contains(p, ":user/") && slices.Contains(b.Principals, p) })
}

// samePrincipal tells whether two ARNs may be one principal. A role's session and its role are (whoever can take the role can
// have been the session); two sessions of one role under different names are not. Paths do not count: an STS ARN has none,
// and names are unique in an account.
func samePrincipal(a, b string) bool {
	if a == b {
		return true
	}
	accountA, kindA, nameA, sessionA := principal(a)
	accountB, kindB, nameB, sessionB := principal(b)
	if nameA == "" || accountA != accountB || kindA != kindB || nameA != nameB {
		return false
	}
	return sessionA == "" || sessionB == "" || sessionA == sessionB
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

// Package guard decides, immediately before each change, whether it may be made. It fails closed: what it cannot read, it does
// not allow.
package guard

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/fault"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Rule names why the guard refused. People may set aside Budget, Protected, Shared and Released; nobody sets aside the others.
type Rule string

const (
	Mode      Rule = "mode"      // the kill switch is on
	Unplanned Rule = "unplanned" // the incident does not call for this step, or may not act at all
	Self      Rule = "self"      // the resource is part of Firebreak
	Protected Rule = "protected" // on the protected list, or tagged as protected
	Shared    Rule = "shared"    // more resources use it than the limit
	Released  Rule = "released"  // a person released it a moment ago
	Budget    Rule = "budget"    // enough was changed this hour
)

// Overridable tells whether a person may set the rule aside.
func (r Rule) Overridable() bool {
	return r == Protected || r == Shared || r == Released || r == Budget
}

// Refusal is a no, with the reason in words.
type Refusal struct {
	Rule   Rule
	Reason string
}

// ProtectedTag asks people instead of acting where its value is true. An attacker can set a tag too, so the refusal says that
// it was the tag.
const ProtectedTag = "firebreak:protected"

// Question is what the guard is asked about one change.
type Question struct {
	Request incident.Request
	Target  incident.Target
	// FullARN is the target's with what a plan leaves out of it, "" where that is nothing.
	FullARN string
	// Tags of the target, nil where the action does not read them.
	Tags map[string]string
	// Asks is what the target's tags say to this action that a person has to decide, "" for nothing.
	Asks string
	// Shared is how many resources use the target, 0 where that does not apply.
	Shared int
	// Aside are the rules that an approved override sets aside for this very step.
	Aside []string
	// Now is the time of asking.
	Now time.Time
}

// Check asks everything, the budget last, because a yes is counted there. A nil Refusal is a yes. Errors: BadInput,
// Unreadable, Throttled.
func Check(ctx context.Context, s ledger.Store, set setting.Guard, q Question) (*Refusal, error) {
	meta, err := ledger.Load[ledger.Incident](ctx, s, ledger.IncidentKey(q.Request.Incident.ID))
	if err != nil {
		return nil, err
	}
	hold, err := ledger.Load[ledger.Hold](ctx, s, ledger.HoldKey(q.Target.ARN, q.Request.Step.Action))
	if err != nil {
		return nil, err
	}
	hub := hubAccount(q.Request.Execution.ARN)
	if hub == "" {
		return nil, fault.New(fault.BadInput, "the execution %q does not say in which account Firebreak is: nobody can tell what is part of it", q.Request.Execution.ARN)
	}
	for _, ask := range []func() *Refusal{
		func() *Refusal { return mode(set) },
		func() *Refusal { return planned(meta, q.Request) },
		func() *Refusal { return self(q.Target, hub) },
		func() *Refusal { return protected(set, q) },
		func() *Refusal { return shared(set, q) },
		func() *Refusal { return released(hold.Value, q) },
	} {
		if no := ask(); no != nil && !(no.Rule.Overridable() && slices.Contains(q.Aside, string(no.Rule))) {
			return no, nil
		}
	}
	return budget(ctx, s, set, q)
}

func mode(set setting.Guard) *Refusal {
	if set.Mode == setting.Off {
		return &Refusal{Mode, fmt.Sprintf("Firebreak is switched off (by %s): nothing is changed until scripts/firebreak mode act", orUnknown(set.By))}
	}
	return nil
}

// planned holds the request against the ledger: only steps that the incident's stored plan calls for are ever carried out.
func planned(meta ledger.Item[ledger.Incident], r incident.Request) *Refusal {
	if !meta.Exists() {
		return &Refusal{Unplanned, fmt.Sprintf("incident %s is not in the ledger", r.Incident.ID)}
	}
	in := meta.Value
	if in.Status != incident.Open && in.Status != incident.Contained {
		return &Refusal{Unplanned, fmt.Sprintf("incident %s is %s: it may not act", in.ID, in.Status)}
	}
	if in.Finding.Account != r.Incident.Account {
		return &Refusal{Unplanned, fmt.Sprintf("incident %s is about account %s, not %s", in.ID, in.Finding.Account, r.Incident.Account)}
	}
	for _, step := range slices.Concat(in.Plan.Contain, in.Plan.Eradicate) {
		if step.Key() == r.Step.Key() {
			return nil
		}
	}
	return &Refusal{Unplanned, fmt.Sprintf("the plan of %s does not call for %s", in.ID, r.Step.Key())}
}

var executionAccount = regexp.MustCompile(`^arn:[\w-]+:states:[\w-]+:(\d{12}):`)

func hubAccount(execution string) string {
	if m := executionAccount.FindStringSubmatch(execution); m != nil {
		return m[1]
	}
	return ""
}

// Stem begins the name of everything that Firebreak's templates make in the hub account.
const Stem = "firebreak"

// Quarantine is the managed policy of each account that quarantine-principal attaches.
const Quarantine = "FirebreakQuarantine"

// Forwarder is the stem of the names that the member template makes besides the roles: its forwarding role and dead letters.
const Forwarder = "firebreak-forwarder"

// unnamed are services whose resources carry ids instead of names: in the hub account ours cannot be told from others.
var unnamed = []string{"kms", "apigateway", "execute-api", "cognito-idp"}

// made are the names that the templates make outside the hub: in member accounts, the forensic and the management account. Some end with
// their region.
var made = []string{
	Forwarder, Forwarder + "-calls", Forwarder + "-evidence", Forwarder + "-snapshots", "firebreak-aggregator", "firebreak-analyst", "firebreak-boundary", "firebreak-flow-log", "firebreak-heartbeat",
	"firebreak-hipaa-phi-encryption-check", "firebreak-patient-data-access-logging",
}

// buckets are those of them that hold evidence and records; account and region follow.
var buckets = []string{"firebreak-configurations", "firebreak-forensics", "firebreak-records"}

// Ours tells whether a resource is Firebreak's own. In the hub everything with our name is, wherever in the ARN it stands (a log
// group, a version of a function, a parameter), and so is what has no name. In a member account only the names that the templates
// make there are, and no user is, nor a bucket of any other name than those that hold evidence and records: a wider rule would let an
// attacker hide behind a name of their choice.
func Ours(t incident.Target, hub string) bool {
	ours := t.Account == hub && slices.Contains(unnamed, t.Service)
	ours = ours || t.Service == "cloudtrail" && t.Resource == "trail/"+Stem // the organization's, in the management account
	theirs := t.Service == "iam" && strings.HasPrefix(t.Resource, "user/") || t.Service == "s3"
	for _, name := range strings.FieldsFunc(t.Resource, func(r rune) bool { return r == '/' || r == ':' }) {
		ours = ours || t.Account == hub && (name == Stem || strings.HasPrefix(name, Stem+"-"))
		ours = ours || t.Service == "iam" && t.Resource == "policy/"+Quarantine
		ours = ours || !theirs && slices.Contains(made, strings.TrimSuffix(name, "-"+t.Region))
		ours = ours || t.Service == "s3" && slices.Contains(buckets, strings.TrimSuffix(name, "-"+t.Account+"-"+t.Region))
		ours = ours || !theirs && t.Service == "iam" && account.IsRole(name)
	}
	return ours
}

func self(t incident.Target, hub string) *Refusal {
	if Ours(t, hub) {
		return &Refusal{Self, fmt.Sprintf("%s is part of Firebreak: it is never changed by Firebreak. If it is compromised, a person must act", t.ARN)}
	}
	return nil
}

func protected(set setting.Guard, q Question) *Refusal {
	for _, pattern := range set.Protected {
		if Match(pattern, q.Target.ARN) || Match(pattern, q.FullARN) {
			return &Refusal{Protected, fmt.Sprintf("%s is on the protected list (%s)", q.Target.ARN, pattern)}
		}
	}
	if q.Tags[ProtectedTag] == "true" {
		return &Refusal{Protected, fmt.Sprintf("%s carries the tag %s=true but is not on the protected list: whoever can tag it could have set it, so a person decides", q.Target.ARN, ProtectedTag)}
	}
	if q.Asks != "" {
		return &Refusal{Protected, q.Asks}
	}
	return nil
}

// Match tells whether an ARN fits a pattern in which * stands for any run of characters.
func Match(pattern, arn string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == arn
	}
	if !strings.HasPrefix(arn, parts[0]) {
		return false
	}
	rest := arn[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

func shared(set setting.Guard, q Question) *Refusal {
	if q.Shared > set.Shared {
		return &Refusal{Shared, fmt.Sprintf("%s is used by %d resources, more than the limit of %d: all of them would be cut off", q.Target.ARN, q.Shared, set.Shared)}
	}
	return nil
}

func released(h ledger.Hold, q Question) *Refusal {
	if h.Phase == ledger.Released && q.Now.Before(h.Until) {
		return &Refusal{Released, fmt.Sprintf("%s was released by a person a moment ago; until %s people are asked before it is contained again", q.Target.ARN, h.Until.UTC().Format(time.RFC3339))}
	}
	return nil
}

// BudgetKey is the budget's record of an account, an action and an hour.
func BudgetKey(account, action string, at time.Time) ledger.Key {
	return ledger.Key{PK: fmt.Sprintf("BUDGET#%s#%s#%s", account, action, at.UTC().Format("2006-01-02T15")), SK: "SET"}
}

// Raise is a person's decision to let an action change more resources of an account in one hour.
type Raise struct {
	By  int       `json:"by"` // how many more, over all decisions of the hour
	Who string    `json:"who"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// RaiseKey is where a raise of that budget stands.
func RaiseKey(account, action string, at time.Time) ledger.Key {
	return ledger.Key{PK: BudgetKey(account, action, at).PK, SK: "RAISE"}
}

// budget counts the resource towards the hour. The set holds resources, not attempts: a retry costs nothing.
func budget(ctx context.Context, s ledger.Store, set setting.Guard, q Question) (*Refusal, error) {
	limit := set.Budget
	if q.Request.Incident.Severity != incident.Critical {
		limit -= set.Reserve
	}
	aside := slices.Contains(q.Aside, string(Budget))
	if aside {
		limit = 1 << 30
	}
	action := q.Request.Step.Action
	add := func() (bool, error) {
		ok, err := s.AddToSet(ctx, BudgetKey(q.Target.Account, action, q.Now), q.Target.ARN, limit, q.Now.Add(48*time.Hour))
		if err != nil {
			name := fault.Unreadable
			if fault.Is(err, fault.Throttled) {
				name = fault.Throttled
			}
			return false, fault.Wrap(name, err, "count %s towards the budget", q.Target.ARN)
		}
		return ok, nil
	}
	ok, err := add()
	if err != nil {
		return nil, err
	}
	if !ok {
		raised, err := ledger.Load[Raise](ctx, s, RaiseKey(q.Target.Account, action, q.Now))
		if err != nil {
			return nil, err
		}
		if raised.Value.By > 0 {
			limit += raised.Value.By
			if ok, err = add(); err != nil {
				return nil, err
			}
		}
	}
	if !ok {
		return &Refusal{Budget, fmt.Sprintf("%s has changed %d resources in account %s this hour, which is the limit for %s", action, limit, q.Target.Account, q.Request.Incident.Severity)}, nil
	}
	return nil, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

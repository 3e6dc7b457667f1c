// Package playbook decides what a finding calls for, by rules that are data: strict YAML, first match wins.
//
// A playbook that does not load decides nothing: there is never half a playbook. A rule whose steps cannot all be made for a
// finding (it names no instance, say) makes none of them; people are told why.
package playbook

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/functions"
	"firebreak/lib/account"
	"firebreak/lib/finding"
	"firebreak/lib/guard"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Book is a playbook that was read and checked.
type Book struct {
	// File is the name that rules are cited with.
	File  string
	rules []rule
}

// rule is one rule as it stands in the file.
type rule struct {
	Name string `yaml:"name"`
	// Because says in words why the rule does what it does, for the people who read the reason.
	Because string `yaml:"because"`
	When    when   `yaml:"when"`
	// Severity that the incident is treated with, where it is higher than the finding's own.
	Severity incident.Band `yaml:"severity"`
	// FanOut makes steps for what the finding names of the targets and passes over the rest. Without it all steps are made or
	// none.
	FanOut    bool   `yaml:"fanOut"`
	Contain   []step `yaml:"contain"`
	Eradicate []step `yaml:"eradicate"`
	// Approvers is how many different people have to approve what it eradicates, where the rule wants more than two.
	Approvers int     `yaml:"approvers"`
	Notify    *notice `yaml:"notify"`

	line       int
	conditions []condition
}

// reason names the rule, and why it is there where it says so.
func (r rule) reason() string {
	if r.Because == "" {
		return "rule " + r.Name
	}
	return "rule " + r.Name + ": " + r.Because
}

// when holds the conditions of a rule. All that are given must hold; a list holds when one of its entries does.
type when struct {
	Type         []string            `yaml:"type"`    // globs
	Product      []string            `yaml:"product"` // globs
	Severity     *threshold          `yaml:"severity"`
	Account      []string            `yaml:"account"`            // globs
	Unit         []string            `yaml:"organizationalUnit"` // globs; of the account, as the installation's settings have it
	Region       []string            `yaml:"region"`             // globs
	Tags         map[string][]string `yaml:"tags"`               // globs by key; some resource of the finding has each of them
	ResourceType []string            `yaml:"resourceType"`       // globs; what the finding is about
	Role         finding.Part        `yaml:"role"`               // actor or target: of the resource that the finding is about
	Principal    []string            `yaml:"principal"`
	Names        []resourceName      `yaml:"names"` // the finding names a resource of each of these kinds
}

type threshold struct {
	From incident.Band `yaml:"from"`
}

// step is one thing to do to each resource of a kind that the finding names. With are the action's parameters, words or values
// of the finding (finding.principal).
type step struct {
	Action string            `yaml:"action"`
	Target resourceName      `yaml:"target"`
	With   map[string]string `yaml:"with"`
}

// notice says who is told, from which severity up, and after how long without a decision somebody else is.
type notice struct {
	Audience string        `yaml:"audience"`
	Escalate time.Duration `yaml:"escalate"`
	From     incident.Band `yaml:"from"`
}

// audiences are whom a notice can go to. Who that is for a finding, lib/owner resolves.
func audiences() []string {
	return []string{"security", "owner", "data-owner", "bucket-owner", "account-owner"}
}

// resourceName is how rules call a kind of resource.
type resourceName string

const (
	anInstance resourceName = "instance"
	aRole      resourceName = "role"
	aUser      resourceName = "user"
	aKey       resourceName = "key"
	aBucket    resourceName = "bucket"
	aGroup     resourceName = "security-group"
	aTrail     resourceName = "trail"
	anAccount  resourceName = "account"  // the finding's own, as a whole
	aResource  resourceName = "resource" // the one that the finding is about, whatever it is
)

// kindOf is the kind that a name stands for.
var kindOf = map[resourceName]finding.Kind{
	anInstance: finding.Instance, aRole: finding.Role, aUser: finding.User, aKey: finding.AccessKey, aBucket: finding.Bucket,
	aGroup: finding.SecurityGroup, aTrail: finding.Trail,
}

// one is the name with its article.
func (n resourceName) one() string {
	if n == anInstance || n == anAccount {
		return "an " + string(n)
	}
	return "a " + strings.ReplaceAll(string(n), "-", " ")
}

// Use is what a rule may do with an action.
type Use struct {
	// Targets are the kinds of resource that it takes; empty for any.
	Targets []string
	// With are the parameters that it takes.
	With []string
	// Destroys says that it only ever runs after approval.
	Destroys bool
}

// notify is the action that tells people.
const notify = "notify"

// Actions are the actions of this version, by name: what the folders of functions say of themselves. Where they cannot be read
// there are none, and no playbook that acts is accepted.
func Actions() map[string]Use {
	all, err := functions.Actions()
	if err != nil {
		return nil
	}
	out := map[string]Use{}
	for name, a := range all {
		out[name] = Use{Targets: a.Targets, With: a.With, Destroys: a.Destroys}
	}
	return out
}

//go:embed builtin.yaml
var builtin []byte

// Builtin gives the playbook that comes with Firebreak.
func Builtin() (*Book, error) { return Parse("lib/playbook/builtin.yaml", builtin, Actions()) }

// Disposition is what becomes of a finding.
type Disposition string

const (
	Respond Disposition = "respond" // act
	Notify  Disposition = "notify"  // tell people, act on nothing
	Record  Disposition = "record"  // take it down
	Ignore  Disposition = "ignore"  // it is no finding
)

// Decision is what the playbook says about one finding. Plan's lists are never nil.
type Decision struct {
	Disposition Disposition
	// Reason in words: what decided.
	Reason string
	// Rule that decided, as file:line, and its name; empty where none did.
	Rule, Name string
	// Band that the incident is treated with.
	Band incident.Band
	Plan incident.Plan
	// Dropped counts the steps that the plan was cut by.
	Dropped int
	// Audience is told; after Escalate without an answer somebody else is (0: at once).
	Audience string
	Escalate time.Duration
}

// own tells whether the finding names one of the roles that Firebreak works with, or is about a call of one: such a finding always goes to people. Where nobody has
// said which account is the hub, the finding's own is taken for it: then more is told, and less is done.
func own(f finding.Finding) bool {
	ours := func(role string) bool {
		return guard.Ours(incident.Target{Service: "iam", Account: f.Account, Region: f.Region, Resource: "role/" + role}, cmp.Or(f.Hub, f.Account))
	}
	return account.IsRoleOf(f.Account, f.Caller.Issuer) || f.Principal.Kind == finding.WhoRole && ours(f.Principal.Name) ||
		slices.ContainsFunc(f.Of(finding.Role), func(r finding.Resource) bool { return ours(r.ID) })
}

// Decide gives the decision for a finding. limit is how many steps a plan's contain set may have.
func (b *Book) Decide(f finding.Finding, limit int) Decision {
	d := Decision{Disposition: Record, Band: f.Band, Plan: incident.Plan{Contain: []incident.Step{}, Eradicate: []incident.Step{}}}
	if d.Reason = f.Idle(); d.Reason != "" {
		return d
	}
	if own(f) {
		return d.tell(f, "it names a role of Firebreak itself: people look at it, and nothing is done")
	}
	if f.Doubt != "" {
		return d.bySeverity(f, "it may not be acted on: "+f.Doubt)
	}
	i := slices.IndexFunc(b.rules, func(r rule) bool { return r.match(f) })
	if i < 0 && f.Unknown {
		return d.bySeverity(f, fmt.Sprintf("%s is a type that this version does not know, and it is %s: it is never acted on", f.Type, f.Band))
	}
	if i < 0 {
		return d.bySeverity(f, fmt.Sprintf("no rule of %s is for %s, and it is %s", b.File, f.Type, f.Band))
	}
	r := b.rules[i]
	d.Rule, d.Name = fmt.Sprintf("%s:%d", b.File, r.line), r.Name
	if r.Severity.Above(d.Band) {
		d.Band = r.Severity
	}
	if r.Notify != nil {
		d.Audience, d.Escalate = r.Notify.Audience, r.Notify.Escalate
	}
	contain, passed, err := steps(r.Contain, f, r.FanOut)
	if err != nil {
		return d.tell(f, fmt.Sprintf("rule %s cannot act: %v", r.Name, err))
	}
	eradicate, _, err := steps(r.Eradicate, f, r.FanOut)
	if err != nil {
		return d.tell(f, fmt.Sprintf("rule %s cannot act: %v", r.Name, err))
	}
	switch {
	case len(contain)+len(eradicate) > 0:
		d.Disposition, d.Reason = Respond, r.reason()
		if len(passed) > 0 {
			d.Reason += "; passed over: " + strings.Join(passed, "; ")
		}
		d.Plan.Contain, d.Plan.Eradicate = append(d.Plan.Contain, contain...), append(d.Plan.Eradicate, eradicate...)
		if len(eradicate) > 0 {
			d.Plan.Approvers = r.Approvers
		}
		d.cap(limit)
		d.Plan.Contain = append(d.Plan.Contain, telling(f))
	case len(r.Contain) > 0:
		return d.tell(f, fmt.Sprintf("rule %s cannot act: the finding names nothing that it contains%s", r.Name, strings.Join(append([]string{""}, passed...), "; ")))
	case r.Notify != nil && !r.Notify.From.Above(d.Band):
		if f.Principal.Doubt != "" {
			return d.tell(f, r.reason()+" ("+f.Principal.Doubt+")")
		}
		return d.tell(f, r.reason())
	default:
		d.Reason = r.reason()
	}
	return d
}

// bySeverity records, and tells people from HIGH up.
func (d Decision) bySeverity(f finding.Finding, reason string) Decision {
	if d.Reason = reason; d.Band.Above(incident.Medium) {
		return d.tell(f, reason+"; from HIGH up people are told")
	}
	return d
}

// tell turns the decision into one that acts on nothing and tells people.
func (d Decision) tell(f finding.Finding, reason string) Decision {
	d.Disposition, d.Reason = Notify, reason
	d.Plan = incident.Plan{Contain: []incident.Step{telling(f)}, Eradicate: []incident.Step{}}
	if d.Audience == "" {
		d.Audience, d.Escalate = "security", 24*time.Hour
		switch d.Band {
		case incident.Critical:
			d.Escalate = 0
		case incident.High:
			d.Escalate = time.Hour
		}
	}
	return d
}

// cap leaves room for the notice. What is dropped from the set is not destroyed either: an eradicating step stays only with a
// containing step for the same target.
func (d *Decision) cap(limit int) {
	keep := max(limit-1, 0)
	if len(d.Plan.Contain) <= keep {
		return
	}
	d.Dropped = len(d.Plan.Contain) - keep
	d.Plan.Contain = d.Plan.Contain[:keep]
	d.Plan.Eradicate = slices.DeleteFunc(d.Plan.Eradicate, func(e incident.Step) bool {
		return !slices.ContainsFunc(d.Plan.Contain, func(c incident.Step) bool { return c.Target == e.Target })
	})
	d.Reason += fmt.Sprintf("; the plan is cut to %d steps, %d are left to people", limit, d.Dropped)
}

// telling is the notice's step: about the first resource of the finding's account, or about the account where it names none.
func telling(f finding.Finding) incident.Step {
	for _, r := range f.Resources {
		if r.ARN != "" && r.Account == f.Account {
			return incident.Step{Action: notify, Target: r.ARN}
		}
	}
	return incident.Step{Action: notify, Target: f.AccountARN()}
}

// Tell is the decision for a finding that may not be acted on but that people hear of.
func Tell(f finding.Finding, reason string) Decision {
	return Decision{Band: f.Band}.tell(f, reason)
}

// match tells whether the rule decides about the finding. A GuardDuty type that this version does not know needs to be named.
func (r rule) match(f finding.Finding) bool {
	if f.Unknown && !slices.Contains(r.When.Type, f.Type) {
		return false
	}
	return !slices.ContainsFunc(r.conditions, func(c condition) bool { return !c.holds(f) })
}

// condition is one key of a rule's when.
type condition struct {
	key   string
	wants string
	holds func(finding.Finding) bool
	// has is what the finding has of it.
	has func(finding.Finding) string
}

// conditions are those that the rule states.
func (w when) conditions() []condition {
	var out []condition
	add := func(stated bool, key, wants string, holds func(finding.Finding) bool, has func(finding.Finding) string) {
		if stated {
			out = append(out, condition{key, wants, holds, has})
		}
	}
	list := func(key string, patterns []string, has func(finding.Finding) string) {
		add(len(patterns) > 0, key, strings.Join(patterns, " or "), func(f finding.Finding) bool { return globs(patterns, has(f)) }, has)
	}
	list("product", w.Product, func(f finding.Finding) string { return f.Product })
	list("type", w.Type, func(f finding.Finding) string { return f.Type })
	if w.Severity != nil {
		add(true, "severity", string(w.Severity.From)+" or above", func(f finding.Finding) bool { return !w.Severity.From.Above(f.Band) }, func(f finding.Finding) string { return string(f.Band) })
	}
	list("account", w.Account, func(f finding.Finding) string { return f.Account })
	list("organizationalUnit", w.Unit, func(f finding.Finding) string { return f.Unit })
	list("region", w.Region, func(f finding.Finding) string { return f.Region })
	list("resourceType", w.ResourceType, func(f finding.Finding) string { return f.About })
	add(w.Role != "", "role", string(w.Role), func(f finding.Finding) bool { return partOf(f) == w.Role }, func(f finding.Finding) string { return string(partOf(f)) })
	add(len(w.Principal) > 0, "principal", strings.Join(w.Principal, " or "), func(f finding.Finding) bool { return slices.Contains(w.Principal, who(f)) }, who)
	for _, n := range w.Names {
		add(true, "names", n.one(), func(f finding.Finding) bool { return len(named(n, f)) > 0 }, func(finding.Finding) string { return "none" })
	}
	for _, key := range slices.Sorted(maps.Keys(w.Tags)) {
		tagged := func(f finding.Finding) string {
			var values []string
			for _, r := range f.Resources {
				if v, ok := r.Tags[key]; ok {
					values = append(values, v)
				}
			}
			return strings.Join(values, ", ")
		}
		add(true, "tags "+key, strings.Join(w.Tags[key], " or "), func(f finding.Finding) bool {
			return slices.ContainsFunc(f.Resources, func(r finding.Resource) bool {
				v, ok := r.Tags[key]
				return ok && globs(w.Tags[key], v)
			})
		}, tagged)
	}
	return out
}

// partOf is what the resource plays that the finding is about.
func partOf(f finding.Finding) finding.Part {
	for _, r := range f.Resources {
		if r.Part != "" {
			return r.Part
		}
	}
	return ""
}

// aUserSession is the principal of a user whose credentials are a session's, taken with a key that the finding does not name.
const aUserSession = "user-session"

func who(f finding.Finding) string {
	if f.Principal.Kind == finding.WhoUser && f.Principal.OfSession() {
		return aUserSession
	}
	return string(f.Principal.Kind)
}

// named gives the resources that a rule's name stands for.
func named(n resourceName, f finding.Finding) []finding.Resource {
	switch n {
	case anInstance:
		return f.Instances()
	case aResource:
		return f.Resources[:min(1, len(f.Resources))]
	case anAccount:
		return []finding.Resource{{Type: finding.Account, ID: f.Account, ARN: f.AccountARN(), Account: f.Account}}
	}
	return f.Of(kindOf[n])
}

// steps makes the steps of a rule for a finding: all, or none and the reason. With fan, those that can be made, and why the
// others were passed over.
func steps(list []step, f finding.Finding, fan bool) (out []incident.Step, passed []string, err error) {
	for _, s := range list {
		resources := named(s.Target, f)
		if len(resources) == 0 && !fan {
			if f.Principal.Doubt != "" && (s.Target == aRole || s.Target == aUser) {
				return nil, nil, fmt.Errorf("%s needs %s, and %s", s.Action, s.Target.one(), f.Principal.Doubt)
			}
			return nil, nil, fmt.Errorf("%s needs %s, and the finding names none", s.Action, s.Target.one())
		}
		for _, r := range resources {
			made, err := s.aim(r, f)
			switch {
			case err != nil && !fan:
				return nil, nil, err
			case err != nil:
				passed = append(passed, err.Error())
			case !slices.ContainsFunc(out, func(o incident.Step) bool { return o.Key() == made.Key() }):
				out = append(out, made)
			}
		}
	}
	return out, passed, nil
}

// aim makes the step for one resource. Errors: the resource is not told for certain, or is not the finding's account's.
func (s step) aim(r finding.Resource, f finding.Finding) (incident.Step, error) {
	made := incident.Step{Action: s.Action, Target: r.ARN}
	for k, v := range s.With {
		if v = valueOf(v, f); v == "" {
			return made, fmt.Errorf("%s needs %s, which the finding does not say", s.Action, s.With[k])
		}
		made = with(made, k, v)
	}
	key := f.Principal.KeyID
	if s.Target == aKey {
		key = r.ID
		if f.Principal.Kind == finding.WhoRoot {
			return made, fmt.Errorf("%s: the key %s is the root user's, which only root itself can deactivate", s.Action, r.ID)
		}
		if made.Target = f.KeyTarget(r); made.Target == "" {
			return made, fmt.Errorf("%s needs a key, and %q is none", s.Action, r.ID)
		}
	}
	if s.Target == aKey || s.Target == aUser || s.Target == aRole {
		made.Target = pathless(made.Target)
	}
	switch {
	case made.Target == "":
		return made, fmt.Errorf("%s needs %s, and %q is none that can be told for certain", s.Action, s.Target.one(), r.ID)
	case s.Target == aTrail && r.Account != f.Account:
		// The organization's trail: nothing is done in its account, and the action says who has to.
	case r.Account != f.Account:
		return made, fmt.Errorf("%s: %s is of account %s, the finding of %s", s.Action, made.Target, r.Account, f.Account)
	case r.Region != "" && f.Region != "" && r.Region != f.Region:
		return made, fmt.Errorf("%s: %s is in region %s, the finding in %s", s.Action, made.Target, r.Region, f.Region)
	case s.takesKeys() && key != "" && (s.Target == aKey || r.ID == f.Principal.Name):
		if !finding.LongTerm(key) {
			return made, fmt.Errorf("%s needs a long-term key, and the finding names %q, a session's", s.Action, key)
		}
		made = with(made, "keyId", key)
	}
	return made, nil
}

// pathless takes the path off the ARN of an IAM user or role. Some sources name principals with it and some without, and names are unique
// without: what two findings contain must be one resource with one hold.
func pathless(target string) string {
	a, err := arn.Parse(target)
	kind, rest, _ := strings.Cut(a.Resource, "/")
	if err != nil || a.Service != "iam" || kind != "user" && kind != "role" {
		return target
	}
	a.Resource = kind + "/" + rest[strings.LastIndex(rest, "/")+1:]
	return a.String()
}

// takesKeys tells whether the action is about single keys of its target.
func (s step) takesKeys() bool { return slices.Contains(Actions()[s.Action].With, "keyId") }

// values that a parameter can take from the finding.
var values = map[string]func(finding.Finding) string{
	"finding.principal": func(f finding.Finding) string { return strings.Join(f.External, ",") },
	"finding.keyId":     func(f finding.Finding) string { return f.Principal.KeyID },
	"finding.id":        func(f finding.Finding) string { return f.NativeID },
	"finding.type":      func(f finding.Finding) string { return f.Type },
}

// valueOf is what a parameter is set to: a value of the finding, or the word itself.
func valueOf(word string, f finding.Finding) string {
	if v, ok := values[word]; ok {
		return v(f)
	}
	return word
}

func with(s incident.Step, key, value string) incident.Step {
	if s.With == nil {
		s.With = map[string]string{}
	}
	s.With[key] = value
	return s
}

// globs tells whether one of the patterns matches; an empty list matches everything.
func globs(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s) })
}

// glob matches with * for any run of characters, / and : among them. Everything else, ! & . ? [ too, stands for itself: those
// occur in finding types.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) || !strings.HasSuffix(s[len(first):], last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return true
}

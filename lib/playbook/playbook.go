// Package playbook decides what a finding calls for, by rules that are data: strict YAML, first match wins.
//
// A playbook that does not load decides nothing: there is never half a playbook. A rule whose steps cannot all be made for a
// finding (it names no instance, say) makes none of them; people are told why.
package playbook

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/functions"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"
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
	When when   `yaml:"when"`
	// Severity that the incident is treated with, where it is higher than the finding's own.
	Severity  incident.Band `yaml:"severity"`
	Contain   []step        `yaml:"contain"`
	Eradicate []step        `yaml:"eradicate"`
	Notify    *notice       `yaml:"notify"`

	line int
}

// when holds the conditions of a rule. All that are given must hold; a list holds when one of its entries does.
type when struct {
	Type         []string       `yaml:"type"`    // globs
	Product      []string       `yaml:"product"` // globs
	Severity     *threshold     `yaml:"severity"`
	Account      []string       `yaml:"account"`      // globs
	Region       []string       `yaml:"region"`       // globs
	ResourceType []string       `yaml:"resourceType"` // globs; what the finding is about: Instance, AccessKey, S3Bucket
	Role         finding.Part   `yaml:"role"`         // actor or target: of the resource that the finding is about
	Principal    []finding.Who  `yaml:"principal"`
	Names        []resourceName `yaml:"names"` // the finding names a resource of each of these kinds
}

type threshold struct {
	From incident.Band `yaml:"from"`
}

// step is one thing to do to each resource of a kind that the finding names.
type step struct {
	Action string            `yaml:"action"`
	Target resourceName      `yaml:"target"`
	With   map[string]string `yaml:"with"`
}

// notice says who is told, and after how long without a decision somebody else is.
type notice struct {
	Audience string        `yaml:"audience"`
	Escalate time.Duration `yaml:"escalate"`
}

// resourceName is how rules call a kind of resource.
type resourceName string

const (
	anInstance resourceName = "instance"
	aRole      resourceName = "role"
	aUser      resourceName = "user"
	aBucket    resourceName = "bucket"
)

// one is the name with its article.
func (n resourceName) one() string {
	if n == anInstance {
		return "an instance"
	}
	return "a " + string(n)
}

// Use is what a rule may do with an action.
type Use struct {
	// Target is the kind of resource that it takes: instance, role, user, bucket; empty for any.
	Target string
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
		use := Use{Target: a.Target, Destroys: a.Destroys}
		if a.Target == "any" {
			use.Target = ""
		}
		out[name] = use
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
	// Rule that decided, as file:line; empty where none did.
	Rule string
	// Band that the incident is treated with.
	Band incident.Band
	Plan incident.Plan
	// Dropped counts the steps that the plan was cut by.
	Dropped int
	// Audience is told; after Escalate without an answer somebody else is (0: at once).
	Audience string
	Escalate time.Duration
}

// Decide gives the decision for a finding. limit is how many steps a plan's contain set may have.
func (b *Book) Decide(f finding.Finding, limit int) Decision {
	d := Decision{Disposition: Record, Band: f.Band, Plan: incident.Plan{Contain: []incident.Step{}, Eradicate: []incident.Step{}}}
	if d.Reason = f.Idle(); d.Reason != "" {
		return d
	}
	i := slices.IndexFunc(b.rules, func(r rule) bool { return r.When.match(f) })
	if i < 0 {
		if f.Band.Above(incident.Medium) {
			return d.tell(f, fmt.Sprintf("no rule of %s is for %s; from HIGH up people are told", b.File, f.Type))
		}
		d.Reason = fmt.Sprintf("no rule of %s is for %s, and it is %s", b.File, f.Type, f.Band)
		return d
	}
	r := b.rules[i]
	d.Rule = fmt.Sprintf("%s:%d", b.File, r.line)
	if r.Severity.Above(d.Band) {
		d.Band = r.Severity
	}
	if r.Notify != nil {
		d.Audience, d.Escalate = r.Notify.Audience, r.Notify.Escalate
	}
	contain, err := steps(r.Contain, f)
	if err != nil {
		return d.tell(f, fmt.Sprintf("rule %s cannot act: %v", r.Name, err))
	}
	eradicate, err := steps(r.Eradicate, f)
	if err != nil {
		return d.tell(f, fmt.Sprintf("rule %s cannot act: %v", r.Name, err))
	}
	switch {
	case len(contain)+len(eradicate) > 0:
		d.Disposition, d.Reason = Respond, "rule "+r.Name
		d.Plan.Contain, d.Plan.Eradicate = append(d.Plan.Contain, contain...), append(d.Plan.Eradicate, eradicate...)
		d.cap(limit)
		d.Plan.Contain = append(d.Plan.Contain, telling(f))
	case r.Notify != nil:
		return d.tell(f, "rule "+r.Name)
	default:
		d.Reason = "rule " + r.Name
	}
	return d
}

// tell turns the decision into one that acts on nothing and tells people.
func (d Decision) tell(f finding.Finding, reason string) Decision {
	d.Disposition, d.Reason = Notify, reason
	d.Plan = incident.Plan{Contain: []incident.Step{telling(f)}, Eradicate: []incident.Step{}}
	if d.Audience == "" {
		d.Audience = "security"
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

// telling is the notice's step: about the first resource, or about the account where the finding names none.
func telling(f finding.Finding) incident.Step {
	if arns := f.ARNs(); len(arns) > 0 {
		return incident.Step{Action: notify, Target: arns[0]}
	}
	return incident.Step{Action: notify, Target: f.AccountARN()}
}

// Tell is the decision for a finding that may not be acted on but that people hear of.
func Tell(f finding.Finding, reason string) Decision {
	return Decision{Band: f.Band}.tell(f, reason)
}

func (w when) match(f finding.Finding) bool {
	return globs(w.Type, f.Type) && globs(w.Product, f.Product) && globs(w.Account, f.Account) && globs(w.Region, f.Region) &&
		globs(w.ResourceType, f.About) &&
		(w.Severity == nil || !w.Severity.From.Above(f.Band)) &&
		(w.Role == "" || slices.ContainsFunc(f.Resources, func(r finding.Resource) bool { return r.Part == w.Role })) &&
		(len(w.Principal) == 0 || slices.Contains(w.Principal, f.Principal.Kind)) &&
		!slices.ContainsFunc(w.Names, func(n resourceName) bool { return len(named(n, f)) == 0 })
}

// named gives the resources that a rule's name stands for.
func named(n resourceName, f finding.Finding) []finding.Resource {
	switch n {
	case anInstance:
		return f.Instances()
	case aRole:
		return f.Of(finding.Role)
	case aUser:
		return f.Of(finding.User)
	case aBucket:
		return f.Of(finding.Bucket)
	}
	return nil
}

// steps makes the steps of a rule for a finding: all, or none and the reason.
func steps(list []step, f finding.Finding) ([]incident.Step, error) {
	var out []incident.Step
	for _, s := range list {
		resources := named(s.Target, f)
		if len(resources) == 0 {
			if f.Principal.Doubt != "" && (s.Target == aRole || s.Target == aUser) {
				return nil, fmt.Errorf("%s needs %s, and %s", s.Action, s.Target.one(), f.Principal.Doubt)
			}
			return nil, fmt.Errorf("%s needs %s, and the finding names none", s.Action, s.Target.one())
		}
		for _, r := range resources {
			made := incident.Step{Action: s.Action, Target: r.ARN}
			for k, v := range s.With {
				made = with(made, k, v)
			}
			switch {
			case r.ARN == "":
				return nil, fmt.Errorf("%s needs %s, and %q is none that can be told for certain", s.Action, s.Target.one(), r.ID)
			case r.Account != f.Account:
				return nil, fmt.Errorf("%s: %s is of account %s, the finding of %s", s.Action, r.ARN, r.Account, f.Account)
			case s.Target == aUser && f.Principal.KeyID != "":
				if !f.Principal.LongTerm() {
					return nil, fmt.Errorf("%s needs a long-term key, and the finding names %q, a session's", s.Action, f.Principal.KeyID)
				}
				made = with(made, "keyId", f.Principal.KeyID)
			}
			if !slices.ContainsFunc(out, func(o incident.Step) bool { return o.Key() == made.Key() }) {
				out = append(out, made)
			}
		}
	}
	return out, nil
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

// Load gives the playbook that an installation has set. Errors: Unreadable, and nothing is acted on.
func Load(source string) (*Book, error) {
	if source != "builtin" {
		return nil, fault.New(fault.Unreadable, "the playbook %q is not one that this version can load: set source to builtin", source)
	}
	return Builtin()
}

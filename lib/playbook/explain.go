package playbook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/finding"
)

// Explanation says what decided about a finding, and what would have to differ for something else to decide.
type Explanation struct {
	Disposition Disposition `json:"disposition"`
	Reason      string      `json:"reason"`
	Rule        text        `json:"rule"` // file:line, null where no rule decided
	Name        text        `json:"name"`
	// Held are the conditions of that rule, each with what the finding has.
	Held []string `json:"held"`
	// Others are the rules that came nearest, those before the one that decided first.
	Others []Other `json:"others"`
}

// Other is a rule that did not decide.
type Other struct {
	Rule string `json:"rule"`
	Name string `json:"name"`
	// Before: it stands before the rule that decided, so it would have decided instead.
	Before bool `json:"before"`
	// Misses are its conditions that do not hold, each with what would have to differ.
	Misses []string `json:"misses"`
	Does   []string `json:"does"` // its actions

	far int
}

// maxOthers is how many rules are worth a person's time.
const maxOthers = 5

// Explain tells which rule and which of its conditions decided about the finding, and what would have to differ.
func (b *Book) Explain(f finding.Finding, limit int) Explanation {
	d := b.Decide(f, limit)
	e := Explanation{Disposition: d.Disposition, Reason: d.Reason, Rule: text(d.Rule), Name: text(d.Name), Held: []string{}, Others: []Other{}}
	if f.Idle() != "" || own(f) || f.Doubt != "" {
		e.Held = append(e.Held, "no rule was asked: "+d.Reason)
		return e
	}
	decided := slices.IndexFunc(b.rules, func(r rule) bool { return r.match(f) })
	for i, r := range b.rules {
		if i == decided {
			for _, c := range r.conditions {
				e.Held = append(e.Held, c.says(f))
			}
			if len(r.conditions) == 0 {
				e.Held = append(e.Held, "the rule has no condition")
			}
			continue
		}
		o := Other{Rule: fmt.Sprintf("%s:%d", b.File, r.line), Name: r.Name, Before: decided < 0 || i < decided, Misses: []string{}, Does: []string{}}
		fatal := false
		for _, c := range r.conditions {
			if !c.holds(f) {
				o.Misses = append(o.Misses, c.misses(f))
				fatal = fatal || c.key == "product"
				// A rule for other types or other kinds of resources is not near, however little else it asks for.
				o.far += map[string]int{"type": 100, "resourceType": 50}[c.key] + 1
			}
		}
		if f.Unknown && !slices.Contains(r.When.Type, f.Type) {
			o.Misses = append(o.Misses, fmt.Sprintf("the rule would have to name the type %s to the letter: this version does not know it", f.Type))
		}
		for _, s := range slices.Concat(r.Contain, r.Eradicate) {
			o.Does = append(o.Does, s.Action)
		}
		if !fatal && (o.Before || len(o.Misses) == 0) {
			e.Others = append(e.Others, o)
		}
	}
	slices.SortStableFunc(e.Others, func(a, b Other) int { return cmp.Compare(a.far, b.far) })
	if near := slices.DeleteFunc(slices.Clone(e.Others), func(o Other) bool { return o.far > 100 }); len(near) > 0 {
		e.Others = near
	}
	e.Others = e.Others[:min(len(e.Others), maxOthers)]
	return e
}

// says tells that the condition holds.
func (c condition) says(f finding.Finding) string {
	if c.key == "names" {
		return "it names " + c.wants
	}
	return fmt.Sprintf("%s is %s, and the rule is for %s", c.key, said(c.has(f)), c.wants)
}

// misses tells what would have to differ for the condition to hold.
func (c condition) misses(f finding.Finding) string {
	if c.key == "names" {
		return "it would have to name " + c.wants
	}
	return fmt.Sprintf("%s would have to be %s; it is %s", c.key, c.wants, said(c.has(f)))
}

func said(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// String is the explanation for people.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", e.Disposition, e.Reason)
	if e.Rule != "" {
		fmt.Fprintf(&b, "decided by rule %s (%s), because\n", e.Name, e.Rule)
	}
	for _, h := range e.Held {
		fmt.Fprintf(&b, "  %s\n", h)
	}
	for _, o := range e.Others {
		does := "records it"
		if len(o.Does) > 0 {
			does = "does " + strings.Join(o.Does, ", ")
		}
		fmt.Fprintf(&b, "rule %s (%s) %s, and it did not decide:\n", o.Name, o.Rule, does)
		for _, m := range o.Misses {
			fmt.Fprintf(&b, "  %s\n", m)
		}
		if len(o.Misses) == 0 {
			fmt.Fprintf(&b, "  it stands after the rule that did\n")
		}
	}
	return b.String()
}

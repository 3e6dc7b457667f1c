// Package permission says what IAM policies allow, for tests that hold grants against what is used. It knows the part of IAM's
// language that this project's templates use, and refuses the rest.
package permission

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Statement of a policy.
type Statement struct {
	Sid       string
	Allow     bool
	Actions   []string
	Resources []string
	// Condition is operator, key, values.
	Condition map[string]map[string][]string
}

// Request is one call that is asked about.
type Request struct {
	Action, Resource string
	// Context has the values of condition keys. nil stands for any: then an Allow with conditions allows, and a Deny with
	// conditions denies nothing.
	Context map[string][]string
}

// Decision on a request.
type Decision int

const (
	Silent  Decision = iota // no statement speaks of it
	Allowed                 // a statement allows it and none denies it
	Denied
)

func (d Decision) String() string { return [...]string{"not allowed", "allowed", "denied"}[d] }

// Decide says what the statements of one policy say together: a denial wins.
func Decide(statements []Statement, r Request) Decision {
	out := Silent
	for _, s := range statements {
		if !s.matches(r) {
			continue
		}
		if !s.Allow {
			return Denied
		}
		out = Allowed
	}
	return out
}

func (s Statement) matches(r Request) bool {
	if !slices.ContainsFunc(s.Actions, func(a string) bool { return glob(strings.ToLower(a), strings.ToLower(r.Action)) }) {
		return false
	}
	if len(s.Resources) > 0 && !slices.ContainsFunc(s.Resources, func(a string) bool { return Glob(a, r.Resource) }) {
		return false
	}
	if r.Context == nil {
		return s.Allow || len(s.Condition) == 0
	}
	for operator, keys := range s.Condition {
		for key, want := range keys {
			if !holds(operator, r.Context[key], want) {
				return false
			}
		}
	}
	return true
}

// holds evaluates one condition. A missing key fails every operator but the negated ones and Null (IAM user guide, condition
// operators).
func holds(operator string, have, want []string) bool {
	base, some := strings.CutPrefix(operator, "ForAnyValue:")
	negated := strings.Contains(base, "Not")
	if base == "Null" {
		return slices.Contains(want, fmt.Sprint(len(have) == 0))
	}
	if len(have) == 0 {
		return negated && !some
	}
	var same func(pattern, value string) bool
	switch base {
	case "StringEquals", "StringNotEquals", "Bool":
		same = strings.EqualFold
		if base != "Bool" {
			same = func(p, v string) bool { return p == v }
		}
	case "StringLike", "StringNotLike", "ArnLike", "ArnEquals", "ArnNotLike", "ArnNotEquals":
		same = Glob
	default:
		panic("permission: unknown condition operator " + operator)
	}
	match := slices.ContainsFunc(have, func(v string) bool { return slices.ContainsFunc(want, func(p string) bool { return same(p, v) }) })
	return match != negated
}

// Glob matches a pattern with * and ? against an ARN or another text. * crosses every separator, as in IAM.
func Glob(pattern, text string) bool { return pattern == "*" || glob(pattern, text) }

func glob(pattern, text string) bool {
	// path.Match lets * stop at slashes only: without slashes it is IAM's. Brackets are no pattern in IAM.
	flat := strings.NewReplacer("/", "\x00", "[", `\[`, "\\", `\\`)
	ok, err := path.Match(flat.Replace(pattern), strings.NewReplacer("/", "\x00").Replace(text))
	return err == nil && ok
}

// Less is the statements without one action: each that has it loses it, and one that has no other goes.
func Less(statements []Statement, action string) []Statement {
	var out []Statement
	for _, s := range statements {
		if s.Allow && slices.Contains(s.Actions, action) {
			s.Actions = slices.DeleteFunc(slices.Clone(s.Actions), func(a string) bool { return a == action })
			if len(s.Actions) == 0 {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// Granted lists the actions that statements allow, sorted, each once.
func Granted(statements []Statement) []string {
	var out []string
	for _, s := range statements {
		if s.Allow {
			out = append(out, s.Actions...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

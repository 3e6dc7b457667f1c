package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"firebreak/lib/setting"
)

// everybody is the principal that stands for anyone.
const everybody = "*"

// take takes a principal out of an Allow statement. It gives what is left of the statement, nil for nothing, and what was
// taken in words, "" for nothing.
func take(s map[string]any, principal string) (left map[string]any, taken string) {
	if principal == everybody {
		if !public(s) {
			return s, ""
		}
		return drop(s, func(_, v string) bool { return v == everybody }), "everybody"
	}
	named := func(v string) bool { return canonical(v) == canonical(principal) }
	found := ""
	if kinds, ok := s["Principal"].(map[string]any); ok {
		for _, v := range kinds {
			if i := slices.IndexFunc(texts(v), named); i >= 0 {
				found = texts(v)[i]
			}
		}
	}
	if found != "" {
		return drop(s, func(_, v string) bool { return named(v) }), found
	}
	if !anyone(s["Principal"]) {
		return s, ""
	}
	return uncondition(s, principal)
}

// anyone tells whether a Principal is everybody.
func anyone(p any) bool {
	kinds, _ := p.(map[string]any)
	return p == everybody || slices.Contains(texts(kinds["AWS"]), everybody)
}

// public tells whether a statement lets everybody in and no condition says whom.
func public(s map[string]any) bool { return anyone(s["Principal"]) && !conditioned(s["Condition"]) }

// wholly gives the account of a principal where a statement lets that whole account in, or all whose ARN begins as the principal's does;
// "" where it does not, or a condition keeps the principal out.
func wholly(s map[string]any, principal string) string {
	account := accountOf(principal)
	if account == "" || canonical(principal) == account || setting.Federation(principal) { // who comes through a federation is of no account
		return ""
	}
	kinds, _ := s["Principal"].(map[string]any)
	let := slices.ContainsFunc(texts(kinds["AWS"]), func(v string) bool { return canonical(v) == account })
	if !let && !anyone(s["Principal"]) {
		return ""
	}
	operators, _ := s["Condition"].(map[string]any)
	for operator, v := range operators {
		keys, _ := v.(map[string]any)
		for key, v := range keys {
			if !positive(operator) || !slices.Contains([]string{"aws:principalaccount", "aws:principalarn", "kms:calleraccount"}, strings.ToLower(key)) {
				continue
			}
			if !slices.ContainsFunc(texts(v), func(v string) bool {
				i := strings.IndexAny(v, "*?$")
				return canonical(v) == account || v == principal || i >= 0 && strings.HasPrefix(principal, v[:i])
			}) {
				return ""
			}
			let = true
		}
	}
	if !let {
		return ""
	}
	return account
}

// drop gives the statement without the principals that are meant, nil where none is left.
func drop(s map[string]any, meant func(kind, value string) bool) map[string]any {
	kinds, ok := s["Principal"].(map[string]any)
	if !ok {
		return nil
	}
	left := map[string]any{}
	for kind, v := range kinds {
		values := slices.DeleteFunc(texts(v), func(value string) bool { return meant(kind, value) })
		if len(values) > 0 {
			left[kind] = list(values)
		}
	}
	if len(left) == 0 {
		return nil
	}
	out := maps.Clone(s)
	out["Principal"] = left
	return out
}

func list(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// whose are the condition keys, in small letters, that say whose request it is.
var whose = []string{"aws:principalaccount", "aws:principalarn", "aws:sourceaccount", "aws:sourcearn", "aws:sourceowner", "aws:userid", "kms:calleraccount", "s3:dataaccesspointaccount"}

// where are those that say where it comes from. AWS takes a statement with one of all these, and a fixed value, for not
// public (Amazon S3 user guide, "The meaning of public").
var where = []string{"aws:principalorgid", "aws:principalorgpaths", "aws:sourceorgid", "aws:sourceorgpaths", "aws:sourcevpc", "aws:sourcevpce", "s3:dataaccesspointarn"}

// positive tells whether an operator lets in what has the value and nothing else: not where the key is absent, not by saying
// what it is not.
func positive(operator string) bool {
	operator = strings.TrimPrefix(operator, "ForAnyValue:")
	return slices.Contains([]string{"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike"}, operator)
}

// conditioned tells whether a condition says who may come.
func conditioned(condition any) bool {
	operators, _ := condition.(map[string]any)
	for operator, v := range operators {
		keys, _ := v.(map[string]any)
		for key, v := range keys {
			key, values := strings.ToLower(key), texts(v)
			if len(values) == 0 {
				continue
			}
			switch {
			case positive(operator) && (slices.Contains(whose, key) || slices.Contains(where, key)) && !slices.ContainsFunc(values, loose),
				operator == "IpAddress" && key == "aws:sourceip" && !slices.ContainsFunc(values, wide),
				operator == "Bool" && key == "aws:principalisawsservice" && slices.Equal(values, []string{"true"}):
				return true
			}
		}
	}
	return false
}

// delegates tells whether a bucket's policy leaves it to access points whom to let in: it has an Allow for what comes through one.
func delegates(doc string) bool {
	if doc == "" {
		return false
	}
	_, list, err := parse(doc)
	return err == nil && slices.ContainsFunc(list, func(s map[string]any) bool {
		operators, _ := s["Condition"].(map[string]any)
		for _, v := range operators {
			keys, _ := v.(map[string]any)
			for key := range keys {
				if s["Effect"] == "Allow" && strings.HasPrefix(strings.ToLower(key), "s3:dataaccesspoint") {
					return true
				}
			}
		}
		return false
	})
}

// organizations are the keys among where whose values begin with an organization's id.
var organizations = []string{"aws:principalorgid", "aws:principalorgpaths", "aws:sourceorgid", "aws:sourceorgpaths"}

// narrowed says which statements of a document let everybody in who belongs to an organization or an account that trusts knows
// nothing of. A statement that one of its conditions narrows to those that are trusted is none of them.
func narrowed(doc string, trusts func(string) string) []string {
	if doc == "" {
		return nil
	}
	_, list, err := parse(doc)
	if err != nil {
		return nil // what is no policy was said before
	}
	var out []string
	for i, s := range list {
		if s["Effect"] != "Allow" || !anyone(s["Principal"]) || public(s) {
			continue
		}
		if foreign := strangers(s["Condition"], trusts); len(foreign) > 0 {
			out = append(out, fmt.Sprintf("everybody of %s by %s", strings.Join(foreign, ", "), nameOf(i, s)))
		}
	}
	return out
}

// strangers are the organizations and accounts that a condition lets in and trusts knows nothing of; none where another key keeps them out.
func strangers(condition any, trusts func(string) string) []string {
	operators, _ := condition.(map[string]any)
	var out []string
	for _, operator := range slices.Sorted(maps.Keys(operators)) {
		keys, _ := operators[operator].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			small, values := strings.ToLower(key), texts(keys[key])
			var of func(string) string
			switch {
			case !positive(operator) || len(values) == 0 || slices.ContainsFunc(values, loose):
				continue
			case slices.Contains(organizations, small):
				of = func(v string) string { v, _, _ = strings.Cut(v, "/"); return v }
			case slices.Contains(whose, small):
				of = ownerOf
			default:
				return nil // a network, an access point: it says whom in its own way
			}
			foreign := slices.DeleteFunc(values, func(v string) bool { return of(v) == "" || trusts(of(v)) != "" })
			if len(foreign) == 0 {
				return nil
			}
			out = append(out, foreign...)
		}
	}
	return out
}

// loose tells whether a value stands for anything: a wildcard or a variable, unless it is an ARN of one certain account or a path in
// one certain organization.
func loose(value string) bool {
	head, _, path := strings.Cut(value, "/")
	return strings.ContainsAny(value, "*?$") && ownerOf(value) == "" && !(path && strings.HasPrefix(head, "o-") && !strings.ContainsAny(head, "*?$"))
}

// wide tells whether a range is one that a company cannot have.
func wide(cidr string) bool {
	if !strings.Contains(cidr, "/") {
		return false
	}
	p, err := netip.ParsePrefix(cidr)
	return err != nil || p.Bits() < 8
}

// uncondition takes a principal out of the conditions of a statement that everybody could use without them. A list that ends
// up empty takes the statement with it: without the condition it would let everybody in.
func uncondition(s map[string]any, principal string) (left map[string]any, taken string) {
	operators, _ := s["Condition"].(map[string]any)
	changed := maps.Clone(operators)
	for _, operator := range slices.Sorted(maps.Keys(operators)) {
		keys, _ := operators[operator].(map[string]any)
		if !positive(operator) {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Contains(whose, strings.ToLower(key)) {
				continue
			}
			kept := slices.DeleteFunc(texts(keys[key]), func(v string) bool { return belongs(v, principal) })
			if len(kept) == len(texts(keys[key])) {
				continue
			}
			taken = principal + " by " + key
			if len(kept) == 0 {
				return nil, taken
			}
			now := maps.Clone(changed[operator].(map[string]any))
			now[key] = list(kept)
			changed[operator] = now
		}
	}
	if taken == "" {
		return s, ""
	}
	out := maps.Clone(s)
	out["Condition"] = changed
	return out, taken
}

// belongs tells whether a condition's value is the principal, or somebody of an account that is the principal.
func belongs(value, principal string) bool {
	return canonical(value) == canonical(principal) || accountID.MatchString(canonical(principal)) && ownerOf(value) == canonical(principal)
}

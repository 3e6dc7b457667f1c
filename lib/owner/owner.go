// Package owner says who is told of an incident: the people responsible for what a finding names, by the tags of the resource,
// else by the settings of the account, else the security team.
//
// Tags are untrusted: whoever may tag a resource, an attacker too, can name anybody. An owner is told in addition to the
// security team, never instead of it.
package owner

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/finding"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

// Security is the audience that is always told.
const Security = "security"

// tags that name the people of an audience, the nearest first. They are compared without case and punctuation.
var tags = map[string][]string{
	"data-owner":    {"dataowner", "datasteward", "owner", "ownercontact", "ownedby"},
	"bucket-owner":  {"bucketowner", "dataowner", "owner", "ownercontact", "ownedby"},
	"owner":         {"owner", "resourceowner", "ownercontact", "ownedby", "team"},
	"account-owner": {"accountowner"},
}

// fallback is whom the account's settings are asked for next, where they have nobody for an audience.
var fallback = map[string][]string{
	"data-owner": {"owner", "account-owner"}, "bucket-owner": {"data-owner", "owner", "account-owner"}, "owner": {"account-owner"},
	"account-owner": {"owner"},
}

// Resolve says who is told of the finding. account holds the settings of the finding's account, zero where there are none.
func Resolve(audience string, f finding.Finding, account setting.Account) ledger.Told {
	if audience == "" {
		audience = Security
	}
	o := ledger.Told{Audience: audience, Name: Security, Said: "the default"}
	if audience == Security {
		if name := plain(account.Owners[Security]); name != "" {
			o.Name, o.Said = name, fmt.Sprintf("the settings of account %s", f.Account)
		}
		return o
	}
	for _, r := range f.Resources {
		// Only what the finding's account has can say who is responsible for it.
		if r.Account != f.Account {
			continue
		}
		for _, want := range tags[audience] {
			if key, name := tagged(r.Tags, want); name != "" {
				o.Name, o.Said = name, fmt.Sprintf("the tag %s of %s", plain(key), r.ID)
				return o
			}
		}
	}
	for _, a := range append([]string{audience}, fallback[audience]...) {
		if name := plain(account.Owners[a]); name != "" {
			o.Name, o.Said = name, fmt.Sprintf("the settings of account %s (%s)", f.Account, a)
			return o
		}
	}
	o.Missing = fmt.Sprintf("nobody is named as %s, neither by a tag of the resource nor in the settings of account %s", strings.ReplaceAll(audience, "-", " "), f.Account)
	return o
}

// tagged gives the tag of that name, compared without case and punctuation. Of several spellings the first in order counts.
func tagged(tags map[string]string, want string) (key, name string) {
	var keys []string
	for k := range tags {
		if squashed(k) == want {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if name := plain(tags[k]); name != "" {
			return k, name
		}
	}
	return "", ""
}

func squashed(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_ .:/", r) {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// plain makes a name one short line.
func plain(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if r := []rune(s); len(r) > 120 {
		return string(r[:119]) + "…"
	}
	return s
}

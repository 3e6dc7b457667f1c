package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/setting"
)

const with = "shared with "

// view is a resource as it was read.
type view struct {
	kind   kind
	doc    string
	edit   edit
	shared []string
	// narrow are the statements for everybody of an organization or an account that is not trusted, where the finding says everybody;
	// listed is what a bucket's ACL, or the grants of a key, give those whom they name. Both are for people.
	narrow, listed []string
	// points are a bucket's access points that let an outsider in, and how people take it out.
	points []string
	// unread is why nobody can tell whom the ACL gives something.
	unread string
	// notes is what else lets somebody in; taken is what Apply has taken out for run.
	notes, taken []string
	run          string
	outsiders    []string
}

// run tells runs of the action on one target apart.
func run(c action.Call) string { return c.Incident.ID + " " + c.Since.String() }

// look reads the resource and sees what of it names the principal.
func (r removal) look(ctx context.Context, c action.Call) (*view, error) {
	v := &view{run: run(c)}
	installed, err := r.inst.Read(ctx)
	if err != nil {
		return nil, err
	}
	trusts := func(principal string) string {
		if accountOf(principal) == c.Target.Account && !setting.Federation(principal) {
			return "it is of the resource's own account"
		}
		return installed.Trusts(canonical(principal))
	}
	if v.outsiders, err = outsiders(c, trusts); err != nil {
		return nil, err
	}
	if v.kind, err = kindOf(c); err != nil {
		return nil, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	if v.kind.document == nil {
		v.shared, err = v.kind.shared(ctx, api, c)
		return v, err
	}
	if v.doc, err = v.kind.document(ctx, api, c); err != nil {
		return nil, err
	}
	if v.edit, err = without(v.doc, v.outsiders...); err != nil {
		return nil, err
	}
	if slices.Contains(v.outsiders, everybody) {
		v.narrow = narrowed(v.doc, trusts)
	}
	switch c.Target.Service {
	case "s3":
		v.listed, v.notes, v.unread = grants(ctx, api, c, v.outsiders, trusts)
		v.points, err = points(ctx, api, c, v.doc, v.outsiders)
	case "kms":
		v.listed, err = granted(ctx, api, c, v.outsiders)
	}
	return v, err
}

// outsiders gives the principals to take out, everybody first. One that is no outsider stays; where none is, the step is
// refused. Errors: BadInput.
func outsiders(c action.Call, trusts func(string) string) ([]string, error) {
	var out []string
	var no error
	for _, p := range listed(c.With["principal"]) {
		p = untyped(p)
		if why := trusts(p); why != "" {
			no = action.Refuse("%s is no outsider, %s: nobody is locked out. Archive the finding where it was made", p, why)
			continue
		}
		out = append(out, p)
	}
	if len(out) == 0 && no == nil {
		no = fault.New(fault.BadInput, "the step does not say whom to take out of %s (parameter principal)", c.Target.ARN)
	}
	if len(out) > 0 {
		no = nil
	}
	slices.Sort(out) // * is before digits and letters
	return slices.Compact(out), no
}

// untyped takes off the kind that a finding writes before a principal that is no AWS account or ARN.
func untyped(principal string) string {
	for _, kind := range []string{"CanonicalUser:", "Federated:", "Service:"} {
		if rest, ok := strings.CutPrefix(principal, kind); ok {
			return rest
		}
	}
	return principal
}

// listed takes a list apart whose items are separated by commas.
func listed(text string) []string {
	var out []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// meant tells whether a place in a list of sharing is one of the principals': such lists know accounts, not who is in them.
func meant(who string, principals []string) bool {
	return slices.ContainsFunc(principals, func(p string) bool {
		switch {
		case p == everybody:
			return who == everyone
		case accountOf(p) != "" && !strings.Contains(who, ":"):
			return who == accountOf(p)
		}
		return who == p
	})
}

func (r removal) view(c action.Call) *view {
	if v, ok := r.seen.Load(c.Target.ARN); ok {
		return v.(*view)
	}
	return &view{}
}

// most is how long a document may be to stand in a refusal.
const most = 2000

// prepared is the edit for a person, ready to be made.
func (v *view) prepared(c action.Call) string {
	command := v.kind.command(c, v.edit)
	text := fmt.Sprintf("a person has to take %s out of %s: its policy may be all that lets its own account in. Take %s. With: %s", strings.Join(v.outsiders, " and "), c.Target.ARN, strings.Join(v.edit.out, "; "), command)
	switch {
	case v.edit.doc == "":
		return text + ". No statement is left then: look first who else needs one"
	case len(v.edit.doc) <= most && strings.Contains(command, "DOCUMENT"):
		return text + ". DOCUMENT is then: " + v.edit.doc
	}
	return text
}

// reshare gives those of before their places back and reads that they have them.
func (r removal) reshare(ctx context.Context, c action.Call, k kind, api changes, before action.State) error {
	missing := func() ([]string, error) {
		v, err := r.look(ctx, c)
		if err != nil {
			return nil, err
		}
		var out []string
		for _, f := range slices.Sorted(maps.Keys(before)) {
			if who := strings.TrimPrefix(f, with); before[f] == "true" && !slices.Contains(v.shared, who) {
				out = append(out, who)
			}
		}
		return out, nil
	}
	add, err := missing()
	if err != nil || len(add) == 0 {
		return err
	}
	if err := k.share(ctx, api, c, add, nil); err != nil {
		return err
	}
	if add, err = missing(); err == nil && len(add) > 0 {
		err = fault.New(fault.Throttled, "%s was shared with %s again, but AWS does not show it yet: look again", c.Target.ARN, strings.Join(add, ", "))
	}
	return err
}

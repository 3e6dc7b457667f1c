package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
)

const with = "shared with "

// view is a resource as it was read.
type view struct {
	kind   kind
	doc    string
	edit   edit
	shared []string
	// notes is what else lets somebody in; taken is what Apply has taken out for run.
	notes, taken []string
	run          string
}

// run tells runs of the action on one target apart.
func run(c action.Call) string { return c.Incident.ID + " " + c.Since.String() }

// look reads the resource and sees what of it names the principal.
func (r removal) look(ctx context.Context, c action.Call) (*view, error) {
	principal, err := outsider(c)
	if err != nil {
		return nil, err
	}
	v := &view{run: run(c)}
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
	if v.edit, err = without(v.doc, principal); err != nil {
		return nil, err
	}
	if c.Target.Service == "s3" {
		v.notes = grants(ctx, api, c)
	}
	return v, nil
}

// outsider gives the principal to take out. Errors: BadInput; a refusal for one that is no outsider.
func outsider(c action.Call) (string, error) {
	p := strings.TrimSpace(c.With["principal"])
	if p == "" {
		return "", fault.New(fault.BadInput, "the step does not say whom to take out of %s (parameter principal)", c.Target.ARN)
	}
	if accountOf(p) == c.Target.Account {
		return "", action.Refuse("%s is of the resource's own account: nobody is locked out", p)
	}
	for _, t := range strings.Split(c.With["trusted"], ",") {
		if t = strings.TrimSpace(t); t != "" && (canonical(t) == canonical(p) || accountID.MatchString(canonical(t)) && canonical(t) == accountOf(p)) {
			return "", action.Refuse("%s is on the trusted list (%s): archive the finding where it was made", p, t)
		}
	}
	return p, nil
}

// meant tells whether a place in a list of sharing is the principal's: such lists know accounts, not who is in them.
func meant(who, principal string) bool {
	switch {
	case principal == everybody:
		return who == everyone
	case accountOf(principal) != "" && !strings.Contains(who, ":"):
		return who == accountOf(principal)
	}
	return who == principal
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
	command := v.kind.command(c)
	text := fmt.Sprintf("a person has to take %s out of %s: its policy may be all that lets its own account in. Take %s. With: %s", c.With["principal"], c.Target.ARN, strings.Join(v.edit.out, "; "), command)
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

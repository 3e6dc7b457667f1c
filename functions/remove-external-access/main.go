// Command remove-external-access takes an outsider out of what a resource shares.
//
// From the policy of a bucket, a queue or a topic it takes exactly the statements, principals and conditions that name the
// outsider (parameter principal: an account, an ARN or *), from a snapshot or an image its place in the list of those that it
// is shared with. The second time nothing names it and nothing is changed. Its undo puts the earlier document or list back,
// unless somebody has changed it since.
//
// Nobody is locked out: what names the resource's own account, or anybody on the trusted list (parameter trusted, separated
// by commas), stays. Keys, secrets, functions and roles are never changed: people get the exact edit. So they do where a
// statement lets everybody in and the finding names somebody.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"
)

// removal is the action. Owned fields: "policy", which stands for the resource's policy document (label), or "shared with
// <who>", true for each that a snapshot or image is shared with. The documents themselves are kept in the ledger.
type removal struct {
	store   ledger.Store
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// seen has the latest view of a target.
	seen *sync.Map
}

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

const with = "shared with "

func (r removal) Observe(ctx context.Context, c action.Call) (action.State, error) {
	v, err := r.look(ctx, c)
	if err != nil {
		return nil, err
	}
	if old := r.view(c); old.run == run(c) {
		v.taken = old.taken
	}
	r.seen.Store(c.Target.ARN, v)
	if v.kind.document != nil {
		return action.State{"policy": label(v.doc)}, nil
	}
	s := action.State{}
	for _, who := range v.shared {
		s[with+who] = "true"
	}
	return s, nil
}

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

func (r removal) Intent(c action.Call, now action.State) (action.State, error) {
	v, principal := r.view(c), c.With["principal"]
	if v.kind.document == nil {
		if principal != everybody && now[with+everyone] == "true" {
			return nil, action.Refuse("%s is shared with everybody, %s among them: that is for the finding about everybody", c.Target.ARN, principal)
		}
		intent := action.State{}
		for f := range now {
			if meant(strings.TrimPrefix(f, with), principal) {
				intent[f] = ""
			}
		}
		return intent, nil
	}
	switch {
	case len(v.edit.open) > 0:
		return nil, action.Refuse("%s lets everybody in by %s, and no condition says whom: decide whom it is meant for, and name them there; taking out %s alone would change nothing", c.Target.ARN, strings.Join(v.edit.open, " and "), principal)
	case v.kind.put == nil:
		return nil, action.Refuse("%s", v.prepared(c))
	case v.edit.doc == "" && c.Target.Service == "sns":
		return action.State{"policy": label(owners(c))}, nil
	}
	return action.State{"policy": label(v.edit.doc)}, nil
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

func (r removal) Contained(c action.Call, s action.State) bool {
	v := r.view(c)
	if v.kind.document != nil {
		return s["policy"] == label(v.doc) && len(v.edit.out) == 0 && len(v.edit.open) == 0
	}
	for f, value := range s {
		if who := strings.TrimPrefix(f, with); value == "true" && (meant(who, c.With["principal"]) || who == everyone) {
			return false
		}
	}
	return true
}

// Apply takes the principal out of what stands now. Where that is not what was observed it changes nothing: the next round
// sees it.
func (r removal) Apply(ctx context.Context, c action.Call, now, _ action.State) error {
	v, err := r.look(ctx, c)
	if err != nil {
		return err
	}
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	if v.kind.document == nil {
		remove := slices.DeleteFunc(v.shared, func(who string) bool { return !meant(who, c.With["principal"]) || now[with+who] == "" })
		if len(remove) == 0 {
			return nil
		}
		return v.kind.share(ctx, api, c, nil, remove)
	}
	if label(v.doc) != now["policy"] || len(v.edit.out) == 0 {
		return nil
	}
	if err := r.keep(ctx, c, v.doc); err != nil {
		return err
	}
	r.view(c).taken = v.edit.out
	return v.kind.put(ctx, api, c, v.edit.doc)
}

// Restore puts the earlier document or list back.
func (r removal) Restore(ctx context.Context, c action.Call, now, before action.State) error {
	k, err := kindOf(c)
	if err != nil {
		return err
	}
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	if k.document == nil {
		return r.reshare(ctx, c, k, api, before)
	}
	if now["policy"] == before["policy"] {
		return nil
	}
	doc, err := r.kept(ctx, c, before["policy"])
	if err != nil {
		return err
	}
	return k.put(ctx, api, c, doc)
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

// Tags are those of a bucket. Of other resources none are read: the protected list holds for all.
func (r removal) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	if k, err := kindOf(c); err != nil || !slices.Contains(k.looks, "s3:GetBucketTagging") {
		return nil, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	return tags(ctx, api, c)
}

func (r removal) Notes(c action.Call, _ action.State) []string {
	v := r.view(c)
	out := v.taken
	if len(out) == 0 {
		out = v.edit.out
	}
	v.taken = nil
	out = append(slices.Clone(out), v.notes...)
	if v.kind.share != nil {
		out = append(out, "who has copied it keeps the copy")
	}
	return out
}

func main() {
	b := boot.Load()
	access := b.Access()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("remove-external-access", removal{
		store: b.Store(),
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return newClients(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Data, c.Scope(), changing(c)...)
			return newClients(cfg), err
		},
		seen: &sync.Map{},
	}))
}

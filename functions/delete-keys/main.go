// Command delete-keys deletes a user's inactive access keys for good, on approval of exactly what people were shown, and only
// while the finding still stands at its source.
//
// It deletes the key that the step names (parameter keyId), or all of the user's when none is named; one that is active keeps
// everything from being deleted, because something may live by it. The second time they are gone and it changes nothing; a run that was
// broken off between two keys is finished by the next one, which says what was gone already.
//
// What AWS Health tells of an exposed key cannot be read again at its source: its API takes a support plan that not every account has. People
// are told so in the request, decide on the event as it came, and approve that with the rest; what is read again in its place is that Firebreak
// itself has deactivated the key for this incident and that it has stayed so.
//
// Undo: none, which is why two people approve it. What the keys were last used for goes into the record before they go.
package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/ledger"
	"firebreak/lib/origin"
	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	gdtypes "github.com/aws/aws-sdk-go-v2/service/guardduty/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	GetUser(context.Context, *iam.GetUserInput, ...func(*iam.Options)) (*iam.GetUserOutput, error)
	ListAccessKeys(context.Context, *iam.ListAccessKeysInput, ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error)
	GetAccessKeyLastUsed(context.Context, *iam.GetAccessKeyLastUsedInput, ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error)
}

// changes are the calls that change, made as the Destroy role.
type changes interface {
	DeleteAccessKey(context.Context, *iam.DeleteAccessKeyInput, ...func(*iam.Options)) (*iam.DeleteAccessKeyOutput, error)
}

// deletion is the action.
type deletion struct {
	store   ledger.Store
	reads   func(context.Context, action.Call) (reads, error)
	source  func(context.Context, action.Call) (origin.API, error)
	changes func(context.Context, action.Call) (changes, error)
	// used has what each key was last used for, as Identity read it. It is no part of what people approve: AWS is hours late
	// with it.
	used *sync.Map
}

const (
	status = "/status"
	// source is a field of the identity, so that nobody approves without having been told.
	source     = "source"
	unreadable = "AWS Health, which cannot be read again"
)

// Identity reads whose keys they are, when each was made and whether it is active.
func (d deletion) Identity(ctx context.Context, c action.Call) (action.State, error) {
	switch id := c.With["keyId"]; {
	case c.Target.Resource == "root":
		return nil, action.Refuse("%s is the account's root user: only root itself can delete its keys, sign in as root and do it there", c.Target.ARN)
	case id != "" && !strings.HasPrefix(id, "AKIA"):
		return nil, action.Refuse("%s is no long-term key: a session's key ends by itself and cannot be deleted", id)
	}
	api, err := d.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	keys, err := list(ctx, api, c)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, action.ErrGone
	}
	user, err := api.GetUser(ctx, &iam.GetUserInput{UserName: aws.String(c.Target.Name())})
	if err != nil {
		return nil, principal.Said(err, "read user %s", c.Target.Name())
	}
	s := action.State{"userId": aws.ToString(user.User.UserId)}
	meta, err := ledger.Load[ledger.Incident](ctx, d.store, ledger.IncidentKey(c.Incident.ID))
	if err != nil {
		return nil, err
	}
	if meta.Value.Finding.Product == finding.Health {
		s[source] = unreadable
	}
	for _, k := range keys {
		id := aws.ToString(k.AccessKeyId)
		s[id+"/created"], s[id+status] = aws.ToTime(k.CreateDate).UTC().Format(time.RFC3339), string(k.Status)
		last, err := api.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &id})
		if err != nil {
			return nil, principal.Said(err, "read what key %s was last used for", id)
		}
		d.used.Store(id, words(last.AccessKeyLastUsed))
	}
	return s, nil
}

// list gives the keys that the step is about. Errors: BadInput, ErrGone.
func list(ctx context.Context, api reads, c action.Call) ([]types.AccessKeyMetadata, error) {
	name, err := principal.Of(c.Target, principal.User)
	if err != nil {
		return nil, err
	}
	var out []types.AccessKeyMetadata
	for pages := iam.NewListAccessKeysPaginator(api, &iam.ListAccessKeysInput{UserName: &name}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, principal.Said(err, "list access keys of user %s", name)
		}
		for _, k := range page.AccessKeyMetadata {
			if id := c.With["keyId"]; id == "" || id == aws.ToString(k.AccessKeyId) {
				out = append(out, k)
			}
		}
	}
	return out, nil
}

// words says what a key was last used for.
func words(u *types.AccessKeyLastUsed) string {
	if u == nil || u.LastUsedDate == nil {
		return "never used"
	}
	return fmt.Sprintf("last used %s for %s in %s", u.LastUsedDate.UTC().Format(time.RFC3339), aws.ToString(u.ServiceName), aws.ToString(u.Region))
}

// ids are the keys of an identity, in order.
func ids(identity action.State) []string {
	var out []string
	for _, f := range slices.Sorted(maps.Keys(identity)) {
		if id, ok := strings.CutSuffix(f, status); ok {
			out = append(out, id)
		}
	}
	return out
}

// Destroys says which keys go.
func (d deletion) Destroys(c action.Call, identity action.State) []string {
	var out []string
	if identity[source] != "" {
		out = append(out, "decide on AWS Health's event as it came (scripts/firebreak show "+c.Incident.ID+"): it cannot be read again at its source; the key is read again instead")
	}
	for _, id := range ids(identity) {
		used, _ := d.used.Load(id)
		out = append(out, fmt.Sprintf("%s of user %s, made %s, %s, %v: deleted", id, c.Target.Name(), identity[id+"/created"], identity[id+status], used))
	}
	return out
}

// Evidence holds that no key is active and that what each was last used for is known. Errors: NotVerified.
func (d deletion) Evidence(_ context.Context, _ action.Call, identity action.State) (string, error) {
	for _, id := range ids(identity) {
		if identity[id+status] != string(types.StatusTypeInactive) {
			return "", fault.New(fault.NotVerified, "%s is %s: only inactive keys are deleted, redrive deactivate-keys", id, identity[id+status])
		}
		if _, known := d.used.Load(id); !known {
			return "", fault.New(fault.NotVerified, "nobody knows what %s was last used for", id)
		}
	}
	return "", nil
}

// Destroy reads the finding again at its source and deletes the keys. Errors: NotVerified where the finding does not stand any
// more; nothing is deleted then.
func (d deletion) Destroy(ctx context.Context, c action.Call, identity action.State) error {
	if err := d.stands(ctx, c, identity); err != nil {
		return fmt.Errorf("nothing was destroyed: %w", err)
	}
	api, err := d.changes(ctx, c)
	if err != nil {
		return err
	}
	all := ids(identity)
	for i, id := range all {
		_, err := api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String(c.Target.Name()), AccessKeyId: &id})
		if err != nil && !principal.Gone(err) {
			return fmt.Errorf("delete key %s of user %s (deleted: %s; not deleted: %s): %w", id, c.Target.Name(), cmp.Or(strings.Join(all[:i], ", "), "none"), strings.Join(all[i:], ", "), err)
		}
	}
	return nil
}

// stands reads the finding again at its source; for AWS Health, whose findings nobody can read again, that the keys are held inactive for
// this incident. Errors: NotVerified.
func (d deletion) stands(ctx context.Context, c action.Call, identity action.State) error {
	if identity[source] == "" {
		return origin.Stands(ctx, d.store, c, d.source, func(g gdtypes.Finding) bool { return names(g, c, identity) })
	}
	hold, err := ledger.Load[ledger.Hold](ctx, d.store, ledger.HoldKey(c.Target.ARN, "deactivate-keys"))
	if err != nil {
		return err
	}
	_, ours := hold.Value.Holders[c.Incident.ID]
	for _, id := range ids(identity) {
		if !ours || hold.Value.Phase != ledger.Held || hold.Value.After[id+status] != string(types.StatusTypeInactive) {
			return fault.New(fault.NotVerified, "AWS Health cannot be read again, and %s is not held inactive for %s: redrive deactivate-keys, or delete it by hand", id, c.Incident.ID)
		}
	}
	return nil
}

// Whole completes the identity by the keys that were approved and are gone: by an earlier run that was broken off, or by somebody else.
func (d deletion) Whole(approved, now action.State) (action.State, []string) {
	whole, gone := maps.Clone(now), []string(nil)
	for _, id := range ids(approved) {
		if _, there := now[id+status]; there {
			continue
		}
		whole[id+status], whole[id+"/created"] = approved[id+status], approved[id+"/created"]
		gone = append(gone, id+": was gone already, by an earlier run of this step or by somebody else")
	}
	return whole, gone
}

// names tells whether a finding is about the user, and about the key where both say which; an attack sequence names them by id or ARN.
func names(g gdtypes.Finding, c action.Call, identity action.State) bool {
	if g.Resource == nil || g.Resource.AccessKeyDetails == nil {
		return origin.InSequence(g, append(ids(identity), c.Target.ARN, c.Target.Name())...)
	}
	k := g.Resource.AccessKeyDetails
	user, key := aws.ToString(k.UserName), aws.ToString(k.AccessKeyId)
	if id := c.With["keyId"]; id != "" && key != "" && key != id {
		return false
	}
	return aws.ToString(k.UserType) == "IAMUser" && user[strings.LastIndex(user, "/")+1:] == c.Target.Name()
}

// Destroyed tells whether none of the keys is there any more.
func (d deletion) Destroyed(ctx context.Context, c action.Call) (bool, error) {
	api, err := d.reads(ctx, c)
	if err != nil {
		return false, err
	}
	keys, err := list(ctx, api, c)
	return err == nil && len(keys) == 0, err
}

// looking are the statements of a session that looks.
func looking(c action.Call) []account.Statement {
	return []account.Statement{{Actions: []string{"iam:GetUser", "iam:ListAccessKeys", "iam:GetAccessKeyLastUsed"}, Resources: principal.Looking(c.Target)}}
}

// changing are those of one that changes.
func changing(c action.Call) []account.Statement {
	return []account.Statement{{Actions: []string{"iam:DeleteAccessKey"}, Resources: principal.ARNs(c.Target)}}
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Eradicating("delete-keys", wired(b.Store(), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, access account.Access) deletion {
	return deletion{
		store: store,
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return iam.NewFromConfig(cfg), err
		},
		source: func(ctx context.Context, c action.Call) (origin.API, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{
				Actions: []string{"guardduty:GetFindings"}, Resources: []string{"*"}, // no resource level (AWS: service authorization reference of GuardDuty)
			})
			return guardduty.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Destroy, c.Scope(), changing(c)...)
			return iam.NewFromConfig(cfg), err
		},
		used: &sync.Map{},
	}
}

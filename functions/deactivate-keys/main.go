// Command deactivate-keys makes a user's long-term access keys Inactive.
//
// It deactivates the key that the step names (parameter keyId), or every active key of the user when none is named; a named
// session key (ASIA…) stands for whichever key took the session, so for all of them. The second time it finds them Inactive
// and changes nothing. Its undo reactivates exactly the keys that were Active before; a key that was publicly exposed
// (parameter exposed) only with a person's force.
//
// It never creates a key and never deletes one. A key that is gone is contained, one that is another user's now is not. Where a secret of Secrets Manager holds a key of the
// user (a tag of the secret says so) and rotates, its rotation is started afterwards, and people are told.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/channel"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/ledger"
	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	GetAccessKeyLastUsed(context.Context, *iam.GetAccessKeyLastUsedInput, ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error)
	GetUser(context.Context, *iam.GetUserInput, ...func(*iam.Options)) (*iam.GetUserOutput, error)
	ListAccessKeys(context.Context, *iam.ListAccessKeysInput, ...func(*iam.Options)) (*iam.ListAccessKeysOutput, error)
}

// changes are the calls that change, made as the Identity role.
type changes interface {
	UpdateAccessKey(context.Context, *iam.UpdateAccessKeyInput, ...func(*iam.Options)) (*iam.UpdateAccessKeyOutput, error)
}

// deactivation is the action. Owned fields: <key id>/status of each key of the user, Active or Inactive.
type deactivation struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// rotation follows a deactivation.
	rotation *rotation
}

const (
	suffix   = "/status"
	active   = string(types.StatusTypeActive)
	inactive = string(types.StatusTypeInactive)
)

func (d deactivation) Observe(ctx context.Context, c action.Call) (action.State, error) {
	if c.Target.Resource == "root" {
		return nil, action.Refuse("%s is the account's root user: only root itself can deactivate its keys, sign in as root and do it there", c.Target.ARN)
	}
	name, err := principal.Of(c.Target, principal.User)
	if err != nil {
		return nil, err
	}
	api, err := d.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	s := action.State{}
	for pages := iam.NewListAccessKeysPaginator(api, &iam.ListAccessKeysInput{UserName: &name}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		var no *types.NoSuchEntityException
		if errors.As(err, &no) {
			return nil, d.gone(ctx, api, c)
		}
		if err != nil {
			return nil, fmt.Errorf("list access keys of user %s: %w", name, err)
		}
		for _, k := range page.AccessKeyMetadata {
			s[aws.ToString(k.AccessKeyId)+suffix] = string(k.Status)
		}
	}
	if id := c.With["keyId"]; finding.LongTerm(id) && s[id+suffix] == "" {
		if err := d.gone(ctx, api, c); !errors.Is(err, action.ErrGone) {
			return nil, err
		}
	}
	return s, nil
}

// gone is ErrGone, unless the key that the step names is another user's now: whoever may change IAM can rename a user, and its keys live
// on. Of a key that is not the account's IAM tells nobody. Errors: NotVerified.
func (d deactivation) gone(ctx context.Context, api reads, c action.Call) error {
	id := c.With["keyId"]
	if !finding.LongTerm(id) {
		return action.ErrGone
	}
	out, err := api.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &id})
	var no *types.NoSuchEntityException
	switch {
	case errors.As(err, &no), fault.Is(err, fault.Denied):
		return action.ErrGone
	case err != nil:
		return fmt.Errorf("find out whose key %s is: %w", id, err)
	}
	if now := aws.ToString(out.UserName); now != "" && now != c.Target.Name() {
		return fault.New(fault.NotVerified, "the key %s is user %s's now, not %s's: somebody has renamed the user, contain %[2]s by hand", id, now, c.Target.Name())
	}
	return action.ErrGone
}

func (d deactivation) Intent(c action.Call, now action.State) (action.State, error) {
	intent := action.State{}
	for f := range now {
		if meant(c, f) {
			intent[f] = inactive
		}
	}
	return intent, nil
}

// meant tells whether the step is about the key of that field.
func meant(c action.Call, field string) bool {
	id := c.With["keyId"]
	return id == "" || strings.HasPrefix(id, "ASIA") || field == id+suffix
}

func (d deactivation) Contained(c action.Call, s action.State) bool {
	for f, status := range s {
		if meant(c, f) && status != inactive {
			return false
		}
	}
	return true
}

func (d deactivation) Apply(ctx context.Context, c action.Call, now, intent action.State) error {
	for _, f := range slices.Sorted(maps.Keys(intent)) {
		if meant(c, f) && intent[f] == inactive && now[f] != inactive {
			if err := d.set(ctx, c, f, types.StatusTypeInactive); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d deactivation) Restore(ctx context.Context, c action.Call, now, before action.State) error {
	for _, f := range slices.Sorted(maps.Keys(before)) {
		if before[f] == active && now[f] == inactive {
			if err := d.set(ctx, c, f, types.StatusTypeActive); err != nil {
				return err
			}
		}
	}
	return nil
}

// set changes a key's status. A key that went meanwhile needs no change.
func (d deactivation) set(ctx context.Context, c action.Call, field string, to types.StatusType) error {
	api, err := d.changes(ctx, c)
	if err != nil {
		return err
	}
	id := strings.TrimSuffix(field, suffix)
	_, err = api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String(c.Target.Name()), AccessKeyId: &id, Status: to})
	var no *types.NoSuchEntityException
	if err == nil || errors.As(err, &no) {
		return nil
	}
	return fmt.Errorf("make key %s of user %s %s: %w", id, c.Target.Name(), to, err)
}

// NeedsForce keeps a key that the world has seen from coming back by mistake.
func (d deactivation) NeedsForce(c action.Call) string {
	if c.With["exposed"] != "true" {
		return ""
	}
	return "the key was publicly exposed: whoever copied it could use it again, so make a new one instead"
}

// user reads the target's user; nil for who is no user: that is refused when the keys are read. Errors: ErrGone, NotVerified.
func (d deactivation) user(ctx context.Context, c action.Call) (*types.User, error) {
	name, err := principal.Of(c.Target, principal.User)
	if err != nil {
		return nil, nil
	}
	api, err := d.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	out, err := api.GetUser(ctx, &iam.GetUserInput{UserName: &name})
	if principal.Gone(err) {
		return nil, d.gone(ctx, api, c)
	}
	if err != nil {
		return nil, principal.Said(err, "read user %s", name)
	}
	return out.User, nil
}

// FullARN is the user's, with its path.
func (d deactivation) FullARN(ctx context.Context, c action.Call) (string, error) {
	u, err := d.user(ctx, c)
	if err != nil || u == nil {
		return "", err
	}
	return principal.FullARN(c.Target, u.Arn), nil
}

// Tags are the user's.
func (d deactivation) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	u, err := d.user(ctx, c)
	if err != nil || u == nil {
		return nil, err
	}
	return principal.Tags(u.Tags), nil
}

func (d deactivation) Notes(c action.Call, s action.State) []string {
	notes := []string{"sessions that were taken with a key outlive it: up to 36 hours, unless the user is denied"}
	if id := c.With["keyId"]; id != "" && !strings.HasPrefix(id, "ASIA") && s[id+suffix] == "" {
		notes = append(notes, "the key "+id+" does not exist any more")
	}
	for _, f := range slices.Sorted(maps.Keys(s)) {
		if !meant(c, f) && s[f] == active {
			notes = append(notes, "the user's key "+strings.TrimSuffix(f, suffix)+" stays active: the finding does not name it")
		}
	}
	return notes
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("deactivate-keys", wired(b.Store(), channel.NewTopic(sns.NewFromConfig(b.AWS), b.Env("TOPIC")), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, people teller, access account.Access) deactivation {
	return deactivation{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{Actions: []string{"iam:GetUser", "iam:ListAccessKeys"}, Resources: principal.Looking(c.Target)},
				// Whose the key is, is what is asked: the call cannot be narrowed to one user.
				account.Statement{Actions: []string{"iam:GetAccessKeyLastUsed"}, Resources: []string{fmt.Sprintf("arn:%s:iam::%s:user/*", c.Target.Partition, c.Target.Account)}})
			return iam.NewFromConfig(cfg), err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Identity, c.Scope(), account.Statement{Actions: []string{"iam:UpdateAccessKey"}, Resources: principal.ARNs(c.Target)})
			return iam.NewFromConfig(cfg), err
		},
		rotation: &rotation{
			store: store, people: people,
			reads: func(ctx context.Context, c action.Call) (secretReads, error) {
				cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{Actions: []string{"secretsmanager:ListSecrets"}, Resources: []string{"*"}}) // no resource level
				return secretsmanager.NewFromConfig(cfg), err
			},
			changes: func(ctx context.Context, c action.Call, secret, function string) (secretChanges, error) {
				cfg, err := access.Config(ctx, account.Identity, c.Scope(), rotating(secret, function)...)
				return secretsmanager.NewFromConfig(cfg), err
			},
		},
	}
}

// Command quarantine-principal denies a user or a role everything, on no condition.
//
// It attaches the managed policy FirebreakQuarantine of the account; where that one is missing, is no such deny any more, or
// the principal's quota of policies is full, it puts an inline policy of that name instead. The second time the deny is in
// force and it changes nothing. Its undo takes away exactly what it put there.
//
// A date deny works on sessions of roles only; this works on keys, passwords and federated sessions too. The root user and
// sessions are refused with the way to reach them, roles of AWS itself are never touched.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/principal"
	"firebreak/lib/role"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	role.API
	GetUser(context.Context, *iam.GetUserInput, ...func(*iam.Options)) (*iam.GetUserOutput, error)
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
	GetUserPolicy(context.Context, *iam.GetUserPolicyInput, ...func(*iam.Options)) (*iam.GetUserPolicyOutput, error)
	GetRolePolicy(context.Context, *iam.GetRolePolicyInput, ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error)
	ListAttachedUserPolicies(context.Context, *iam.ListAttachedUserPoliciesInput, ...func(*iam.Options)) (*iam.ListAttachedUserPoliciesOutput, error)
	ListAttachedRolePolicies(context.Context, *iam.ListAttachedRolePoliciesInput, ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error)
	GetPolicy(context.Context, *iam.GetPolicyInput, ...func(*iam.Options)) (*iam.GetPolicyOutput, error)
	GetPolicyVersion(context.Context, *iam.GetPolicyVersionInput, ...func(*iam.Options)) (*iam.GetPolicyVersionOutput, error)
	GetAccountSummary(context.Context, *iam.GetAccountSummaryInput, ...func(*iam.Options)) (*iam.GetAccountSummaryOutput, error)
}

// changes are the calls that change, made as the Identity role.
type changes interface {
	AttachUserPolicy(context.Context, *iam.AttachUserPolicyInput, ...func(*iam.Options)) (*iam.AttachUserPolicyOutput, error)
	AttachRolePolicy(context.Context, *iam.AttachRolePolicyInput, ...func(*iam.Options)) (*iam.AttachRolePolicyOutput, error)
	DetachUserPolicy(context.Context, *iam.DetachUserPolicyInput, ...func(*iam.Options)) (*iam.DetachUserPolicyOutput, error)
	DetachRolePolicy(context.Context, *iam.DetachRolePolicyInput, ...func(*iam.Options)) (*iam.DetachRolePolicyOutput, error)
	PutUserPolicy(context.Context, *iam.PutUserPolicyInput, ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error)
	PutRolePolicy(context.Context, *iam.PutRolePolicyInput, ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error)
	DeleteUserPolicy(context.Context, *iam.DeleteUserPolicyInput, ...func(*iam.Options)) (*iam.DeleteUserPolicyOutput, error)
	DeleteRolePolicy(context.Context, *iam.DeleteRolePolicyInput, ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error)
}

// quarantine is the action. Owned fields: "attached", the managed policy on the principal (deny, or void where its document
// denies less); "inline", the policy under our name (deny, or other:<sha256>); "document", that other one where it is short
// enough to keep.
type quarantine struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// seen has why the managed policy cannot be used on a target, "" where it can, as the latest Observe read it.
	seen *sync.Map
}

const (
	deny = "deny"
	void = "void"
)

func (q quarantine) Observe(ctx context.Context, c action.Call) (action.State, error) {
	w, err := whoIs(c)
	if err != nil {
		return nil, err
	}
	api, err := q.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	_, attached, inline, err := w.read(ctx, api)
	if err != nil {
		return nil, err
	}
	unusable, err := w.managed(ctx, api)
	if err != nil {
		return nil, err
	}
	s := action.State{"attached": "", "inline": "", "document": ""}
	if slices.Contains(attached, w.policy) {
		if s["attached"] = deny; unusable != "" {
			s["attached"] = void
		}
	} else if unusable == "" {
		unusable = w.full(ctx, api, len(attached))
	}
	switch {
	case inline == "":
	case denies(inline):
		s["inline"] = deny
	default:
		s["inline"], s["document"] = principal.Other(inline)
	}
	q.seen.Store(c.Target.ARN, unusable)
	return s, nil
}

func (q quarantine) unusable(c action.Call) string {
	why, _ := q.seen.Load(c.Target.ARN)
	text, _ := why.(string)
	return text
}

func (q quarantine) Intent(c action.Call, now action.State) (action.State, error) {
	if now["inline"] == deny || now["attached"] != deny && q.unusable(c) != "" {
		return action.State{"inline": deny, "document": ""}, nil
	}
	return action.State{"attached": deny}, nil
}

func (q quarantine) Contained(_ action.Call, s action.State) bool {
	return s["attached"] == deny || s["inline"] == deny
}

func (q quarantine) Apply(ctx context.Context, c action.Call, now, intent action.State) error {
	w, err := whoIs(c)
	if err != nil {
		return err
	}
	api, err := q.changes(ctx, c)
	if err != nil {
		return err
	}
	if intent["attached"] == deny && now["attached"] == "" {
		var full *types.LimitExceededException
		var no *types.PolicyNotAttachableException
		err = w.attach(ctx, api)
		switch {
		case err == nil:
			return nil
		case errors.As(err, &full), errors.As(err, &no), principal.Gone(err):
			// The last place was taken or the policy was deleted meanwhile; where it is the principal, that shows below.
			intent = action.State{"inline": deny, "document": ""}
			if err := c.Instead(ctx, intent); err != nil {
				return err
			}
		default:
			return unmodifiable(w, fmt.Errorf("attach %s to %s %s: %w", w.policy, w.kind, w.name, err))
		}
	}
	if intent["inline"] == deny && now["inline"] != deny {
		return unmodifiable(w, w.put(ctx, api, document))
	}
	return nil
}

// unmodifiable refuses what AWS lets nobody change.
func unmodifiable(w who, err error) error {
	var fixed *types.UnmodifiableEntityException
	if errors.As(err, &fixed) {
		return action.Refuse("AWS lets nobody change the %s %s: %s", w.kind, w.name, fixed.ErrorMessage())
	}
	return err
}

func (q quarantine) Restore(ctx context.Context, c action.Call, now, before action.State) error {
	w, err := whoIs(c)
	if err != nil {
		return err
	}
	other := strings.HasPrefix(before["inline"], principal.Foreign)
	if other && now["inline"] != before["inline"] && before["document"] == "" {
		return action.Refuse("somebody else's policy stood under the name %s on %s %s (%s) and was too long to keep: take our deny away by hand once the principal may act again", policyName, w.kind, w.name, before["inline"])
	}
	api, err := q.changes(ctx, c)
	if err != nil {
		return err
	}
	var failed error
	switch {
	case before["inline"] == now["inline"]:
	case before["inline"] == "":
		failed = w.remove(ctx, api)
	case other:
		failed = w.put(ctx, api, before["document"])
	default:
		failed = w.put(ctx, api, document)
	}
	switch {
	case before["attached"] == "" && now["attached"] != "":
		return errors.Join(failed, w.detach(ctx, api))
	case before["attached"] != "" && now["attached"] == "":
		if err := w.attach(ctx, api); err != nil {
			failed = errors.Join(failed, fmt.Errorf("attach %s to %s %s: %w", w.policy, w.kind, w.name, err))
		}
	}
	return failed
}

// Tags are the principal's.
func (q quarantine) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	_, list, err := q.identity(ctx, c)
	return principal.Tags(list), err
}

// FullARN is the principal's, with its path.
func (q quarantine) FullARN(ctx context.Context, c action.Call) (string, error) {
	arn, _, err := q.identity(ctx, c)
	if err != nil {
		return "", err
	}
	return principal.FullARN(c.Target, arn), nil
}

func (q quarantine) identity(ctx context.Context, c action.Call) (arn *string, tags []types.Tag, err error) {
	w, err := whoIs(c)
	if err != nil {
		return nil, nil, err
	}
	api, err := q.reads(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	return w.identity(ctx, api)
}

// Shared counts the instances that run with a role in the finding's region.
func (q quarantine) Shared(ctx context.Context, c action.Call) (int, error) {
	w, err := whoIs(c)
	if err != nil || w.kind != principal.Role {
		return 0, err
	}
	api, err := q.reads(ctx, c)
	if err != nil {
		return 0, err
	}
	return role.Uses(ctx, api, w.name)
}

func (q quarantine) Notes(c action.Call, s action.State) []string {
	notes := []string{"denied too: its keys, its password and sessions that it issued; sessions of other roles that it took go on until they end"}
	if strings.HasPrefix(c.Target.Resource, string(principal.Role)+"/") {
		notes[0] = "denied too: the role's next sessions; sessions of other roles that were taken from it go on until they end"
	}
	if why := q.unusable(c); why != "" && s["attached"] != deny {
		notes = append(notes, "by an inline policy: "+why)
	}
	return append(notes, "whoever else may change IAM can take the deny away: only a service control policy is out of their reach")
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("quarantine-principal", wired(b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(access account.Access) quarantine {
	return quarantine{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return clients{iam.NewFromConfig(cfg), ec2.NewFromConfig(cfg)}, err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Identity, c.Scope(), changing(c)...)
			return iam.NewFromConfig(cfg), err
		},
		seen: &sync.Map{},
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/principal"
	"firebreak/lib/role"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// who is a user or a role: IAM has the same calls for both under other names.
type who struct {
	kind principal.Kind
	name string
	// arn of the managed policy in the principal's account.
	policy string
}

// whoIs tells who the target is. Those that no policy reaches are refused with the way to reach them. Errors: BadInput.
func whoIs(c action.Call) (who, error) {
	t := c.Target
	w := who{policy: fmt.Sprintf("arn:%s:iam::%s:policy/%s", t.Partition, t.Account, policyName)}
	for _, w.kind = range []principal.Kind{principal.User, principal.Role} {
		if name, err := principal.Of(t, w.kind); err == nil {
			w.name = name
			return w, nil
		}
	}
	switch {
	case t.Service == "iam" && t.Resource == "root":
		return w, action.Refuse("%s is the account's root user, and no policy of the account binds it: sign in as root, change its password, delete its access keys and register MFA; in an organization an SCP on the account denies it meanwhile", t.ARN)
	case t.Service == "sts" && strings.HasPrefix(t.Resource, "federated-user/"):
		return w, action.Refuse("%s is a federated session: it lives by the policies of the user that issued it (in CloudTrail, sessionIssuer). Quarantine that user", t.ARN)
	case t.Service == "sts" && strings.HasPrefix(t.Resource, "assumed-role/"):
		return w, action.Refuse("%s is a session: quarantine its role, or revoke the role's sessions", t.ARN)
	}
	return w, fault.New(fault.BadInput, "%s is neither an IAM user nor an IAM role", t.ARN)
}

// read reads tags, attached managed policies (ARNs) and the inline policy under our name (canonical, "" for none).
func (w who) read(ctx context.Context, api reads) (tags []types.Tag, attached []string, inline string, err error) {
	if _, tags, err = w.identity(ctx, api); err != nil {
		return nil, nil, "", err
	}
	if attached, err = w.attached(ctx, api); err != nil {
		return nil, nil, "", err
	}
	var doc *string
	if w.kind == principal.User {
		var out *iam.GetUserPolicyOutput
		if out, err = api.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: &w.name, PolicyName: aws.String(policyName)}); err == nil {
			doc = out.PolicyDocument
		}
	} else {
		var out *iam.GetRolePolicyOutput
		if out, err = api.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &w.name, PolicyName: aws.String(policyName)}); err == nil {
			doc = out.PolicyDocument
		}
	}
	if err != nil && !principal.Gone(err) {
		return nil, nil, "", fmt.Errorf("read policy %s of %s %s: %w", policyName, w.kind, w.name, err)
	}
	if doc != nil {
		inline = principal.Canonical(*doc)
	}
	return tags, attached, inline, nil
}

// identity reads what IAM calls the principal, path and all, and its tags. Errors: ErrGone; a refusal of a role that is not to be cut off.
func (w who) identity(ctx context.Context, api reads) (arn *string, tags []types.Tag, err error) {
	if w.kind == principal.User {
		out, err := api.GetUser(ctx, &iam.GetUserInput{UserName: &w.name})
		if err != nil {
			return nil, nil, principal.Said(err, "read user %s", w.name)
		}
		return out.User.Arn, out.User.Tags, nil
	}
	out, err := api.GetRole(ctx, &iam.GetRoleInput{RoleName: &w.name})
	if err != nil {
		return nil, nil, principal.Said(err, "read role %s", w.name)
	}
	return out.Role.Arn, out.Role.Tags, role.Touchable(w.name, aws.ToString(out.Role.Path))
}

func (w who) attached(ctx context.Context, api reads) ([]string, error) {
	var list []types.AttachedPolicy
	if w.kind == principal.User {
		for pages := iam.NewListAttachedUserPoliciesPaginator(api, &iam.ListAttachedUserPoliciesInput{UserName: &w.name}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, principal.Said(err, "list the policies of user %s", w.name)
			}
			list = append(list, page.AttachedPolicies...)
		}
	} else {
		for pages := iam.NewListAttachedRolePoliciesPaginator(api, &iam.ListAttachedRolePoliciesInput{RoleName: &w.name}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, principal.Said(err, "list the policies of role %s", w.name)
			}
			list = append(list, page.AttachedPolicies...)
		}
	}
	var out []string
	for _, p := range list {
		out = append(out, aws.ToString(p.PolicyArn))
	}
	return out, nil
}

func (w who) attach(ctx context.Context, api changes) (err error) {
	if w.kind == principal.User {
		_, err = api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &w.name, PolicyArn: &w.policy})
	} else {
		_, err = api.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &w.name, PolicyArn: &w.policy})
	}
	return err
}

func (w who) detach(ctx context.Context, api changes) (err error) {
	if w.kind == principal.User {
		_, err = api.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &w.name, PolicyArn: &w.policy})
	} else {
		_, err = api.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &w.name, PolicyArn: &w.policy})
	}
	return w.done(err, "detach %s from %s %s", w.policy)
}

func (w who) put(ctx context.Context, api changes, doc string) (err error) {
	if w.kind == principal.User {
		_, err = api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &w.name, PolicyName: aws.String(policyName), PolicyDocument: &doc})
	} else {
		_, err = api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &w.name, PolicyName: aws.String(policyName), PolicyDocument: &doc})
	}
	var full *types.LimitExceededException
	if errors.As(err, &full) {
		return fmt.Errorf("%s %s has no room for a policy, neither managed nor inline: make room, then redrive: %w", w.kind, w.name, err)
	}
	return principal.Said(err, "put policy %s on %s %s", policyName, w.kind, w.name)
}

func (w who) remove(ctx context.Context, api changes) (err error) {
	if w.kind == principal.User {
		_, err = api.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &w.name, PolicyName: aws.String(policyName)})
	} else {
		_, err = api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &w.name, PolicyName: aws.String(policyName)})
	}
	return w.done(err, "remove policy %s of %s %s", policyName)
}

// done takes what is not there any more for taken away.
func (w who) done(err error, format, policy string) error {
	if err == nil || principal.Gone(err) {
		return nil
	}
	return fmt.Errorf(format+": %w", policy, w.kind, w.name, err)
}

// Command revoke-sessions denies a role everything in sessions that were issued before now.
//
// It puts one inline policy, FirebreakRevokeSessions, on the role: deny all where aws:TokenIssueTime is earlier than a date.
// The second time the date only moves forward, and only when it is older than the execution that asks: a deny from last year
// does not contain today's theft. Its undo removes exactly that policy, or puts back what stood under its name before.
//
// Everything that uses the role is hit until it takes a new session. Counted as use are the instances in the finding's region
// that run with the role; functions, tasks and people that use it are not counted, because no call lists them by role.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/principal"
	"firebreak/lib/role"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	role.API
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
	GetRolePolicy(context.Context, *iam.GetRolePolicyInput, ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error)
}

// changes are the calls that change, made as the Identity role.
type changes interface {
	PutRolePolicy(context.Context, *iam.PutRolePolicyInput, ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error)
	DeleteRolePolicy(context.Context, *iam.DeleteRolePolicyInput, ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error)
}

// revocation is the action. Owned fields: "policy", the date of our deny, or other:<sha256> where somebody else's document
// stands under our name; "document", that document where it is short enough to keep.
type revocation struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	now     func() time.Time
}

// margin lies between the clock here and the one that stamps sessions: the date is that much later than now.
const margin = 5 * time.Second

func (r revocation) Observe(ctx context.Context, c action.Call) (action.State, error) {
	api, it, err := r.role(ctx, c)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(it.RoleName)
	if err := role.Touchable(name, aws.ToString(it.Path)); err != nil {
		return nil, err
	}
	policy, err := api.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: aws.String(policyName)})
	if principal.Gone(err) {
		return action.State{"policy": ""}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read policy %s of role %s: %w", policyName, name, err)
	}
	return state(aws.ToString(policy.PolicyDocument)), nil
}

func (r revocation) Intent(c action.Call, now action.State) (action.State, error) {
	date := r.now().Add(margin)
	if date.Before(c.Since) {
		date = c.Since
	}
	// Whole seconds, upwards: a date cut off would lie before the moment that it stands for.
	date = date.Add(time.Second - 1).Truncate(time.Second)
	if stands, err := time.Parse(time.RFC3339, now["policy"]); err == nil && stands.After(date) {
		date = stands
	}
	return action.State{"policy": date.UTC().Format(time.RFC3339), "document": ""}, nil
}

func (r revocation) Contained(c action.Call, s action.State) bool {
	date, err := time.Parse(time.RFC3339, s["policy"])
	return err == nil && !date.Before(c.Since)
}

func (r revocation) Apply(ctx context.Context, c action.Call, now, intent action.State) error {
	if now["policy"] == intent["policy"] {
		return nil
	}
	return r.put(ctx, c, document(intent["policy"]))
}

func (r revocation) Restore(ctx context.Context, c action.Call, now, before action.State) error {
	switch was := before["policy"]; {
	case was == now["policy"]:
		return nil
	case was == "":
		api, err := r.changes(ctx, c)
		if err != nil {
			return err
		}
		_, err = api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String(c.Target.Name()), PolicyName: aws.String(policyName)})
		if principal.Gone(err) {
			return nil
		}
		return principal.Said(err, "remove policy %s of role %s", policyName, c.Target.Name())
	case !strings.HasPrefix(was, principal.Foreign):
		return r.put(ctx, c, document(was))
	case before["document"] == "":
		return action.Refuse("somebody else's policy stood under the name %s on role %s (%s) and was too long to keep: remove ours by hand once the sessions may live again", policyName, c.Target.Name(), was)
	}
	return r.put(ctx, c, before["document"])
}

func (r revocation) put(ctx context.Context, c action.Call, doc string) error {
	api, err := r.changes(ctx, c)
	if err != nil {
		return err
	}
	name := c.Target.Name()
	_, err = api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String(policyName), PolicyDocument: &doc})
	var fixed *types.UnmodifiableEntityException
	if errors.As(err, &fixed) {
		return action.Refuse("AWS lets nobody change the role %s: %s", name, fixed.ErrorMessage())
	}
	var full *types.LimitExceededException
	if errors.As(err, &full) {
		return fmt.Errorf("role %s has no room for another inline policy: make room, then redrive: %w", name, err)
	}
	return principal.Said(err, "put policy %s on role %s", policyName, name)
}

// role reads the role that the target names, and gives what read it. Errors: ErrGone, BadInput.
func (r revocation) role(ctx context.Context, c action.Call) (reads, *types.Role, error) {
	name, err := principal.Of(c.Target, principal.Role)
	if err != nil {
		return nil, nil, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	got, err := api.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if err != nil {
		return nil, nil, principal.Said(err, "read role %s", name)
	}
	return api, got.Role, nil
}

// Tags are the role's.
func (r revocation) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	_, it, err := r.role(ctx, c)
	if err != nil {
		return nil, err
	}
	return principal.Tags(it.Tags), nil
}

// FullARN is the role's, with its path.
func (r revocation) FullARN(ctx context.Context, c action.Call) (string, error) {
	_, it, err := r.role(ctx, c)
	if err != nil {
		return "", err
	}
	return principal.FullARN(c.Target, it.Arn), nil
}

// Shared counts the instances that run with the role in the finding's region.
func (r revocation) Shared(ctx context.Context, c action.Call) (int, error) {
	name, err := principal.Of(c.Target, principal.Role)
	if err != nil {
		return 0, err
	}
	api, err := r.reads(ctx, c)
	if err != nil {
		return 0, err
	}
	return role.Uses(ctx, api, name)
}

func (r revocation) Notes(action.Call, action.State) []string {
	return []string{
		"sessions of other roles that were taken from this role's sessions go on until they end",
		"whoever may assume the role still can: a new session is not denied",
	}
}

type instances = ec2.Client

// looking is the reads of a session.
type looking struct {
	*iam.Client
	*instances
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("revoke-sessions", wired(b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(access account.Access) revocation {
	return revocation{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(),
				account.Statement{Actions: []string{"iam:GetRole", "iam:GetRolePolicy", "iam:ListInstanceProfilesForRole"}, Resources: principal.Looking(c.Target)},
				// DescribeInstances has no resource level.
				account.Statement{Actions: []string{"ec2:DescribeInstances"}, Resources: []string{"*"}})
			return looking{iam.NewFromConfig(cfg), ec2.NewFromConfig(cfg)}, err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Identity, c.Scope(),
				account.Statement{Actions: []string{"iam:PutRolePolicy", "iam:DeleteRolePolicy"}, Resources: principal.ARNs(c.Target)})
			return iam.NewFromConfig(cfg), err
		},
		now: time.Now,
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/fault"
	"firebreak/lib/finding"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// keys tells whose an access key is, read as the Read role of the finding's account.
type keys interface {
	GetAccessKeyLastUsed(context.Context, *iam.GetAccessKeyLastUsedInput, ...func(*iam.Options)) (*iam.GetAccessKeyLastUsedOutput, error)
}

func keysOf(access account.Access) func(context.Context, finding.Finding) (keys, error) {
	return func(ctx context.Context, f finding.Finding) (keys, error) {
		in := account.Scope{Partition: f.Partition, Account: f.Account, Region: f.Region, Incident: f.IncidentID()}
		cfg, err := access.Config(ctx, account.Read, in, account.Statement{
			// Whose the key is, is what is asked: the call cannot be narrowed to one user.
			Actions: []string{"iam:GetAccessKeyLastUsed"}, Resources: []string{fmt.Sprintf("arn:%s:iam::%s:user/*", f.Partition, f.Account)},
		})
		return iam.NewFromConfig(cfg), err
	}
}

// own completes a finding that names a key and not its user, which is how AWS Health tells of an exposed one. Where that cannot be
// found out, nothing is acted on and people are told why. Errors: Throttled.
func (h handler) own(ctx context.Context, f *finding.Finding) error {
	list := f.Ownerless()
	if len(list) == 0 || f.Product != finding.Health {
		return nil
	}
	key := list[0]
	user, err := h.user(ctx, *f, key)
	var gone *types.NoSuchEntityException
	switch {
	case err == nil:
		f.Owned(key, user)
	case fault.Is(err, fault.Throttled):
		return fmt.Errorf("find out whose key %s is: %w", key, err)
	case errors.As(err, &gone):
		f.Doubt = fmt.Sprintf("the key %s is not in account %s any more", key, f.Account)
	default:
		f.Doubt = fmt.Sprintf("whose the key %s is could not be found out: %v", key, err)
	}
	return nil
}

// user gives the name of the key's user, "" for the root user.
func (h handler) user(ctx context.Context, f finding.Finding, key string) (string, error) {
	api, err := h.keys(ctx, f)
	if err != nil {
		return "", err
	}
	out, err := api.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &key})
	if err != nil {
		return "", err
	}
	if user := aws.ToString(out.UserName); !strings.HasPrefix(user, "<") {
		return user, nil
	}
	return "", nil
}

// ownerless gives a key that a step is aimed at because nobody knows its user.
func ownerless(p incident.Plan) (key string, open bool) {
	for _, s := range p.Contain {
		if _, key, open := strings.Cut(s.Target, ":access-key/"); open {
			return key, true
		}
	}
	return "", false
}

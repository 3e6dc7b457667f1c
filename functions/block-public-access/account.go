package main

import (
	"context"
	"fmt"

	"firebreak/lib/action"
	"firebreak/lib/bucket"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
	"github.com/aws/aws-sdk-go-v2/service/s3control/types"
)

// accountReads is the call that looks at an account's block, made as the Read role.
type accountReads interface {
	GetPublicAccessBlock(context.Context, *s3control.GetPublicAccessBlockInput, ...func(*s3control.Options)) (*s3control.GetPublicAccessBlockOutput, error)
}

// accountChanges are the calls that change it, made as the Data role.
type accountChanges interface {
	PutPublicAccessBlock(context.Context, *s3control.PutPublicAccessBlockInput, ...func(*s3control.Options)) (*s3control.PutPublicAccessBlockOutput, error)
	DeletePublicAccessBlock(context.Context, *s3control.DeletePublicAccessBlockInput, ...func(*s3control.Options)) (*s3control.DeletePublicAccessBlockOutput, error)
}

// whole tells whether the target is an account, which playbooks call by the ARN of its root.
func whole(c action.Call) bool { return c.Target.Service == "iam" && c.Target.Resource == "root" }

// four are the flags in the order of flags.
type four [4]bool

// ofAccount reads the account's block; nil where there is none.
func (b blocking) ofAccount(ctx context.Context, c action.Call) (*four, error) {
	api, err := b.accountReads(ctx, c)
	if err != nil {
		return nil, err
	}
	out, err := api.GetPublicAccessBlock(ctx, &s3control.GetPublicAccessBlockInput{AccountId: &c.Target.Account})
	switch {
	case bucket.Answered(err, "NoSuchPublicAccessBlockConfiguration"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the public access block of account %s: %w", c.Target.Account, err)
	case out.PublicAccessBlockConfiguration == nil:
		return nil, unanswered(c)
	}
	p := out.PublicAccessBlockConfiguration
	return &four{aws.ToBool(p.BlockPublicAcls), aws.ToBool(p.IgnorePublicAcls), aws.ToBool(p.BlockPublicPolicy), aws.ToBool(p.RestrictPublicBuckets)}, nil
}

// putAccount sets the account's block; nil removes it.
func (b blocking) putAccount(ctx context.Context, c action.Call, to *four) error {
	api, err := b.accountChanges(ctx, c)
	if err != nil {
		return err
	}
	if to == nil {
		if _, err = api.DeletePublicAccessBlock(ctx, &s3control.DeletePublicAccessBlockInput{AccountId: &c.Target.Account}); err != nil {
			return fmt.Errorf("remove the public access block of account %s: %w", c.Target.Account, err)
		}
		return nil
	}
	_, err = api.PutPublicAccessBlock(ctx, &s3control.PutPublicAccessBlockInput{AccountId: &c.Target.Account, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
		BlockPublicAcls: &to[0], IgnorePublicAcls: &to[1], BlockPublicPolicy: &to[2], RestrictPublicBuckets: &to[3],
	}})
	if err != nil {
		return fmt.Errorf("set the public access block of account %s: %w", c.Target.Account, err)
	}
	return nil
}

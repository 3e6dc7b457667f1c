// Command block-public-access turns on all four flags of a bucket's public access block.
//
// It acts on the bucket, not on the account's block, which is another thing. The second time the flags are on and it changes
// nothing. Its undo puts the four flags back as they were; where the bucket had no configuration, it removes ours.
//
// The bucket's policy and grants stay as they are, the block only takes their public part out of force: what they were is
// said by digest in the result. A website bucket is public on purpose: that is why there is an owner to tell and an undo.
package main

import (
	"context"
	"fmt"
	"strconv"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/bucket"
	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	bucket.API
	GetPublicAccessBlock(context.Context, *s3.GetPublicAccessBlockInput, ...func(*s3.Options)) (*s3.GetPublicAccessBlockOutput, error)
	GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error)
	GetBucketAcl(context.Context, *s3.GetBucketAclInput, ...func(*s3.Options)) (*s3.GetBucketAclOutput, error)
}

// changes are the calls that change, made as the Data role.
type changes interface {
	PutPublicAccessBlock(context.Context, *s3.PutPublicAccessBlockInput, ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error)
	DeletePublicAccessBlock(context.Context, *s3.DeletePublicAccessBlockInput, ...func(*s3.Options)) (*s3.DeletePublicAccessBlockOutput, error)
}

// blocking is the action. Owned fields: the four flags, true or false, all of them "" where the bucket has no configuration.
type blocking struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	grants  *grants
}

var flags = []string{"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"}

func (b blocking) Observe(ctx context.Context, c action.Call) (action.State, error) {
	name, err := bucket.Name(c.Target)
	if err != nil {
		return nil, err
	}
	api, err := b.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	// The owner is named in each call: a bucket that changed hands under the same name is not ours to touch.
	out, err := api.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
	s := action.State{}
	switch {
	case bucket.Answered(err, "NoSuchPublicAccessBlockConfiguration"):
		for _, f := range flags {
			s[f] = ""
		}
	case bucket.Answered(err, "NoSuchBucket"):
		return nil, action.ErrGone
	case err != nil:
		return nil, fmt.Errorf("read the public access block of bucket %s: %w", name, err)
	case out.PublicAccessBlockConfiguration == nil:
		return nil, fault.New(fault.Unexpected, "S3 answered without a public access block for bucket %s", name)
	default:
		p := out.PublicAccessBlockConfiguration
		for i, v := range []*bool{p.BlockPublicAcls, p.IgnorePublicAcls, p.BlockPublicPolicy, p.RestrictPublicBuckets} {
			s[flags[i]] = strconv.FormatBool(aws.ToBool(v))
		}
	}
	b.grants.read(ctx, api, c)
	return s, nil
}

func (b blocking) Intent(action.Call, action.State) (action.State, error) {
	s := action.State{}
	for _, f := range flags {
		s[f] = "true"
	}
	return s, nil
}

func (b blocking) Contained(_ action.Call, s action.State) bool {
	for _, f := range flags {
		if s[f] != "true" {
			return false
		}
	}
	return true
}

func (b blocking) Apply(ctx context.Context, c action.Call, _, intent action.State) error {
	return b.put(ctx, c, intent)
}

func (b blocking) Restore(ctx context.Context, c action.Call, _, before action.State) error {
	if before[flags[0]] != "" {
		return b.put(ctx, c, before)
	}
	api, err := b.changes(ctx, c)
	if err != nil {
		return err
	}
	name := c.Target.Name()
	_, err = api.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
	return bucket.Said(err, "remove the public access block of bucket %s", name)
}

func (b blocking) put(ctx context.Context, c action.Call, s action.State) error {
	api, err := b.changes(ctx, c)
	if err != nil {
		return err
	}
	name := c.Target.Name()
	_, err = api.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
		Bucket: &name, ExpectedBucketOwner: &c.Target.Account,
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(s["BlockPublicAcls"] == "true"), IgnorePublicAcls: aws.Bool(s["IgnorePublicAcls"] == "true"),
			BlockPublicPolicy: aws.Bool(s["BlockPublicPolicy"] == "true"), RestrictPublicBuckets: aws.Bool(s["RestrictPublicBuckets"] == "true"),
		},
	})
	return bucket.Said(err, "set the public access block of bucket %s", name)
}

// Tags are the bucket's.
func (b blocking) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	api, err := b.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	return bucket.Tags(ctx, api, c.Target)
}

func (b blocking) Notes(c action.Call, _ action.State) []string { return b.grants.notes(c) }

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("block-public-access", wired(b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(access account.Access) blocking {
	client := func(ctx context.Context, role account.Role, c action.Call, actions ...string) (*s3.Client, error) {
		cfg, err := access.Config(ctx, role, c.Scope(), account.Statement{Actions: actions, Resources: []string{c.Target.ARN}})
		return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil }), err
	}
	return blocking{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			return client(ctx, account.Read, c, "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetBucketPolicy", "s3:GetBucketAcl")
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			// S3 asks for the same permission to remove the configuration as to put it (service authorization reference).
			return client(ctx, account.Data, c, "s3:PutBucketPublicAccessBlock")
		},
		grants: &grants{},
	}
}

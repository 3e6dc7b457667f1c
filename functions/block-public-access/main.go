// Command block-public-access turns on all four flags of a bucket's public access block, or of the account's.
//
// Which of the two, the playbook says: an account's is in force for all of its buckets, also for websites, and takes a rule of its own
// (target: account). The second time the flags are on and it changes nothing. Its undo puts the four flags back as they were; where there
// was no configuration, it removes ours.
//
// A bucket's policy and grants stay as they are, the block only takes their public part out of force: what they were goes into the ledger,
// and the result has its digest. A bucket that is tagged as a website asks people instead: it may be public on purpose, and an attacker can
// tag too.
package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/bucket"
	"firebreak/lib/fault"
	"firebreak/lib/ledger"

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

// blocking is the action. Owned fields: the four flags, true or false, all of them "" where there is no configuration.
type blocking struct {
	store          ledger.Store
	reads          func(context.Context, action.Call) (reads, error)
	changes        func(context.Context, action.Call) (changes, error)
	accountReads   func(context.Context, action.Call) (accountReads, error)
	accountChanges func(context.Context, action.Call) (accountChanges, error)
	grants         *grants
}

var flags = []string{"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"}

func (b blocking) Observe(ctx context.Context, c action.Call) (action.State, error) {
	now, err := b.get(ctx, c)
	if err != nil {
		return nil, err
	}
	s := action.State{}
	for i, f := range flags {
		if s[f] = ""; now != nil {
			s[f] = strconv.FormatBool(now[i])
		}
	}
	return s, nil
}

// get reads the block; nil where there is none. Errors: ErrGone, BadInput.
func (b blocking) get(ctx context.Context, c action.Call) (*four, error) {
	if whole(c) {
		return b.ofAccount(ctx, c)
	}
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
	var now *four
	switch {
	case bucket.Answered(err, "NoSuchPublicAccessBlockConfiguration"):
	case bucket.Answered(err, "NoSuchBucket"):
		return nil, action.ErrGone
	case err != nil:
		return nil, fmt.Errorf("read the public access block of bucket %s: %w", name, err)
	case out.PublicAccessBlockConfiguration == nil:
		return nil, unanswered(c)
	default:
		p := out.PublicAccessBlockConfiguration
		now = &four{aws.ToBool(p.BlockPublicAcls), aws.ToBool(p.IgnorePublicAcls), aws.ToBool(p.BlockPublicPolicy), aws.ToBool(p.RestrictPublicBuckets)}
	}
	b.grants.read(ctx, api, c)
	return now, nil
}

func unanswered(c action.Call) error {
	return fault.New(fault.Unexpected, "S3 answered without a public access block for %s", c.Target.ARN)
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

func (b blocking) Apply(ctx context.Context, c action.Call, _, _ action.State) error {
	if err := b.grants.keep(ctx, b.store, c); err != nil {
		return err
	}
	return b.put(ctx, c, &four{true, true, true, true})
}

func (b blocking) Restore(ctx context.Context, c action.Call, _, before action.State) error {
	if before[flags[0]] == "" {
		return b.put(ctx, c, nil)
	}
	to := &four{}
	for i, f := range flags {
		to[i] = before[f] == "true"
	}
	return b.put(ctx, c, to)
}

// put sets the block; nil removes it.
func (b blocking) put(ctx context.Context, c action.Call, to *four) error {
	if whole(c) {
		return b.putAccount(ctx, c, to)
	}
	api, err := b.changes(ctx, c)
	if err != nil {
		return err
	}
	name := c.Target.Name()
	if to == nil {
		_, err = api.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
		return bucket.Said(err, "remove the public access block of bucket %s", name)
	}
	_, err = api.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{
		Bucket: &name, ExpectedBucketOwner: &c.Target.Account,
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: &to[0], IgnorePublicAcls: &to[1], BlockPublicPolicy: &to[2], RestrictPublicBuckets: &to[3],
		},
	})
	return bucket.Said(err, "set the public access block of bucket %s", name)
}

// websiteTag says that a bucket is public on purpose.
const websiteTag = "firebreak:website"

// Asks has people decide about a website.
func (b blocking) Asks(c action.Call, tags map[string]string) string {
	if whole(c) || !strings.EqualFold(tags[websiteTag], "true") {
		return ""
	}
	return fmt.Sprintf("%s carries the tag %s=true: blocking it would stop the website, if it is one; whoever can tag it could have set that, so a person decides", c.Target.ARN, websiteTag)
}

// Tags are the bucket's; an account has none that this role could read.
func (b blocking) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	if whole(c) {
		return nil, nil
	}
	api, err := b.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	return bucket.Tags(ctx, api, c.Target)
}

func (b blocking) Notes(c action.Call, _ action.State) []string {
	if whole(c) {
		return []string{"in force for every bucket of the account, also for those that are public on purpose"}
	}
	return b.grants.notes(c)
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("block-public-access", wired(b.Store(), b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(store ledger.Store, access account.Access) blocking {
	client := func(ctx context.Context, role account.Role, c action.Call, actions ...string) (*s3.Client, error) {
		cfg, err := access.Config(ctx, role, c.Scope(), account.Statement{Actions: actions, Resources: []string{c.Target.ARN}})
		return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil }), err
	}
	return blocking{
		store: store,
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			return client(ctx, account.Read, c, "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetBucketPolicy", "s3:GetBucketAcl")
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			// S3 asks for the same permission to remove the configuration as to put it (service authorization reference).
			return client(ctx, account.Data, c, "s3:PutBucketPublicAccessBlock")
		},
		accountReads: func(ctx context.Context, c action.Call) (accountReads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), account.Statement{Actions: []string{"s3:GetAccountPublicAccessBlock"}, Resources: []string{"*"}}) // no resource level
			return bucket.Control(cfg), err
		},
		accountChanges: func(ctx context.Context, c action.Call) (accountChanges, error) {
			cfg, err := access.Config(ctx, account.Data, c.Scope(), account.Statement{Actions: []string{"s3:PutAccountPublicAccessBlock"}, Resources: []string{"*"}}) // no resource level; removing asks for the same
			return bucket.Control(cfg), err
		},
		grants: &grants{},
	}
}

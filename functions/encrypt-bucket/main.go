// Command encrypt-bucket makes a bucket encrypt new objects with a KMS key by default.
//
// It uses the key that the step names (parameter key: ARN, id or alias), which has to exist and to be usable, because with a
// key that is not, every upload fails; where none is named, any KMS key will do, and alias/aws/s3 is used where there is none.
// The second time it finds the key in place and changes nothing. Its undo puts the earlier configuration back, bucket key and
// blocked kinds of encryption included.
//
// Buckets that AWS delivers access logs to are refused: those deliveries fail under a KMS key, and silence helps nobody.
package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/boot"
	"firebreak/lib/bucket"
	"firebreak/lib/fault"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// reads are the calls that look, made as the Read role.
type reads interface {
	bucket.API
	GetBucketEncryption(context.Context, *s3.GetBucketEncryptionInput, ...func(*s3.Options)) (*s3.GetBucketEncryptionOutput, error)
	GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error)
	GetBucketAcl(context.Context, *s3.GetBucketAclInput, ...func(*s3.Options)) (*s3.GetBucketAclOutput, error)
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
}

// changes are the calls that change, made as the Data role.
type changes interface {
	PutBucketEncryption(context.Context, *s3.PutBucketEncryptionInput, ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error)
	DeleteBucketEncryption(context.Context, *s3.DeleteBucketEncryptionInput, ...func(*s3.Options)) (*s3.DeleteBucketEncryptionOutput, error)
}

// encryption is the action. Owned fields: algorithm, key (as S3 gives it), bucketKey, blocked; all of them "" where the
// bucket has no configuration.
type encryption struct {
	reads   func(context.Context, action.Call) (reads, error)
	changes func(context.Context, action.Call) (changes, error)
	// seen has the facts that the latest Observe of a target read besides the owned fields.
	seen *sync.Map
}

func (e encryption) Observe(ctx context.Context, c action.Call) (action.State, error) {
	name, err := bucket.Name(c.Target)
	if err != nil {
		return nil, err
	}
	api, err := e.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	s := action.State{"algorithm": "", "key": "", "bucketKey": "", "blocked": ""}
	out, err := api.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
	switch {
	case bucket.Answered(err, "ServerSideEncryptionConfigurationNotFoundError"):
	case err != nil:
		return nil, bucket.Said(err, "read the default encryption of bucket %s", name)
	case out.ServerSideEncryptionConfiguration == nil || len(out.ServerSideEncryptionConfiguration.Rules) != 1:
		return nil, fault.New(fault.Unexpected, "S3 answered with a default encryption of bucket %s that does not have one rule", name)
	default:
		r := out.ServerSideEncryptionConfiguration.Rules[0]
		s["bucketKey"] = strconv.FormatBool(aws.ToBool(r.BucketKeyEnabled))
		if d := r.ApplyServerSideEncryptionByDefault; d != nil {
			s["algorithm"], s["key"] = string(d.SSEAlgorithm), aws.ToString(d.KMSMasterKeyID)
		}
		if b := r.BlockedEncryptionTypes; b != nil {
			s["blocked"] = join(b.EncryptionType)
		}
	}
	f, err := look(ctx, api, c, s)
	if err != nil {
		return nil, err
	}
	e.seen.Store(c.Target.ARN, f)
	return s, nil
}

func (e encryption) facts(c action.Call) *facts {
	if f, ok := e.seen.Load(c.Target.ARN); ok {
		return f.(*facts)
	}
	return &facts{}
}

func (e encryption) Intent(c action.Call, now action.State) (action.State, error) {
	f := e.facts(c)
	if f.refusal != nil {
		return nil, f.refusal
	}
	intent := action.State{"algorithm": string(types.ServerSideEncryptionAwsKms), "key": f.wanted, "bucketKey": "true"}
	if managed(now["algorithm"]) {
		intent["algorithm"], intent["bucketKey"] = now["algorithm"], now["bucketKey"]
	}
	return intent, nil
}

func (e encryption) Contained(c action.Call, s action.State) bool {
	if !managed(s["algorithm"]) || named(c) == "" {
		return managed(s["algorithm"])
	}
	f := e.facts(c)
	return f.wanted != "" && f.inUse == f.wanted
}

func (e encryption) Apply(ctx context.Context, c action.Call, _, intent action.State) error {
	return e.put(ctx, c, intent)
}

func (e encryption) Restore(ctx context.Context, c action.Call, _, before action.State) error {
	if before["algorithm"] != "" || before["blocked"] != "" {
		return e.put(ctx, c, before)
	}
	api, err := e.changes(ctx, c)
	if err != nil {
		return err
	}
	name := c.Target.Name()
	_, err = api.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
	return bucket.Said(err, "remove the default encryption of bucket %s", name)
}

func (e encryption) put(ctx context.Context, c action.Call, s action.State) error {
	api, err := e.changes(ctx, c)
	if err != nil {
		return err
	}
	rule := types.ServerSideEncryptionRule{BucketKeyEnabled: aws.Bool(s["bucketKey"] == "true")}
	if s["algorithm"] != "" {
		rule.ApplyServerSideEncryptionByDefault = &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryption(s["algorithm"])}
		if s["key"] != "" {
			rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID = aws.String(s["key"])
		}
	}
	if s["blocked"] != "" {
		rule.BlockedEncryptionTypes = &types.BlockedEncryptionTypes{}
		for _, t := range strings.Split(s["blocked"], ",") {
			rule.BlockedEncryptionTypes.EncryptionType = append(rule.BlockedEncryptionTypes.EncryptionType, types.EncryptionType(t))
		}
	}
	name := c.Target.Name()
	_, err = api.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{
		Bucket: &name, ExpectedBucketOwner: &c.Target.Account,
		ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}},
	})
	return bucket.Said(err, "set the default encryption of bucket %s", name)
}

// Tags are the bucket's.
func (e encryption) Tags(ctx context.Context, c action.Call) (map[string]string, error) {
	api, err := e.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	return bucket.Tags(ctx, api, c.Target)
}

func (e encryption) Notes(c action.Call, s action.State) []string {
	notes := []string{"objects that are in the bucket already stay as they were encrypted"}
	key := named(c)
	if managed(s["algorithm"]) {
		key = s["key"]
	}
	if key == "" || strings.HasSuffix(key, awsManaged) {
		return append(notes, "the key is "+awsManaged+", which other accounts cannot use: they cannot read what is written from now on")
	}
	return append(notes, "who writes needs kms:GenerateDataKey on the key, who reads kms:Decrypt")
}

// managed tells whether a KMS key encrypts.
func managed(algorithm string) bool {
	return algorithm == string(types.ServerSideEncryptionAwsKms) || algorithm == string(types.ServerSideEncryptionAwsKmsDsse)
}

func join(list []types.EncryptionType) string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = string(t)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// looking are the statements of a session that looks. A key may be another account's: its policy decides then.
func looking(c action.Call) []account.Statement {
	return []account.Statement{
		{Actions: []string{"s3:GetEncryptionConfiguration", "s3:GetBucketTagging", "s3:GetBucketPolicy", "s3:GetBucketAcl"}, Resources: []string{c.Target.ARN}},
		{Actions: []string{"kms:DescribeKey"}, Resources: []string{fmt.Sprintf("arn:%s:kms:%s:*:key/*", c.Target.Partition, c.Target.Region)}},
	}
}

// changing are those of one that changes. S3 asks for the same permission to remove the configuration as to put it (service
// authorization reference).
func changing(c action.Call) []account.Statement {
	return []account.Statement{{Actions: []string{"s3:PutEncryptionConfiguration"}, Resources: []string{c.Target.ARN}}}
}

type keys = kms.Client

// clients is the reads of a session.
type clients struct {
	*s3.Client
	*keys
}

func main() {
	b := boot.Load()
	boot.Start(action.NewSpine(b.Store(), b.Installation()).Containing("encrypt-bucket", wired(b.Access())))
}

// wired is the action with the roles of accounts that it takes.
func wired(access account.Access) encryption {
	buckets := func(cfg aws.Config) *s3.Client {
		return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	}
	return encryption{
		reads: func(ctx context.Context, c action.Call) (reads, error) {
			cfg, err := access.Config(ctx, account.Read, c.Scope(), looking(c)...)
			return clients{buckets(cfg), kms.NewFromConfig(cfg)}, err
		},
		changes: func(ctx context.Context, c action.Call) (changes, error) {
			cfg, err := access.Config(ctx, account.Data, c.Scope(), changing(c)...)
			return buckets(cfg), err
		},
		seen: &sync.Map{},
	}
}

package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"firebreak/lib/action"
	"firebreak/lib/bucket"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// awsManaged is the key that S3 uses where a configuration names none. S3 makes it when it is first needed.
const awsManaged = "alias/aws/s3"

// facts are what decides besides the owned fields.
type facts struct {
	wanted  string // ARN of the step's key; "" for AWS's own
	inUse   string // ARN of the bucket's key, where it can be told
	refusal error  // why the bucket must not be given the key
}

// named gives the step's key, "" where any will do.
func named(c action.Call) string {
	if k := c.With["key"]; k != awsManaged && !strings.HasSuffix(k, ":"+awsManaged) {
		return k
	}
	return ""
}

// look reads the facts. It asks KMS what the names of keys stand for: S3 gives a key back by the name that it was given.
func look(ctx context.Context, api reads, c action.Call, s action.State) (*facts, error) {
	f := &facts{}
	if named(c) != "" {
		k, err := api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(named(c))})
		switch {
		case bucket.Answered(err, "NotFoundException"):
			f.refusal = action.Refuse("the key %s does not exist in %s: no object could be written to %s any more", named(c), c.Target.Region, c.Target.ARN)
		case err != nil:
			return nil, fmt.Errorf("read key %s: %w", named(c), err)
		default:
			f.wanted, f.refusal = aws.ToString(k.KeyMetadata.Arn), unusable(c, k.KeyMetadata)
		}
	}
	if managed(s["algorithm"]) {
		if f.inUse = s["key"]; f.inUse != "" && f.inUse != f.wanted {
			// Another account's key may be hidden from us; it is not the step's in any case.
			if k, err := api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(s["key"])}); err == nil {
				f.inUse = aws.ToString(k.KeyMetadata.Arn)
			}
		}
		return f, nil
	}
	if f.refusal != nil {
		return f, nil
	}
	logs, err := delivered(ctx, api, c)
	if err != nil {
		return nil, err
	}
	if logs != "" {
		f.refusal = action.Refuse("%s delivers access logs to %s and cannot do so under a KMS key: decide by hand where those logs go first", logs, c.Target.ARN)
	}
	return f, nil
}

// unusable says why S3 could not encrypt with the key (AWS: Amazon S3 user guide, "Using server-side encryption with AWS KMS
// keys": symmetric and enabled; KMS itself knows no key of another region than the bucket's).
func unusable(c action.Call, k *kmstypes.KeyMetadata) error {
	a := aws.ToString(k.Arn)
	switch {
	case k.KeyState != kmstypes.KeyStateEnabled:
		return action.Refuse("the key %s is %s: no object could be written to %s any more", a, k.KeyState, c.Target.ARN)
	case k.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt || k.KeySpec != kmstypes.KeySpecSymmetricDefault:
		return action.Refuse("the key %s is for %s with %s: S3 encrypts with symmetric keys only", a, k.KeyUsage, k.KeySpec)
	}
	return nil
}

// logs are the services that deliver access logs to buckets under SSE-S3 only (AWS: Amazon S3 user guide, "Enabling Amazon S3
// server access logging"; Elastic Load Balancing user guides, "Access logs"). Accounts of older regions that load balancers
// deliver as are not told from others.
var logs = regexp.MustCompile(`"(logging\.s3|logdelivery\.elasticloadbalancing)\.amazonaws\.com[.a-z]*"`)

const logGroup = "http://acs.amazonaws.com/groups/s3/LogDelivery"

// delivered names the service that the bucket lets deliver access logs, or "".
func delivered(ctx context.Context, api reads, c action.Call) (string, error) {
	name := c.Target.Name()
	policy, err := api.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
	if err != nil && !bucket.Answered(err, "NoSuchBucketPolicy") {
		return "", bucket.Said(err, "read the policy of bucket %s", name)
	}
	if err == nil {
		if m := logs.FindString(aws.ToString(policy.Policy)); m != "" {
			return strings.Trim(m, `"`), nil
		}
	}
	acl, err := api.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: &name, ExpectedBucketOwner: &c.Target.Account})
	if err != nil {
		return "", bucket.Said(err, "read the ACL of bucket %s", name)
	}
	for _, g := range acl.Grants {
		if g.Grantee != nil && aws.ToString(g.Grantee.URI) == logGroup {
			return "the log delivery group", nil
		}
	}
	return "", nil
}

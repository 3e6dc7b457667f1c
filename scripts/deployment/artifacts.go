package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// bucketAPI are the calls made on the artifact bucket.
type bucketAPI interface {
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	CreateBucket(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error)
	PutPublicAccessBlock(context.Context, *s3.PutPublicAccessBlockInput, ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error)
	PutBucketPolicy(context.Context, *s3.PutBucketPolicyInput, ...func(*s3.Options)) (*s3.PutBucketPolicyOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
}

// artifacts is the bucket of what is deployed. A key holds the hash of its content: what is unchanged keeps its place, so that
// CloudFormation does not replace it, and nothing that is deployed is ever overwritten.
type artifacts struct {
	*session
	api        bucketAPI
	bucket     string
	seen, sent int
}

// open finds the bucket or makes it. The owner is named in each call: a bucket that somebody else made under the name we
// would take gets none of our code.
func (a *artifacts) open(ctx context.Context) error {
	a.bucket = fmt.Sprintf("firebreak-artifacts-%s-%s", a.account, a.cfg.Region)
	_, err := a.api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &a.bucket, ExpectedBucketOwner: &a.account})
	if err == nil {
		return nil
	}
	if status(err) != http.StatusNotFound {
		return fmt.Errorf("look at the artifact bucket %s (is it another account's?): %w", a.bucket, err)
	}
	in := &s3.CreateBucketInput{Bucket: &a.bucket}
	if a.cfg.Region != "us-east-1" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(a.cfg.Region)}
	}
	if _, err := a.api.CreateBucket(ctx, in); err != nil {
		return fmt.Errorf("make the artifact bucket %s: %w", a.bucket, err)
	}
	_, err = a.api.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &a.bucket, ExpectedBucketOwner: &a.account,
		PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true),
		}})
	if err != nil {
		return fmt.Errorf("close the artifact bucket %s to the public: %w", a.bucket, err)
	}
	a.say("made the artifact bucket %s", a.bucket)
	return nil
}

// share lets the accounts of an organization read what is deployed to them: stack sets run with their own accounts' roles.
func (a *artifacts) share(ctx context.Context, organization string) error {
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"OrganizationReads","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:%s:s3:::%s/*","Condition":{"StringEquals":{"aws:PrincipalOrgID":%q}}}]}`,
		a.partition, a.bucket, organization)
	_, err := a.api.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &a.bucket, Policy: &policy, ExpectedBucketOwner: &a.account})
	if err != nil {
		return fmt.Errorf("let the organization read the artifact bucket %s: %w", a.bucket, err)
	}
	return nil
}

// spread is one bucket in each region that a stack set is deployed to. Templates refer to the one of their own region.
type spread struct{ buckets []*artifacts }

func (s spread) put(ctx context.Context, name, extension string, content []byte) (key string, err error) {
	for _, b := range s.buckets {
		if key, err = b.put(ctx, name, extension, content); err != nil {
			return "", fmt.Errorf("in %s: %w", b.cfg.Region, err)
		}
	}
	return key, nil
}

func (s spread) url(key string) string { return s.buckets[0].url(key) }

func (s spread) name() string {
	return "firebreak-artifacts-" + s.buckets[0].account + "-${AWS::Region}"
}

// put uploads content under name, extended by its hash, if it is not there, and gives its key.
func (a *artifacts) put(ctx context.Context, name, extension string, content []byte) (string, error) {
	sum := sha256.Sum256(content)
	key := name + "/" + hex.EncodeToString(sum[:16]) + extension
	a.seen++
	if extension == ".yaml" && a.texts != nil {
		a.texts[a.url(key)] = content
	}
	_, err := a.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &a.bucket, Key: &key, ExpectedBucketOwner: &a.account})
	if err == nil {
		return key, nil
	}
	if status(err) != http.StatusNotFound {
		return "", fmt.Errorf("look for %s in %s: %w", key, a.bucket, err)
	}
	a.sent++
	if len(content) > 1e6 {
		a.say("uploading %s, %.1f MB", name, float64(len(content))/1e6)
	}
	_, err = a.api.PutObject(ctx, &s3.PutObjectInput{Bucket: &a.bucket, Key: &key, Body: bytes.NewReader(content), ExpectedBucketOwner: &a.account})
	if err != nil {
		return "", fmt.Errorf("upload %s to %s: %w", key, a.bucket, err)
	}
	return key, nil
}

// url is where CloudFormation reads a template.
func (a *artifacts) url(key string) string {
	suffix := "amazonaws.com"
	if strings.HasPrefix(a.partition, "aws-cn") {
		suffix = "amazonaws.com.cn"
	}
	return fmt.Sprintf("https://s3.%s.%s/%s/%s", a.cfg.Region, suffix, a.bucket, key)
}

func status(err error) int {
	var http *awshttp.ResponseError
	if errors.As(err, &http) {
		return http.HTTPStatusCode()
	}
	return 0
}

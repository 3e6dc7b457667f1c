//go:build engine

package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestOnTheEngine(t *testing.T) {
	cfg := actiontest.Engine(t)
	buckets := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	made, err := kms.NewFromConfig(cfg).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	key, no, yes := *made.KeyMetadata.Arn, false, true
	for name, c := range map[string]struct {
		have *types.ServerSideEncryptionRule
		key  string
	}{
		"none":            {nil, key},
		"AES256":          {&types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256"}, BucketKeyEnabled: &no}, key},
		"AES256 to AWS's": {&types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256"}, BucketKeyEnabled: &yes}, ""},
		"AWS's to ours":   {&types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms"}, BucketKeyEnabled: &no}, key},
		"AWS's will do":   {&types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms"}, BucketKeyEnabled: &no}, ""},
		"ours by its id":  {&types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: made.KeyMetadata.KeyId}, BucketKeyEnabled: &yes}, key},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := fmt.Sprintf("clinic-encrypt-%d", time.Now().UnixNano())
			if _, err := buckets.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
				t.Fatal(err)
			}
			if c.have != nil {
				_, err := buckets.PutBucketEncryption(t.Context(), &s3.PutBucketEncryptionInput{Bucket: &bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{*c.have}}})
				if err != nil {
					t.Fatal(err)
				}
			}
			e := encryption{
				reads: func(context.Context, action.Call) (reads, error) {
					return clients{buckets, kms.NewFromConfig(cfg)}, nil
				},
				changes: func(context.Context, action.Call) (changes, error) { return buckets, nil },
				seen:    &sync.Map{},
			}
			stands := func() any {
				s, err := e.Observe(t.Context(), action.Call{Target: incident.Target{ARN: "arn:aws:s3:::" + bucket, Service: "s3", Resource: bucket, Account: actiontest.Account}})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			actiontest.RoundTrip(t, actiontest.New(t, "encrypt-bucket", e), "arn:aws:s3:::"+bucket, with(c.key), stands, func(incident.Result) {
				if s := stands().(action.State); !managed(s["algorithm"]) {
					t.Errorf("contained as %v", s)
				}
			})
		})
	}
}

//go:build engine

package main

import (
	"encoding/json"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestOnTheEngine(t *testing.T) {
	const none, ours, dsse = "none", "ours", "aws:kms:dsse"
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "encrypt-bucket",
		Act: func(_ ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(access)
		},
		Factors: []actiontest.Factor{
			{Name: "algorithm", Levels: []any{none, "AES256", "aws:kms", dsse}},
			{Name: "key", Levels: []any{none, ours, "another"}},
			{Name: "bucket key", Levels: []any{false, true}},
			{Name: "wanted", Levels: []any{none, "arn", "id", "alias"}},
		},
		Usual: actiontest.Choice{"algorithm": "AES256", "key": none, "bucket key": false, "wanted": "arn"},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, keys := s3.NewFromConfig(e.Owner, func(o *s3.Options) { o.UsePathStyle = true }), kms.NewFromConfig(e.Owner)
			ctx, name := t.Context(), actiontest.Name("clinic-records")
			key := func() *string {
				return actiontest.Must(keys.CreateKey(ctx, &kms.CreateKeyInput{}))(t).KeyMetadata.Arn
			}
			wanted := key()
			alias := "alias/" + name
			actiontest.Must(keys.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: wanted}))(t)
			actiontest.Must(api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}))(t)
			put := func(algorithm string, key *string, bucketKey bool) {
				rule := types.ServerSideEncryptionRule{BucketKeyEnabled: &bucketKey, ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryption(algorithm), KMSMasterKeyID: key}}
				actiontest.Must(api.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &name, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}}}))(t)
			}
			if algorithm := c.Text("algorithm"); algorithm != none {
				var with *string
				switch {
				case algorithm == "AES256" || c.Text("key") == none:
				case c.Text("key") == ours:
					with = wanted
				default:
					with = key()
				}
				put(algorithm, with, c.Is("bucket key"))
			}
			id := *actiontest.Must(keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: wanted}))(t).KeyMetadata.KeyId
			want := map[string]string{none: "", "arn": *wanted, "id": id, "alias": alias}[c.Text("wanted")]
			rules := func() []types.ServerSideEncryptionRule {
				out, err := api.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &name})
				if actiontest.Code(err) == "ServerSideEncryptionConfigurationNotFoundError" {
					return nil
				}
				return actiontest.Must(out, err)(t).ServerSideEncryptionConfiguration.Rules
			}
			return actiontest.Subject{
				Target: "arn:aws:s3:::" + name, With: with(want),
				Stands: func() any { text, _ := json.Marshal(rules()); return string(text) },
				Open: func() string {
					all := rules()
					if len(all) != 1 || all[0].ApplyServerSideEncryptionByDefault == nil || !managed(string(all[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm)) {
						return "no KMS key encrypts it"
					}
					if has := aws.ToString(all[0].ApplyServerSideEncryptionByDefault.KMSMasterKeyID); want != "" && has != *wanted && has != id && has != alias {
						return "another key encrypts it: " + has
					}
					return ""
				},
				Change: func() { put("AES256", nil, true) },
				Delete: func() { actiontest.Must(api.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name}))(t) },
				Role:   account.Data, Lacks: []string{"s3:PutEncryptionConfiguration"}, On: []string{"arn:aws:s3:::" + name},
			}
		},
	})
}

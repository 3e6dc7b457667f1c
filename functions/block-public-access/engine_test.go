//go:build engine

package main

import (
	"fmt"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/bucket"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestOnTheEngine(t *testing.T) {
	on := []any{false, true}
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "block-public-access",
		Act: func(store ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(store, access)
		},
		Factors: []actiontest.Factor{
			{Name: "block", Levels: []any{"none", "set"}},
			{Name: flags[0], Levels: on}, {Name: flags[1], Levels: on}, {Name: flags[2], Levels: on}, {Name: flags[3], Levels: on},
			{Name: "policy", Levels: []any{"none", "public", "own"}},
			{Name: "tags", Levels: []any{0, 1, 20}},
		},
		Usual: actiontest.Choice{"block": "none", flags[0]: false, flags[1]: false, flags[2]: false, flags[3]: false, "policy": "public", "tags": 1},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api := s3.NewFromConfig(e.Owner, func(o *s3.Options) { o.UsePathStyle = true })
			ctx, name := t.Context(), actiontest.Name("clinic-exports")
			actiontest.Must(api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}))(t)
			actiontest.Must(api.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &name}))(t)
			if c.Text("policy") != "none" {
				who := map[string]string{"public": `"*"`, "own": `{"AWS":"arn:aws:iam::` + actiontest.Account + `:root"}`}[c.Text("policy")]
				doc := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":%s,"Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}`, who, name)
				actiontest.Must(api.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: &doc}))(t)
			}
			if n := c.Number("tags"); n > 0 {
				tags := &types.Tagging{}
				for i := range n {
					tags.TagSet = append(tags.TagSet, types.Tag{Key: aws.String(fmt.Sprintf("owner-%d", i)), Value: aws.String("clinic")})
				}
				actiontest.Must(api.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &name, Tagging: tags}))(t)
			}
			set := func(acls, ignore, policy, restrict bool) {
				actiontest.Must(api.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &name, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: &acls, IgnorePublicAcls: &ignore, BlockPublicPolicy: &policy, RestrictPublicBuckets: &restrict,
				}}))(t)
			}
			if c.Text("block") == "set" {
				set(c.Is(flags[0]), c.Is(flags[1]), c.Is(flags[2]), c.Is(flags[3]))
			}
			block := func() *types.PublicAccessBlockConfiguration {
				out, err := api.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &name})
				if bucket.Answered(err, "NoSuchPublicAccessBlockConfiguration") {
					return nil
				}
				return actiontest.Must(out, err)(t).PublicAccessBlockConfiguration
			}
			return actiontest.Subject{
				Target: "arn:aws:s3:::" + name,
				Stands: func() any {
					out := map[string]any{"block": "none"}
					if b := block(); b != nil {
						out["block"] = []bool{*b.BlockPublicAcls, *b.IgnorePublicAcls, *b.BlockPublicPolicy, *b.RestrictPublicBuckets}
					}
					policy, err := api.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &name})
					if !bucket.Answered(err, "NoSuchBucketPolicy") {
						out["policy"] = *actiontest.Must(policy, err)(t).Policy
					}
					return out
				},
				Open: func() string {
					if b := block(); b == nil || !*b.BlockPublicAcls || !*b.IgnorePublicAcls || !*b.BlockPublicPolicy || !*b.RestrictPublicBuckets {
						return fmt.Sprintf("the block is %+v", b)
					}
					return ""
				},
				Change: func() { set(true, true, true, false) },
				Delete: func() { actiontest.Must(api.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name}))(t) },
				Role:   account.Data, Lacks: []string{"s3:PutBucketPublicAccessBlock"}, On: []string{"arn:aws:s3:::" + name},
			}
		},
	})
}

//go:build engine

package main

import (
	"context"
	"fmt"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/bucket"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3control"
	"github.com/aws/aws-sdk-go-v2/service/s3control/types"
)

// The account's block is another API than a bucket's, with the account's id in the host's name on AWS. An account has one of it: each
// starting state replaces the last.
func TestAccountOnTheEngine(t *testing.T) {
	on := []any{false, true}
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "block-public-access",
		Act: func(store ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(store, access)
		},
		Factors: []actiontest.Factor{
			{Name: "block", Levels: []any{"none", "set"}},
			{Name: flags[0], Levels: on}, {Name: flags[1], Levels: on}, {Name: flags[2], Levels: on}, {Name: flags[3], Levels: on},
		},
		Usual: actiontest.Choice{"block": "none", flags[0]: false, flags[1]: false, flags[2]: false, flags[3]: false},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, id := bucket.Control(e.Owner), aws.String(actiontest.Account)
			remove := func() error {
				_, err := api.DeletePublicAccessBlock(context.Background(), &s3control.DeletePublicAccessBlockInput{AccountId: id})
				return err
			}
			set := func(to four) {
				actiontest.Must(api.PutPublicAccessBlock(t.Context(), &s3control.PutPublicAccessBlockInput{AccountId: id, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: &to[0], IgnorePublicAcls: &to[1], BlockPublicPolicy: &to[2], RestrictPublicBuckets: &to[3],
				}}))(t)
			}
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			if c.Text("block") == "set" {
				set(four{c.Is(flags[0]), c.Is(flags[1]), c.Is(flags[2]), c.Is(flags[3])})
			}
			t.Cleanup(func() {
				if err := remove(); err != nil {
					t.Error(err)
				}
			})
			block := func() string {
				out, err := api.GetPublicAccessBlock(t.Context(), &s3control.GetPublicAccessBlockInput{AccountId: id})
				if bucket.Answered(err, "NoSuchPublicAccessBlockConfiguration") {
					return "none"
				}
				b := actiontest.Must(out, err)(t).PublicAccessBlockConfiguration
				return fmt.Sprint(four{*b.BlockPublicAcls, *b.IgnorePublicAcls, *b.BlockPublicPolicy, *b.RestrictPublicBuckets})
			}
			return actiontest.Subject{
				Target: wholeAccount,
				Stands: func() any { return block() },
				Open: func() string {
					if b := block(); b != fmt.Sprint(four{true, true, true, true}) {
						return "the account's block is " + b
					}
					return ""
				},
				Change: func() { set(four{true, true, true, false}) },
				Role:   account.Data, Lacks: []string{"s3:PutAccountPublicAccessBlock"}, On: []string{"*"},
			}
		},
	})
}

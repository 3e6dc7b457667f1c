//go:build engine

package main

import (
	"fmt"
	"slices"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestOnTheEngine(t *testing.T) {
	actiontest.RuinOnTheEngine(t, actiontest.Ruination{
		Action: "delete-keys",
		Act: func(store ledger.Store, _ *setting.Installation, access account.Access) action.Destruction {
			return wired(store, access)
		},
		Factors: []actiontest.Factor{
			{Name: "path", Levels: []any{"/", "/billing/", "/a/b/"}},
			{Name: "keys", Levels: []any{0, 1, 2}},
			{Name: "named", Levels: []any{false, true}},
			{Name: "arn with path", Levels: []any{true, false}},
		},
		Usual: actiontest.Choice{"path": "/billing/", "keys": 2, "named": false, "arn with path": true},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Doomed {
			api, ctx, name := iam.NewFromConfig(e.Owner), t.Context(), actiontest.Name("export")
			path := c.Text("path")
			actiontest.Must(api.CreateUser(ctx, &iam.CreateUserInput{UserName: &name, Path: &path}))(t)
			set := func(id string, to types.StatusType) {
				actiontest.Must(api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: &id, Status: to}))(t)
			}
			var keys []string
			for range c.Number("keys") {
				keys = append(keys, *actiontest.Must(api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name}))(t).AccessKey.AccessKeyId)
				set(keys[len(keys)-1], types.StatusTypeInactive)
			}
			doomed, with := slices.Clone(keys), map[string]string{}
			if c.Is("named") && len(keys) > 0 {
				doomed = keys[:1]
				with = named(keys[0])
			}
			left := func() map[string]string {
				out := map[string]string{}
				for _, k := range actiontest.Must(api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &name}))(t).AccessKeyMetadata {
					out[*k.AccessKeyId] = string(k.Status)
				}
				return out
			}
			arn := fmt.Sprintf("arn:aws:iam::%s:user%s%s", actiontest.Account, path, name)
			target := arn
			if !c.Is("arn with path") {
				target = fmt.Sprintf("arn:aws:iam::%s:user/%s", actiontest.Account, name)
			}
			return actiontest.Doomed{
				Target: target, With: with, Finding: fmt.Sprintf(`{"resourceType":"AccessKey","accessKeyDetails":{"userType":"IAMUser","userName":%q}}`, name),
				Stands: func() any { return left() },
				Lives: func() bool {
					has := left()
					if len(has) < len(keys)-len(doomed) {
						t.Errorf("of the keys %v, of which %v were to be deleted, %v are left", keys, doomed, has)
					}
					return slices.ContainsFunc(doomed, func(id string) bool { return has[id] != "" })
				},
				Change: func() { set(keys[0], types.StatusTypeActive) },
				Spoil:  func() { set(keys[0], types.StatusTypeActive) },
				Delete: func() {
					for _, id := range keys {
						actiontest.Must(api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &id}))(t)
					}
				},
				Lacks: []string{"iam:DeleteAccessKey"}, On: []string{arn},
			}
		},
	})
}

//go:build engine

package main

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/channel"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// nobody is told.
type nobody struct{}

func (nobody) Once(context.Context, ledger.Store, string, int, string, channel.Message) (bool, error) {
	return true, nil
}

func TestOnTheEngine(t *testing.T) {
	const none, missing, session = "none", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "deactivate-keys",
		Act: func(store ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(store, nobody{}, access)
		},
		Factors: []actiontest.Factor{
			{Name: "path", Levels: []any{"/", "/billing/", "/a/b/c/"}},
			{Name: "first", Levels: []any{none, active, inactive}},
			{Name: "second", Levels: []any{none, active, inactive}},
			{Name: "named", Levels: []any{"", "first", missing, session}},
			{Name: "arn with path", Levels: []any{true, false}},
		},
		Usual: actiontest.Choice{"path": "/billing/", "first": active, "second": active, "named": "", "arn with path": true},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, ctx, name := iam.NewFromConfig(e.Owner), t.Context(), actiontest.Name("export")
			path := c.Text("path")
			actiontest.Must(api.CreateUser(ctx, &iam.CreateUserInput{UserName: &name, Path: &path}))(t)
			var keys []string
			set := func(id string, to types.StatusType) {
				actiontest.Must(api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: &id, Status: to}))(t)
			}
			for _, key := range []string{"first", "second"} {
				if c.Text(key) == none {
					continue
				}
				made := actiontest.Must(api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name}))(t)
				keys = append(keys, *made.AccessKey.AccessKeyId)
				if c.Text(key) == inactive {
					set(*made.AccessKey.AccessKeyId, types.StatusTypeInactive)
				}
			}
			with := map[string]string{}
			switch named := c.Text("named"); {
			case named == "first" && c.Text("first") != none:
				with["keyId"] = keys[0]
			case named != "":
				with["keyId"] = missing
				if named == session {
					with["keyId"] = session
				}
			}
			arn := fmt.Sprintf("arn:aws:iam::%s:user%s%s", actiontest.Account, path, name)
			if !c.Is("arn with path") {
				arn = fmt.Sprintf("arn:aws:iam::%s:user/%s", actiontest.Account, name) // as GuardDuty names it
			}
			status := func() map[string]string {
				out := map[string]string{}
				for _, k := range actiontest.Must(api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &name}))(t).AccessKeyMetadata {
					out[*k.AccessKeyId] = string(k.Status)
				}
				return out
			}
			return actiontest.Subject{
				Target: arn, With: with,
				Stands: func() any { return status() },
				Open: func() string {
					for id, is := range status() {
						meant := with["keyId"] == "" || with["keyId"] == session || with["keyId"] == id
						if meant && is != inactive {
							return id + " is " + is
						}
					}
					return ""
				},
				Change: func() { set(keys[0], types.StatusTypeActive) },
				Delete: func() {
					for _, id := range slices.Clone(keys) {
						actiontest.Must(api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &id}))(t)
					}
					actiontest.Must(api.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name}))(t)
				},
				Role: account.Identity, Lacks: []string{"iam:UpdateAccessKey"}, On: []string{"arn:aws:iam::" + actiontest.Account + ":user" + path + name},
			}
		},
	})
}

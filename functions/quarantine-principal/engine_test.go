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
	"firebreak/lib/principal"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

func TestOnTheEngine(t *testing.T) {
	const other = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "quarantine-principal",
		Act: func(_ ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(access)
		},
		Factors: []actiontest.Factor{
			{Name: "kind", Levels: []any{principal.User, principal.Role}},
			{Name: "path", Levels: []any{"/", "/billing/", "/a/b/"}},
			{Name: "attached", Levels: []any{0, 2, 9, 10}},
			{Name: "under our name", Levels: []any{"nothing", "a deny", "somebody else's"}},
			{Name: "ours attached", Levels: []any{false, true}},
			{Name: "arn with path", Levels: []any{true, false}},
		},
		Usual: actiontest.Choice{"kind": principal.User, "path": "/billing/", "attached": 2, "under our name": "nothing", "ours attached": false, "arn with path": true},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, ctx, name := iam.NewFromConfig(e.Owner), t.Context(), actiontest.Name("export")
			kind, path := c["kind"].(principal.Kind), c.Text("path")
			if kind == principal.User {
				actiontest.Must(api.CreateUser(ctx, &iam.CreateUserInput{UserName: &name, Path: &path}))(t)
			} else {
				actiontest.Must(api.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: aws.String(
					`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))(t)
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			ours := "arn:aws:iam::" + actiontest.Account + ":policy/" + policyName
			w, look := who{kind, name, ours}, clients{api, ec2.NewFromConfig(e.Owner)}
			wanted := c.Number("attached")
			if c.Is("ours attached") {
				must(w.attach(ctx, api))
				wanted = min(wanted, 9) // the quota is 10
			}
			for n := range wanted {
				made := actiontest.Must(api.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("%s-%d", name, n)), PolicyDocument: aws.String(other)}))(t)
				must(who{kind, name, *made.Policy.Arn}.attach(ctx, api))
			}
			switch c.Text("under our name") {
			case "a deny":
				must(w.put(ctx, api, document))
			case "somebody else's":
				must(w.put(ctx, api, other))
			}
			read := func() ([]string, string) {
				_, attached, inline, err := w.read(ctx, look)
				must(err)
				slices.Sort(attached)
				return attached, inline
			}
			arn := fmt.Sprintf("arn:aws:iam::%s:%s%s%s", actiontest.Account, kind, path, name)
			target := arn
			if !c.Is("arn with path") {
				target = fmt.Sprintf("arn:aws:iam::%s:%s/%s", actiontest.Account, kind, name)
			}
			return actiontest.Subject{
				Target: target,
				Stands: func() any { attached, inline := read(); return append(attached, inline) },
				Open: func() string {
					attached, inline := read()
					if !slices.Contains(attached, ours) && !denies(inline) {
						return fmt.Sprintf("attached %v, inline %s", attached, inline)
					}
					return ""
				},
				Change: func() { must(w.detach(ctx, api)) },
				Delete: func() {
					attached, inline := read()
					for _, p := range attached {
						must(who{kind, name, p}.detach(ctx, api))
					}
					if inline != "" {
						must(w.remove(ctx, api))
					}
					if kind == principal.User {
						actiontest.Must(api.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name}))(t)
					} else {
						actiontest.Must(api.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name}))(t)
					}
				},
				Role: account.Identity, Lacks: []string{"iam:AttachUserPolicy"}, On: []string{arn},
			}
		},
	})
}

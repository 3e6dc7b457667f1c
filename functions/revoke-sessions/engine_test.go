//go:build engine

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/ledger"
	"firebreak/lib/principal"
	"firebreak/lib/setting"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

func TestOnTheEngine(t *testing.T) {
	const own = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	actiontest.OnTheEngine(t, actiontest.Suite{
		Action: "revoke-sessions",
		Act: func(_ ledger.Store, _ *setting.Installation, access account.Access) action.Containment {
			return wired(access)
		},
		Factors: []actiontest.Factor{
			{Name: "path", Levels: []any{"/", "/clinic/", "/a/b/"}},
			{Name: "policies", Levels: []any{0, 1, 4}},
			{Name: "under our name", Levels: []any{"nothing", "an old date", "a later date", "somebody else's"}},
			{Name: "instances", Levels: []any{0, 1, 5}},
			{Name: "arn with path", Levels: []any{true, false}},
		},
		Usual: actiontest.Choice{"path": "/clinic/", "policies": 1, "under our name": "nothing", "instances": 1, "arn with path": true},
		Make: func(t *testing.T, e *actiontest.Engine, c actiontest.Choice) actiontest.Subject {
			api, machines, ctx, name := iam.NewFromConfig(e.Owner), ec2.NewFromConfig(e.Owner), t.Context(), actiontest.Name("clinic-web")
			path := c.Text("path")
			actiontest.Must(api.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))(t)
			put := func(policy, doc string) {
				actiontest.Must(api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: &policy, PolicyDocument: &doc}))(t)
			}
			for i := range c.Number("policies") {
				put(fmt.Sprintf("own-%d", i), own)
			}
			switch c.Text("under our name") {
			case "an old date":
				put(policyName, document("2024-01-01T00:00:00Z"))
			case "a later date":
				put(policyName, document(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
			case "somebody else's":
				put(policyName, own)
			}
			actiontest.Must(api.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name}))(t)
			actiontest.Must(api.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &name}))(t)
			if n := int32(c.Number("instances")); n > 0 {
				run := actiontest.Must(machines.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: aws.String("ami-12c6146b"), MinCount: &n, MaxCount: &n,
					IamInstanceProfile: &ec2types.IamInstanceProfileSpecification{Name: &name}}))(t)
				t.Cleanup(func() {
					var ids []string
					for _, i := range run.Instances {
						ids = append(ids, *i.InstanceId)
					}
					machines.TerminateInstances(context.Background(), &ec2.TerminateInstancesInput{InstanceIds: ids})
				})
			}
			policies := func() map[string]string {
				out := map[string]string{}
				for _, p := range actiontest.Must(api.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &name}))(t).PolicyNames {
					doc := actiontest.Must(api.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: &p}))(t)
					out[p] = principal.Canonical(*doc.PolicyDocument)
				}
				return out
			}
			arn := fmt.Sprintf("arn:aws:iam::%s:role%s%s", actiontest.Account, path, name)
			target := arn
			if !c.Is("arn with path") {
				target = fmt.Sprintf("arn:aws:iam::%s:role/%s", actiontest.Account, name)
			}
			return actiontest.Subject{
				Target: target,
				Stands: func() any { return policies() },
				Open: func() string {
					date, err := time.Parse(time.RFC3339, dateOf(policies()[policyName]))
					if err != nil || date.Before(actiontest.Start) {
						return fmt.Sprintf("sessions live: %s, %v", policies()[policyName], err)
					}
					return ""
				},
				Change: func() { put(policyName, document("2024-01-01T00:00:00Z")) },
				Delete: func() {
					actiontest.Must(api.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &name, RoleName: &name}))(t)
					for p := range policies() {
						actiontest.Must(api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: &p}))(t)
					}
					actiontest.Must(api.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name}))(t)
				},
				Role: account.Identity, Lacks: []string{"iam:PutRolePolicy"}, On: []string{arn},
			}
		},
	})
}

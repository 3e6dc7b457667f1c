//go:build engine

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"
	"firebreak/lib/principal"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

func TestOnTheEngine(t *testing.T) {
	cfg := actiontest.Engine(t)
	api := iam.NewFromConfig(cfg)
	ctx := t.Context()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(policyName), PolicyDocument: aws.String(document)}); err != nil {
		t.Log(err) // an earlier test made it
	}
	for name, c := range map[string]struct {
		kind     principal.Kind
		path     string
		attached int
		inline   string
		want     string // of attached, inline
	}{
		"a user":                {kind: principal.User, want: "true,false"},
		"a user with a path":    {kind: principal.User, path: "/billing/", attached: 2, want: "true,false"},
		"a role":                {kind: principal.Role, attached: 1, want: "true,false"},
		"a role with a path":    {kind: principal.Role, path: "/a/b/", want: "true,false"},
		"a full user":           {kind: principal.User, attached: 10, want: "false,true"},
		"a full role":           {kind: principal.Role, attached: 10, inline: `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`, want: "false,true"},
		"denied by other means": {kind: principal.User, inline: document, want: "false,true"},
	} {
		t.Run(name, func(t *testing.T) {
			id, path := fmt.Sprintf("clinic-%d", time.Now().UnixNano()), c.path
			if path == "" {
				path = "/"
			}
			arn := fmt.Sprintf("arn:aws:iam::%s:%s%s%s", actiontest.Account, c.kind, path, id)
			w := who{kind: c.kind, name: id, policy: ours}
			var err error
			if c.kind == principal.User {
				_, err = api.CreateUser(ctx, &iam.CreateUserInput{UserName: &id, Path: &path})
			} else {
				_, err = api.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &id, Path: &path, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
			}
			must(t, err)
			for n := range c.attached {
				made, err := api.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("%s-%d", id, n)), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`)})
				must(t, err)
				must(t, who{c.kind, id, *made.Policy.Arn}.attach(ctx, api))
			}
			if c.inline != "" {
				must(t, w.put(ctx, api, c.inline))
			}
			look := clients{api, ec2.NewFromConfig(cfg)}
			q := quarantine{
				reads:   func(context.Context, action.Call) (reads, error) { return look, nil },
				changes: func(context.Context, action.Call) (changes, error) { return api, nil },
				seen:    &sync.Map{},
			}
			stands := func() any {
				_, attached, inline, err := w.read(ctx, look)
				must(t, err)
				slices.Sort(attached)
				return map[string]any{"attached": attached, "inline": inline}
			}
			actiontest.RoundTrip(t, actiontest.New(t, "quarantine-principal", q), arn, nil, stands, func(incident.Result) {
				_, attached, inline, err := w.read(ctx, look)
				must(t, err)
				if got := fmt.Sprintf("%v,%v", slices.Contains(attached, ours), denies(inline)); got != c.want {
					t.Errorf("attached, inline: %s, want %s", got, c.want)
				}
			})
		})
	}
}

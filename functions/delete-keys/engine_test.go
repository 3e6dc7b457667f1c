//go:build engine

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/origin"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestOnTheEngine(t *testing.T) {
	api, ctx := iam.NewFromConfig(actiontest.Engine(t)), t.Context()
	id := fmt.Sprintf("clinic-%d", time.Now().UnixNano())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: &id, Path: aws.String("/billing/")})
	must(err)
	made, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &id})
	must(err)
	key := *made.AccessKey.AccessKeyId
	f := newFake() // for its GuardDuty
	f.finding.Resource.AccessKeyDetails.UserName, f.finding.Resource.AccessKeyDetails.AccessKeyId = &id, &key
	w := actiontest.NewEradicating(t, "delete-keys", func(store ledger.Store) action.Destruction {
		return deletion{
			store: store, used: &sync.Map{},
			reads:   func(context.Context, action.Call) (reads, error) { return api, nil },
			source:  func(context.Context, action.Call) (origin.API, error) { return f, nil },
			changes: func(context.Context, action.Call) (changes, error) { return api, nil },
		}
	})
	req := ask(w, incident.Look, "arn:aws:iam::222222222222:user/billing/"+id, named(key))
	if got := w.Must(req); !strings.HasPrefix(got.Evidence, "failed: "+key+" is Active") {
		t.Errorf("evidence %q", got.Evidence)
	}
	_, err = api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &id, AccessKeyId: &key, Status: types.StatusTypeInactive})
	must(err)
	req.Mode = incident.Apply
	req = w.Approve(req)
	for _, want := range []incident.Outcome{incident.Applied, incident.Gone} {
		if got := w.Must(req); got.Outcome != want {
			t.Errorf("%s (%s) %q, want %s", got.Outcome, got.Reason, got.Changes, want)
		}
	}
	left, err := api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &id})
	if err != nil || len(left.AccessKeyMetadata) > 0 {
		t.Errorf("%v is left, %v", left.AccessKeyMetadata, err)
	}
}

//go:build engine

package main

import (
	"context"
	"testing"

	"firebreak/lib/action"
	"firebreak/lib/actiontest"
	"firebreak/lib/incident"
)

// The account's block is another API than a bucket's, with the account's id in the host's name on AWS.
func TestTheAccountOnTheEngine(t *testing.T) {
	api := control(actiontest.Engine(t))
	b := blocking{
		accountReads:   func(context.Context, action.Call) (accountReads, error) { return api, nil },
		accountChanges: func(context.Context, action.Call) (accountChanges, error) { return api, nil },
		grants:         &grants{},
	}
	c := action.Call{Target: incident.Target{ARN: wholeAccount, Service: "iam", Resource: "root", Account: actiontest.Account}}
	for name, before := range map[string]*four{"no block": nil, "none": {}, "some": {true, false, true, false}, "all but one": {true, true, true, false}} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { _ = b.putAccount(context.Background(), c, nil) })
			if before != nil {
				if err := b.putAccount(t.Context(), c, before); err != nil {
					t.Fatal(err)
				}
			}
			stands := func() any {
				s, err := b.Observe(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			actiontest.RoundTrip(t, actiontest.New(t, "block-public-access", b), wholeAccount, nil, stands, func(incident.Result) {
				if !b.Contained(c, stands().(action.State)) {
					t.Errorf("contained as %v", stands())
				}
			})
		})
	}
}

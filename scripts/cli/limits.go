package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"firebreak/lib/setting"
)

const limitsHelp = `How much Firebreak does before it asks a person. Without an argument it prints the limits; NAME=N sets one, at once and everywhere:

  budget         resources that one action may change in one account in an hour
  reserve        how many of those are kept for CRITICAL
  shared         resources that may use a role or a group that is to be changed
  steps          containing steps of one plan
  releasedHours  hours after a release in which a person is asked before it is contained again

For this hour only: scripts/firebreak budget ACCOUNT ACTION --raise N.
`

// limitNames are the guard's limits as the ledger calls them, limit is where one of that name stands in the settings.
var limitNames = []string{"budget", "reserve", "shared", "steps", "releasedHours"}

func limit(g *setting.Guard, name string) *int {
	return map[string]*int{"budget": &g.Budget, "reserve": &g.Reserve, "shared": &g.Shared, "steps": &g.Steps, "releasedHours": &g.ReleasedHours}[name]
}

func limits(ctx context.Context, a *app, c *call) error {
	given := map[string]int{}
	for _, arg := range c.args {
		name, value, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(value)
		if err != nil || limit(&setting.Guard{}, name) == nil {
			return wrong("%q is no limit: NAME=N, where NAME is one of %s", arg, strings.Join(limitNames, ", "))
		}
		given[name] = n
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	var set setting.Guard
	if len(given) > 0 {
		set, _, err = k.set(ctx, a, func(g *setting.Guard) (changed bool) {
			for name, n := range given {
				at := limit(g, name)
				changed, *at = changed || *at != n, n
			}
			return changed
		})
	} else if set, err = setting.ReadGuard(ctx, k.store); err != nil {
		err = k.explain(err)
	}
	if err != nil {
		return err
	}
	if c.json {
		return dump(a.out, set)
	}
	for _, name := range limitNames {
		fmt.Fprintf(a.out, "%-14s %d\n", name, *limit(&set, name))
	}
	return nil
}

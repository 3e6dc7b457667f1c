package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"firebreak/functions"
	"firebreak/lib/approval"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

const budgetHelp = `An action changes only so many resources of an account in an hour; what would be more is parked, and people are asked. Without
an argument it lists what is parked. With account and action it lets that many more through in this hour and starts all that
the budget had parked; their requests to people are cancelled.

  --raise N    how many more
  --why TEXT   the reason, for the record
`

// parked is what the budget holds back of one incident.
type parked struct {
	Incident string          `json:"incident"`
	Episode  int             `json:"episode"`
	Band     incident.Band   `json:"severity"`
	Account  string          `json:"account"`
	Steps    []incident.Step `json:"steps"`
}

var accountID = regexp.MustCompile(`^\d{12}$`)

func budget(ctx context.Context, a *app, c *call) error {
	switch {
	case len(c.args) != 0 && len(c.args) != 2:
		return wrong("account and action are both needed, or neither")
	case len(c.args) == 0 && c.raise != 0, len(c.args) == 2 && c.raise < 1:
		return wrong("--raise N says by how many, for one account and action")
	}
	if len(c.args) == 2 {
		known, err := functions.Actions()
		if err != nil {
			return err
		}
		if _, ok := known[c.args[1]]; !ok || !accountID.MatchString(c.args[0]) {
			return wrong("%q is no account and action, for instance 222222222222 isolate-instance", c.args)
		}
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	set, err := setting.ReadGuard(ctx, k.store)
	if err != nil {
		return k.explain(err)
	}
	list, err := k.parked(ctx, c.args)
	if err != nil {
		return k.explain(err)
	}
	if len(c.args) == 2 {
		return k.raise(ctx, a, c, list)
	}
	if c.json {
		return dump(a.out, append([]parked{}, list...))
	}
	fmt.Fprintf(a.out, "%d resources per account, action and hour, %d of them kept for CRITICAL\n", set.Budget, set.Reserve)
	if len(list) == 0 {
		fmt.Fprintln(a.out, "nothing is parked")
	}
	for _, p := range list {
		for _, s := range p.Steps {
			fmt.Fprintf(a.out, "%-8s  %s  %s %s in %s\n", p.Band, p.Incident, s.Action, short(s.Target), plain(p.Account, 20))
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(a.out, "\nLet more through, and start them: scripts/firebreak budget %s %s --raise %d\n", list[0].Account, list[0].Steps[0].Action, len(list))
	}
	return nil
}

// parked lists the steps of open incidents that the budget refused, the most severe first; of one account and action where
// they are named.
func (k *cloud) parked(ctx context.Context, of []string) ([]parked, error) {
	all, err := k.incidents(ctx, false)
	if err != nil {
		return nil, err
	}
	var out []parked
	for _, m := range all {
		p := parked{Incident: m.ID, Episode: m.Episode, Band: m.Band, Account: m.Finding.Account}
		for _, s := range m.Plan.Contain {
			r := m.Outcomes[s.Key()]
			if r.Outcome == incident.Refused && r.Override == string(guard.Budget) && (len(of) == 0 || m.Finding.Account == of[0] && s.Action == of[1]) {
				p.Steps = append(p.Steps, s)
			}
		}
		if len(p.Steps) > 0 {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(x, y parked) int {
		switch {
		case x.Band.Above(y.Band):
			return -1
		case y.Band.Above(x.Band):
			return 1
		}
		return cmp.Compare(x.Incident, y.Incident)
	})
	return out, nil
}

// raise lets more through in this hour, and starts what was parked: one decision for all of it.
func (k *cloud) raise(ctx context.Context, a *app, c *call, list []parked) error {
	account, action, now := c.args[0], c.args[1], a.now().UTC()
	it, err := ledger.Update(ctx, k.store, guard.RaiseKey(account, action, now), func(it *ledger.Item[guard.Raise]) error {
		it.Value = guard.Raise{By: it.Value.By + c.raise, Who: k.who, Why: c.why, At: now}
		it.Expires = now.Add(48 * time.Hour)
		return nil
	})
	if err != nil {
		return k.explain(err)
	}
	if !c.json {
		fmt.Fprintf(a.out, "%s in %s: %d more in this hour (%d by all decisions)\n", action, account, c.raise, it.Value.By)
	}
	d := driver{cloud: k, covered: map[string]string{}}
	why := fmt.Sprintf("budget of %s in %s raised by %d", action, account, c.raise)
	if c.why != "" {
		why += ": " + c.why
	}
	out := []redriven{}
	var errs []error
	for _, p := range list {
		r, err := d.resume(ctx, fmt.Sprintf("BUDGET#%s#%s#%s", account, action, ledger.Stamp(now)), incident.Resume{Incident: p.Incident, Episode: p.Episode, Steps: p.Steps, Reason: why})
		if err == nil {
			err = k.unask(ctx, p, why)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Incident, err))
			continue
		}
		out = append(out, r)
	}
	if c.json {
		errs = append(errs, dump(a.out, out))
	} else {
		report(a, out)
	}
	return errors.Join(errs...)
}

// unask cancels the open requests about nothing but what is started now.
func (k *cloud) unask(ctx context.Context, p parked, why string) error {
	asked, err := approval.List(ctx, k.store, p.Incident)
	if err != nil {
		return err
	}
	for _, it := range asked {
		a := it.Value
		other := slices.ContainsFunc(a.Steps, func(s approval.Step) bool {
			return s.Rule != string(guard.Budget) || !slices.ContainsFunc(p.Steps, func(o incident.Step) bool { return o.Key() == s.Key() })
		})
		if a.Kind != approval.KindOverride || a.Status != approval.StatusOpen || other {
			continue
		}
		if err := approval.Cancel(ctx, k.store, p.Incident, a.Number, k.who, why); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"firebreak/lib/guard"
	"firebreak/lib/ledger"
	"firebreak/lib/setting"
)

const modeHelp = `Without an argument it says how Firebreak is set. With one it sets it, at once and everywhere:

  act    contain what the playbook says
  plan   say what would be done, change nothing; a release that a person asks for is carried out
  off    the kill switch: nothing is changed, neither contained nor released
`

const protectHelp = `What is protected is never changed without a person. The ARN may have * for any run of characters. Without an argument it
prints the list.
`

const unprotectHelp = `Takes the ARN off the protected list, as it stands there.
`

// errSame ends an update that would change nothing.
var errSame = errors.New("nothing to change")

// meaning of each mode, in words.
var meaning = map[setting.Mode]string{
	setting.Act:  "Firebreak contains what the playbook says, and asks before it destroys",
	setting.Plan: "Firebreak says what it would do and changes nothing",
	setting.Off:  "Firebreak is switched off: it changes nothing, it contains nothing and it releases nothing",
}

func mode(ctx context.Context, a *app, c *call) error {
	if len(c.args) > 1 {
		return wrong("one mode at a time")
	}
	var to setting.Mode
	if len(c.args) == 1 {
		to = setting.Mode(strings.ToLower(c.args[0]))
		if meaning[to] == "" {
			return wrong("there is no mode %q: act, plan or off", c.args[0])
		}
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	if to == "" {
		set, err := setting.ReadGuard(ctx, k.store)
		if err != nil {
			return k.explain(err)
		}
		return printMode(a, c, set, "mode is ")
	}
	set, changed, err := k.set(ctx, a, func(g *setting.Guard) bool {
		same := g.Mode == to
		g.Mode = to
		return !same
	})
	if err != nil {
		return err
	}
	if !changed {
		return printMode(a, c, set, "mode was and is ")
	}
	return printMode(a, c, set, "mode is now ")
}

func printMode(a *app, c *call, set setting.Guard, lead string) error {
	if c.json {
		return dump(a.out, set)
	}
	fmt.Fprintf(a.out, "%s%s: %s\n", lead, set.Mode, meaning[set.Mode])
	if set.By != "" {
		fmt.Fprintf(a.out, "set by %s, %s (%s)\n", plain(set.By, 200), clock(set.At), ago(a.now(), set.At))
	}
	fmt.Fprintf(a.out, "%d changes per account, action and hour, %d of them kept for CRITICAL; %d protected\n", set.Budget, set.Reserve, len(set.Protected))
	return nil
}

// set changes the guard's settings, and makes them where there are none. It tells whether anything changed.
func (k *cloud) set(ctx context.Context, a *app, change func(*setting.Guard) bool) (setting.Guard, bool, error) {
	it, err := ledger.Update(ctx, k.store, setting.GuardKey, func(it *ledger.Item[setting.Guard]) error {
		if !it.Exists() {
			it.Value = setting.Defaults()
		}
		if !change(&it.Value) && it.Exists() {
			return errSame
		}
		it.Value.By, it.Value.At = k.who, a.now().UTC()
		return it.Value.Check()
	})
	if errors.Is(err, errSame) {
		return it.Value, false, nil
	}
	if err != nil {
		return setting.Guard{}, false, k.explain(fmt.Errorf("change the settings: %w", err))
	}
	return it.Value, true, nil
}

func protect(ctx context.Context, a *app, c *call) error {
	if len(c.args) > 0 {
		arn, err := c.one("ARN")
		if err != nil {
			return err
		}
		if strings.Count(arn, ":") < 5 || !strings.HasPrefix(arn, "arn:") {
			return wrong("%q is not an ARN or a pattern of one, for instance arn:aws:s3:::clinic-*", arn)
		}
		return change(ctx, a, c, "protected: "+arn, "was protected before: "+arn, func(g *setting.Guard) bool {
			if slices.Contains(g.Protected, arn) {
				return false
			}
			g.Protected = append(slices.Clone(g.Protected), arn)
			slices.Sort(g.Protected)
			return true
		})
	}
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	set, err := setting.ReadGuard(ctx, k.store)
	if err != nil {
		return k.explain(err)
	}
	if c.json {
		return dump(a.out, append([]string{}, set.Protected...))
	}
	if len(set.Protected) == 0 {
		fmt.Fprintln(a.out, "nothing is protected")
	}
	for _, p := range set.Protected {
		fmt.Fprintln(a.out, p)
	}
	return nil
}

func unprotect(ctx context.Context, a *app, c *call) error {
	arn, err := c.one("ARN")
	if err != nil {
		return err
	}
	var left []string
	err = change(ctx, a, c, "no longer on the list: "+arn, "was not on the list: "+arn, func(g *setting.Guard) bool {
		had := slices.Contains(g.Protected, arn)
		g.Protected = slices.DeleteFunc(slices.Clone(g.Protected), func(p string) bool { return p == arn })
		left = slices.DeleteFunc(slices.Clone(g.Protected), func(p string) bool { return !guard.Match(p, arn) })
		return had
	})
	if err == nil && len(left) > 0 && !c.json {
		fmt.Fprintf(a.out, "it is still protected by %s\n", strings.Join(left, ", "))
	}
	return err
}

func change(ctx context.Context, a *app, c *call, done, was string, by func(*setting.Guard) bool) error {
	k, err := a.connect(ctx)
	if err != nil {
		return err
	}
	set, changed, err := k.set(ctx, a, by)
	if err != nil {
		return err
	}
	if c.json {
		return dump(a.out, set)
	}
	if !changed {
		done = was
	}
	fmt.Fprintln(a.out, done)
	return nil
}

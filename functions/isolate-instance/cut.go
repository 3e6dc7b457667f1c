package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/lib/action"
)

// untracked is the part of a cut that must not last: the instance wears a group that lets everything in and out.
const untracked = "untracked"

const (
	needed  = 30 * time.Second // what must be left of the call to begin the first step
	closing = 20 * time.Second // what is kept of it for the second
)

// cut takes every interface that is not isolated to its isolation group. Connections that are tracked would live on under the
// new group, so it first wears the transit group, under which nothing is tracked. Where that step is not possible the
// connections may live on, which the result then says; the isolation group comes in any case.
func (i isolation) cut(ctx context.Context, c action.Call, v *view, api changes, want action.State) error {
	var open, tracked []iface
	for _, f := range v.interfaces {
		switch {
		case v.all(f, isolating.is) || want[f.id+"/groups"] == "":
		case v.all(f, transit.is):
			open = append(open, f) // a crash left it so
		default:
			tracked = append(tracked, f)
		}
	}
	failed := i.isolate(ctx, c, api, open, want)
	if len(tracked) == 0 {
		return failed
	}
	groups, err := i.transits(ctx, c, tracked)
	deadline, limited := ctx.Deadline()
	if err == nil && limited && time.Until(deadline) < needed {
		err = errors.New("no time was left to cut them")
	}
	if err != nil {
		i.note(c, err)
		return errors.Join(failed, i.isolate(ctx, c, api, tracked, want))
	}
	// The record comes first. Where it cannot be written nothing has been opened, and the next run begins here again.
	if err := c.Part(ctx, untracked); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, i.pass(ctx, c, api, tracked, groups, want))
}

// pass gives the interfaces the transit group and then the isolation group. Every way out of the first step, also a failure or
// the end of the call's time, leads through the second; a crash is finished by the next run, which the record calls for.
func (i isolation) pass(ctx context.Context, c action.Call, api changes, fs []iface, groups map[string]string, want action.State) (err error) {
	defer func() {
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		if err = i.isolate(rest, c, api, fs, want); err != nil {
			err = fmt.Errorf("an interface may still wear the group that lets everything in: %w", err)
			return
		}
		err = c.Part(rest, "")
	}()
	first := ctx
	if deadline, limited := ctx.Deadline(); limited {
		var cancel context.CancelFunc
		first, cancel = context.WithDeadline(ctx, deadline.Add(-closing))
		defer cancel()
	}
	for _, f := range fs {
		if err := wear(first, api, f, []string{groups[f.vpc]}); err != nil {
			i.note(c, err)
		}
	}
	return nil
}

// transits finds or makes the transit group of each VPC.
func (i isolation) transits(ctx context.Context, c action.Call, fs []iface) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range fs {
		if out[f.vpc] != "" {
			continue
		}
		id, err := i.group(ctx, c, f.vpc, transit)
		if err != nil {
			return nil, err
		}
		out[f.vpc] = id
	}
	return out, nil
}

// isolate gives each interface its isolation group, and goes on with the next where one fails. A group that somebody has
// deleted meanwhile is made again: this must not be what leaves an interface open.
func (i isolation) isolate(ctx context.Context, c action.Call, api changes, fs []iface, want action.State) error {
	var failed error
	for _, f := range fs {
		err := wear(ctx, api, f, members(want[f.id+"/groups"]))
		if errors.Is(err, errNoGroup) {
			var id string
			if id, err = i.group(ctx, c, f.vpc, isolating); err == nil {
				err = wear(ctx, api, f, []string{id})
			}
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (i isolation) note(c action.Call, err error) {
	i.remark(c, "tracked connections may live for up to five days: "+err.Error())
}

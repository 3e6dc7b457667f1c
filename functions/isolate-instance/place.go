package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/fault"
)

// looks are the calls, with the role Read, that find where an instance is besides its network.
type looks struct {
	scalingReads
	targetReads
	classicReads
}

// moves are the calls, with the role Network, that take it out of there and put it back.
type moves struct {
	scalingChanges
	targetChanges
	classicChanges
}

// place is where an instance is besides its network: in an Auto Scaling group, behind balancers.
type place struct {
	scaling  scaling
	targets  []registration // in the order of their fields
	classics []string
	// hidden are the kinds of place that the role may not look at.
	hidden []string
}

// patience is how long looking for the place, and leaving it, may keep the network from being cut.
const patience = 10 * time.Second

// locate reads the place. What the role may not read keeps nobody from isolating the instance: it is said instead.
func (i isolation) locate(ctx context.Context, c action.Call, v *view) (*place, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	api, err := i.looks(ctx, c)
	if err != nil {
		return nil, err
	}
	p := &place{}
	var failed error
	read := func(kind string, err error) {
		if fault.Is(err, fault.Denied) {
			p.hidden = append(p.hidden, kind)
			return
		}
		failed = errors.Join(failed, err)
	}
	p.scaling, err = readScaling(ctx, api, v)
	read(autoScaling, err)
	p.targets, err = i.readTargets(ctx, api, v)
	read("target groups", err)
	p.classics, err = readClassics(ctx, api, v)
	read("classic balancers", err)
	return p, failed
}

// state gives the fields of the place: "scaling" (<group> in service, <group> standby, none, hidden), which is there whenever
// the place was read, and, where the instance is registered, targetgroup/<name>/<id> <target> and loadbalancer/<name>.
func (p *place) state() action.State {
	s := action.State{"scaling": p.scaling.value()}
	if slices.Contains(p.hidden, autoScaling) {
		s["scaling"] = "hidden"
	}
	for _, t := range p.targets {
		s[t.field()] = registered
	}
	for _, name := range p.classics {
		s[classicPrefix+name] = registered
	}
	return s
}

const (
	registered  = "registered"
	autoScaling = "Auto Scaling"
)

// placed tells what a field of the place becomes; ok is false for other fields.
func placed(field, now string) (want string, ok bool) {
	switch {
	case field == "scaling" && strings.HasSuffix(now, inService):
		return strings.TrimSuffix(now, inService) + inStandby, true
	case field == "scaling":
		return now, true
	case strings.HasPrefix(field, targetPrefix), strings.HasPrefix(field, classicPrefix):
		return "", true
	}
	return "", false
}

// leave takes the instance out of its place as it was observed, since only that is on record. Auto Scaling comes first: it
// would end or replace an instance that its balancer calls unhealthy. What fails does not keep the rest from being done.
// Errors: Throttled where the place was not observed.
func (i isolation) leave(ctx context.Context, c action.Call, v *view, observed action.State) error {
	if _, known := observed["scaling"]; !known {
		return fault.New(fault.Throttled, "where %s serves was not known when its network was cut: look again", c.Target.Name())
	}
	p, err := i.locate(ctx, c, v)
	if err != nil {
		return err
	}
	p.targets = slices.DeleteFunc(p.targets, func(t registration) bool { return observed[t.field()] != registered })
	p.classics = slices.DeleteFunc(p.classics, func(name string) bool { return observed[classicPrefix+name] != registered })
	for _, kind := range p.hidden {
		i.remark(c, "not looked at, because the role may not: "+kind)
	}
	if group := v.tags()["aws:autoscaling:groupName"]; group != "" && slices.Contains(p.hidden, autoScaling) {
		i.remark(c, "in Auto Scaling group "+group+", which may end it when it fails health checks: detach it there")
	}
	allow := p.allow(v)
	if len(allow) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	api, err := i.moves(ctx, c, allow...)
	if err != nil {
		return err
	}
	return errors.Join(i.standby(ctx, c, api, v, p.scaling), deregister(ctx, api, v, p.targets), withdraw(ctx, api, v, p.classics))
}

// comeBack puts the instance into its place of before, and reads that it is there: a field that is absent would not tell.
func (i isolation) comeBack(ctx context.Context, c action.Call, v *view, before action.State) error {
	was := placeOf(v, before)
	if was.scaling.group == "" && len(was.targets)+len(was.classics) == 0 {
		return nil
	}
	p, err := i.locate(ctx, c, v)
	if err != nil {
		return err
	}
	if len(p.hidden) > 0 {
		return fault.New(fault.Denied, "the role may not look at %s any more: nobody can tell whether the instance is back there", strings.Join(p.hidden, " and "))
	}
	api, err := i.moves(ctx, c, was.allow(v)...)
	if err != nil {
		return err
	}
	failed := errors.Join(i.resume(ctx, api, v, p.scaling, was.scaling), register(ctx, api, v, p.targets, was.targets), readmit(ctx, api, v, p.classics, was.classics))
	if failed != nil {
		return failed
	}
	i.expect(v, was.targets)
	if p, err = i.locate(ctx, c, v); err != nil {
		return err
	}
	now := p.state()
	for f, value := range was.state() {
		if value == registered && now[f] != registered {
			return fault.New(fault.Throttled, "%s was registered with %s again, but AWS does not show it yet: look again", c.Target.Name(), f)
		}
	}
	return nil
}

// placeOf reads a place from the fields of a state.
func placeOf(v *view, s action.State) *place {
	p := &place{scaling: scalingOf(s["scaling"])}
	for f, value := range s {
		if value != registered {
			continue
		}
		if t, ok := targetOf(v, f); ok {
			p.targets = append(p.targets, t)
		}
		if name, ok := strings.CutPrefix(f, classicPrefix); ok {
			p.classics = append(p.classics, name)
		}
	}
	slices.SortFunc(p.targets, func(a, b registration) int { return strings.Compare(a.field(), b.field()) })
	slices.Sort(p.classics)
	return p
}

// allow narrows the session to the group and the balancers of the place; to those of the account where a session policy has
// no room for all of them.
func (p *place) allow(v *view) []account.Statement {
	const room = 6 // of both kinds: with the longest names, eight of each have 2,800 characters, and a session policy takes 2,048
	var out []account.Statement
	if p.scaling.group != "" {
		out = append(out, account.Statement{
			Actions:   []string{"autoscaling:EnterStandby", "autoscaling:ExitStandby", "autoscaling:DetachInstances", "autoscaling:AttachInstances"},
			Resources: []string{p.scaling.arn(v)},
		})
	}
	var groups, classics []string
	for _, t := range p.targets {
		if !slices.Contains(groups, t.group) {
			groups = append(groups, t.group)
		}
	}
	for _, name := range p.classics {
		classics = append(classics, balancing(v, classicPrefix+name))
	}
	wide := len(groups)+len(classics) > room
	if wide && len(groups) > 0 {
		groups = []string{balancing(v, targetPrefix+"*")}
	}
	if wide && len(classics) > 0 {
		classics = []string{balancing(v, classicPrefix+"*")}
	}
	if len(groups) > 0 {
		out = append(out, account.Statement{
			Actions: []string{"elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"}, Resources: groups,
		})
	}
	if len(classics) > 0 {
		out = append(out, account.Statement{
			Actions:   []string{"elasticloadbalancing:DeregisterInstancesFromLoadBalancer", "elasticloadbalancing:RegisterInstancesWithLoadBalancer"},
			Resources: classics,
		})
	}
	return out
}

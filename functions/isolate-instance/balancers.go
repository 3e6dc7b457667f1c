package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	classic "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	classictypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// targetReads are the calls made with the role Read.
type targetReads interface {
	DescribeTargetGroups(context.Context, *elb.DescribeTargetGroupsInput, ...func(*elb.Options)) (*elb.DescribeTargetGroupsOutput, error)
	DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput, ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error)
}

// targetChanges are the calls made with the role Network.
type targetChanges interface {
	RegisterTargets(context.Context, *elb.RegisterTargetsInput, ...func(*elb.Options)) (*elb.RegisterTargetsOutput, error)
	DeregisterTargets(context.Context, *elb.DeregisterTargetsInput, ...func(*elb.Options)) (*elb.DeregisterTargetsOutput, error)
}

// classicReads are the calls made with the role Read.
type classicReads interface {
	DescribeLoadBalancers(context.Context, *classic.DescribeLoadBalancersInput, ...func(*classic.Options)) (*classic.DescribeLoadBalancersOutput, error)
}

// classicChanges are the calls made with the role Network.
type classicChanges interface {
	RegisterInstancesWithLoadBalancer(context.Context, *classic.RegisterInstancesWithLoadBalancerInput, ...func(*classic.Options)) (*classic.RegisterInstancesWithLoadBalancerOutput, error)
	DeregisterInstancesFromLoadBalancer(context.Context, *classic.DeregisterInstancesFromLoadBalancerInput, ...func(*classic.Options)) (*classic.DeregisterInstancesFromLoadBalancerOutput, error)
}

const (
	targetPrefix  = "targetgroup/"
	classicPrefix = "loadbalancer/"
)

// balancing is the ARN of a balancer's resource.
func balancing(v *view, resource string) string {
	t := v.call.Target
	return fmt.Sprintf("arn:%s:elasticloadbalancing:%s:%s:%s", t.Partition, t.Region, t.Account, resource)
}

// registration is one with a target group: by the instance's id or by one of its addresses.
type registration struct {
	group    string // ARN
	id, zone string
	port     int32
}

// field names the registration: targetgroup/<name>/<id> <target>:<port>, and the zone where one is given.
func (t registration) field() string {
	name := t.group[strings.Index(t.group, ":"+targetPrefix)+1:] + " " + t.id + ":" + strconv.Itoa(int(t.port))
	if t.zone != "" {
		name += " " + t.zone
	}
	return name
}

// targetOf reads a registration from its field.
func targetOf(v *view, field string) (registration, bool) {
	parts := strings.Split(field, " ")
	if !strings.HasPrefix(field, targetPrefix) || len(parts) < 2 {
		return registration{}, false
	}
	colon := strings.LastIndex(parts[1], ":") // an IPv6 address has others before
	if colon < 0 {
		return registration{}, false
	}
	port, err := strconv.ParseInt(parts[1][colon+1:], 10, 32)
	t := registration{group: balancing(v, parts[0]), id: parts[1][:colon], port: int32(port)}
	if len(parts) > 2 {
		t.zone = parts[2]
	}
	return t, err == nil
}

func (t registration) description() types.TargetDescription {
	d := types.TargetDescription{Id: &t.id}
	if t.port > 0 {
		d.Port = &t.port
	}
	if t.zone != "" {
		d.AvailabilityZone = &t.zone
	}
	return d
}

// names are what an instance can be registered by: its id and the addresses of its interfaces.
func (v *view) names() []string {
	out := []string{*v.instance.InstanceId}
	for _, f := range v.interfaces {
		out = append(out, f.addresses...)
	}
	return out
}

// search is how many target groups are looked through at once, and for how long it is remembered which have the instance:
// no call lists them by instance, and one run looks several times.
const (
	search   = 8
	remember = time.Minute
)

// found is which target groups had the instance when all were searched last.
type found struct {
	at     time.Time
	run    string
	groups []string
}

// readTargets finds the instance's registrations; one that is being drained is none any more.
func (i isolation) readTargets(ctx context.Context, api targetReads, v *view) ([]registration, error) {
	run := v.call.Incident.ID + v.call.Since.String()
	kept, _ := i.found.Load(v.call.Target.ARN)
	f, known := kept.(found)
	if known = known && f.run == run && time.Since(f.at) < remember; !known {
		all, err := groupsOf(ctx, api, v)
		if err != nil {
			return nil, err
		}
		f = found{at: time.Now(), run: run, groups: all}
	}
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		slots   = make(chan struct{}, search)
		out     []registration
		have    []string
		failed  error
		targets = v.names()
	)
	for _, group := range f.groups {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			list, draining, err := health(ctx, api, group, targets)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			if out = append(out, list...); len(list) > 0 || draining {
				have = append(have, group)
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	if !known {
		f.groups = have
		i.found.Store(v.call.Target.ARN, f)
	}
	slices.SortFunc(out, func(a, b registration) int { return strings.Compare(a.field(), b.field()) })
	return out, nil
}

// expect has the groups of these registrations looked at too, since it is about to be registered there.
func (i isolation) expect(v *view, list []registration) {
	kept, _ := i.found.Load(v.call.Target.ARN)
	f, _ := kept.(found)
	f.groups = slices.Clone(f.groups)
	for _, t := range list {
		if !slices.Contains(f.groups, t.group) {
			f.groups = append(f.groups, t.group)
		}
	}
	i.found.Store(v.call.Target.ARN, f)
}

// groupsOf lists the target groups that could have the instance: of its VPCs, and not those of functions or balancers.
func groupsOf(ctx context.Context, api targetReads, v *view) ([]string, error) {
	var out []string
	for pages := elb.NewDescribeTargetGroupsPaginator(api, &elb.DescribeTargetGroupsInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list target groups: %w", err)
		}
		for _, g := range page.TargetGroups {
			byID, byAddress := g.TargetType == types.TargetTypeEnumInstance, g.TargetType == types.TargetTypeEnumIp
			// An address may be registered from a peered VPC; an instance's id may not.
			if byAddress || byID && slices.ContainsFunc(v.interfaces, func(f iface) bool { return f.vpc == aws.ToString(g.VpcId) }) {
				out = append(out, aws.ToString(g.TargetGroupArn))
			}
		}
	}
	return out, nil
}

func health(ctx context.Context, api targetReads, group string, names []string) (out []registration, draining bool, err error) {
	got, err := api.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &group})
	if instance.Code(err) == "TargetGroupNotFound" {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the targets of %s: %w", group, err)
	}
	for _, d := range got.TargetHealthDescriptions {
		if d.Target == nil || !slices.Contains(names, aws.ToString(d.Target.Id)) {
			continue
		}
		if d.TargetHealth != nil && d.TargetHealth.State == types.TargetHealthStateEnumDraining {
			draining = true
			continue
		}
		out = append(out, registration{group: group, id: aws.ToString(d.Target.Id), zone: aws.ToString(d.Target.AvailabilityZone), port: aws.ToInt32(d.Target.Port)})
	}
	return out, draining, nil
}

// readClassics lists the classic balancers that the instance is registered with.
func readClassics(ctx context.Context, api classicReads, v *view) ([]string, error) {
	var out []string
	for pages := classic.NewDescribeLoadBalancersPaginator(api, &classic.DescribeLoadBalancersInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list classic balancers: %w", err)
		}
		for _, b := range page.LoadBalancerDescriptions {
			if slices.ContainsFunc(b.Instances, func(in classictypes.Instance) bool { return aws.ToString(in.InstanceId) == *v.instance.InstanceId }) {
				out = append(out, aws.ToString(b.LoadBalancerName))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// grouped gives the registrations by target group, in order.
func grouped(list []registration) (arns []string, of map[string][]types.TargetDescription) {
	of = map[string][]types.TargetDescription{}
	for _, t := range list {
		if of[t.group] == nil {
			arns = append(arns, t.group)
		}
		of[t.group] = append(of[t.group], t.description())
	}
	return arns, of
}

// deregister takes the instance out of target groups, and goes on with the next where one fails.
func deregister(ctx context.Context, api targetChanges, v *view, list []registration) (failed error) {
	arns, of := grouped(list)
	for _, group := range arns {
		_, err := api.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &group, Targets: of[group]})
		// Standby takes it out too: what is not there any more is out.
		if code := instance.Code(err); err != nil && code != "InvalidTarget" && code != "TargetGroupNotFound" {
			failed = errors.Join(failed, fmt.Errorf("take %s out of %s: %w", *v.instance.InstanceId, group, err))
		}
	}
	return failed
}

// register puts back the registrations of before that are not there. A group that was deleted meanwhile needs none.
func register(ctx context.Context, api targetChanges, v *view, now, was []registration) (failed error) {
	arns, of := grouped(slices.DeleteFunc(slices.Clone(was), func(t registration) bool { return slices.Contains(now, t) }))
	for _, group := range arns {
		if _, err := api.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: &group, Targets: of[group]}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("register %s with %s: %w", *v.instance.InstanceId, group, err))
		}
	}
	return failed
}

func itself(v *view) []classictypes.Instance {
	return []classictypes.Instance{{InstanceId: v.instance.InstanceId}}
}

// withdraw takes the instance out of classic balancers.
func withdraw(ctx context.Context, api classicChanges, v *view, names []string) (failed error) {
	for _, name := range names {
		_, err := api.DeregisterInstancesFromLoadBalancer(ctx, &classic.DeregisterInstancesFromLoadBalancerInput{LoadBalancerName: &name, Instances: itself(v)})
		if code := instance.Code(err); err != nil && code != "InvalidInstance" && code != "LoadBalancerNotFound" {
			failed = errors.Join(failed, fmt.Errorf("take %s out of classic balancer %s: %w", *v.instance.InstanceId, name, err))
		}
	}
	return failed
}

// readmit puts it back into those of before.
func readmit(ctx context.Context, api classicChanges, v *view, now, was []string) (failed error) {
	for _, name := range was {
		if slices.Contains(now, name) {
			continue
		}
		if _, err := api.RegisterInstancesWithLoadBalancer(ctx, &classic.RegisterInstancesWithLoadBalancerInput{LoadBalancerName: &name, Instances: itself(v)}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("register %s with classic balancer %s: %w", *v.instance.InstanceId, name, err))
		}
	}
	return failed
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"firebreak/lib/account"
	"firebreak/lib/fault"
	"firebreak/lib/guard"
	"firebreak/lib/incident"
	"firebreak/lib/ledger"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	classic "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	classictypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

const (
	api   = "arn:aws:elasticloadbalancing:us-east-1:222222222222:targetgroup/api/73e2d6bc24d8a067"
	admin = "arn:aws:elasticloadbalancing:us-east-1:222222222222:targetgroup/admin/73e2d6bc24d8a068"
	asg   = "clinic-web"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// fleet is the Auto Scaling group and the balancers of an account. By default the instance is in none of them.
type fleet struct {
	world             *world
	min, max, desired int32
	state             string // of the instance in its group, "" for in none
	attached          []string
	targets           map[string]*targets
	classics          map[string][]string
	// moving has target registrations that are being drained.
	moving map[string]bool
	denied map[string]bool
	busy   map[string]bool
	health int // calls of DescribeTargetHealth
}

// targets is a target group.
type targets struct {
	kind elbtypes.TargetTypeEnum
	vpc  string
	have []string // <id>:<port>[ <zone>]
}

func newFleet(w *world) *fleet {
	return &fleet{world: w, max: 4, targets: map[string]*targets{}, classics: map[string][]string{}, moving: map[string]bool{}, denied: map[string]bool{}, busy: map[string]bool{}}
}

// in puts the instance into service behind two target groups and a classic balancer.
func (f *fleet) in() {
	f.min, f.max, f.desired, f.state, f.attached = 1, 4, 2, "InService", []string{api}
	f.targets[api] = &targets{elbtypes.TargetTypeEnumInstance, vpc, []string{name + ":80", "i-0bbbbbbbbbbbbbbb1:80"}}
	f.targets[admin] = &targets{elbtypes.TargetTypeEnumIp, vpc, []string{"10.0.0.7:8080 all", "10.0.0.9:8080 all"}}
	f.targets[admin+"f"] = &targets{kind: elbtypes.TargetTypeEnumLambda}
	f.classics["old"] = []string{"i-0bbbbbbbbbbbbbbb1", name}
	f.classics["other"] = []string{"i-0bbbbbbbbbbbbbbb1"}
	f.world.ec2.Address(eni1, "10.0.0.7", "2001:db8::7")
}

// stands is where the instance is.
func (f *fleet) stands() any {
	out := map[string]any{"scaling": fmt.Sprintf("%s %d", f.state, f.desired)}
	for arn, g := range f.targets {
		out[arn] = slices.Sorted(slices.Values(g.have))
	}
	for n, have := range f.classics {
		out[n] = slices.Sorted(slices.Values(have))
	}
	return out
}

func (f *fleet) looks() looks { return looks{f, f, f} }

func (f *fleet) moves(allow []account.Statement) (moves, error) {
	_, err := account.Policy(allow...)
	s := &mover{f, allow}
	return moves{s, s, s}, err
}

func (f *fleet) read(act string) error {
	if f.world.ec2.Dead {
		return fmt.Errorf("%s: killed", act)
	}
	if f.denied[act] {
		return &smithy.GenericAPIError{Code: "AccessDenied"}
	}
	if f.busy[act] {
		return &smithy.GenericAPIError{Code: "Throttling"}
	}
	return nil
}

func (f *fleet) DescribeAutoScalingInstances(_ context.Context, in *autoscaling.DescribeAutoScalingInstancesInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingInstancesOutput, error) {
	out := &autoscaling.DescribeAutoScalingInstancesOutput{}
	if f.state != "" && in.InstanceIds[0] == name {
		out.AutoScalingInstances = []astypes.AutoScalingInstanceDetails{{AutoScalingGroupName: aws.String(asg), InstanceId: aws.String(name), LifecycleState: aws.String(f.state)}}
	}
	return out, f.read("DescribeAutoScalingInstances")
}

func (f *fleet) DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	return &autoscaling.DescribeAutoScalingGroupsOutput{AutoScalingGroups: []astypes.AutoScalingGroup{{MinSize: &f.min, MaxSize: &f.max, DesiredCapacity: &f.desired}}},
		f.read("DescribeAutoScalingGroups")
}

// DescribeTargetGroups gives a page a group.
func (f *fleet) DescribeTargetGroups(_ context.Context, in *elb.DescribeTargetGroupsInput, _ ...func(*elb.Options)) (*elb.DescribeTargetGroupsOutput, error) {
	arns, at := slices.Sorted(maps.Keys(f.targets)), 0
	if in.Marker != nil {
		fmt.Sscan(*in.Marker, &at)
	}
	out := &elb.DescribeTargetGroupsOutput{}
	if at < len(arns) {
		g := f.targets[arns[at]]
		out.TargetGroups = []elbtypes.TargetGroup{{TargetGroupArn: &arns[at], TargetType: g.kind, VpcId: &g.vpc}}
	}
	if at+1 < len(arns) {
		out.NextMarker = aws.String(fmt.Sprint(at + 1))
	}
	return out, f.read("DescribeTargetGroups")
}

func (f *fleet) DescribeTargetHealth(_ context.Context, in *elb.DescribeTargetHealthInput, _ ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error) {
	f.world.lock.Lock()
	defer f.world.lock.Unlock()
	f.health++
	g, ok := f.targets[*in.TargetGroupArn]
	if !ok {
		return nil, &smithy.GenericAPIError{Code: "TargetGroupNotFound"}
	}
	out := &elb.DescribeTargetHealthOutput{}
	add := func(have string, state elbtypes.TargetHealthStateEnum) {
		d := described(have)
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, elbtypes.TargetHealthDescription{Target: &d, TargetHealth: &elbtypes.TargetHealth{State: state}})
	}
	for _, have := range g.have {
		add(have, elbtypes.TargetHealthStateEnumHealthy)
	}
	for key := range f.moving {
		if have, ok := strings.CutPrefix(key, *in.TargetGroupArn+" "); ok {
			add(have, elbtypes.TargetHealthStateEnumDraining)
		}
	}
	return out, f.read("DescribeTargetHealth")
}

// described reads <id>:<port>[ <zone>].
func described(have string) elbtypes.TargetDescription {
	at, zone, zoned := strings.Cut(have, " ")
	colon := strings.LastIndex(at, ":")
	var port int32
	fmt.Sscan(at[colon+1:], &port)
	d := elbtypes.TargetDescription{Id: aws.String(at[:colon]), Port: &port}
	if zoned {
		d.AvailabilityZone = &zone
	}
	return d
}

func (f *fleet) DescribeLoadBalancers(context.Context, *classic.DescribeLoadBalancersInput, ...func(*classic.Options)) (*classic.DescribeLoadBalancersOutput, error) {
	out := &classic.DescribeLoadBalancersOutput{}
	for n, have := range f.classics {
		b := classictypes.LoadBalancerDescription{LoadBalancerName: aws.String(n)}
		for _, id := range have {
			b.Instances = append(b.Instances, classictypes.Instance{InstanceId: aws.String(id)})
		}
		out.LoadBalancerDescriptions = append(out.LoadBalancerDescriptions, b)
	}
	return out, f.read("DescribeLoadBalancers")
}

// mover is a session that changes.
type mover struct {
	*fleet
	allow []account.Statement
}

func (m *mover) change(ctx context.Context, call, act, arn string, do func() error) error {
	return m.world.ec2.Change(ctx, call, func() error {
		if m.denied[call] || !slices.ContainsFunc(m.allow, func(s account.Statement) bool {
			return slices.Contains(s.Actions, act) && slices.ContainsFunc(s.Resources, func(r string) bool { return guard.Match(r, arn) })
		}) {
			return fmt.Errorf("%s on %s: %w", act, arn, &smithy.GenericAPIError{Code: "AccessDenied"})
		}
		return do()
	})
}

func (m *mover) scale(ctx context.Context, call string, do func() error) error {
	return m.change(ctx, call, "autoscaling:"+call, "arn:aws:autoscaling:us-east-1:222222222222:autoScalingGroup:2f0d0d6c:autoScalingGroupName/"+asg, do)
}

func invalid(message string) error {
	return &smithy.GenericAPIError{Code: "ValidationError", Message: message}
}

// out takes the instance out of the balancers of its group, as Auto Scaling does.
func (m *mover) out() {
	for _, arn := range m.attached {
		m.targets[arn].have = slices.DeleteFunc(m.targets[arn].have, func(have string) bool { return strings.HasPrefix(have, name+":") })
		m.moving[arn+" "+name+":80"] = true
	}
}

func (m *mover) back() {
	for _, arn := range m.attached {
		delete(m.moving, arn+" "+name+":80")
		m.targets[arn].have = append(m.targets[arn].have, name+":80")
	}
}

func (m *mover) EnterStandby(ctx context.Context, in *autoscaling.EnterStandbyInput, _ ...func(*autoscaling.Options)) (*autoscaling.EnterStandbyOutput, error) {
	return &autoscaling.EnterStandbyOutput{}, m.scale(ctx, "EnterStandby", func() error {
		switch {
		case m.state != "InService":
			return invalid("the instance is not in service")
		case *in.ShouldDecrementDesiredCapacity && m.desired <= m.min:
			return invalid("below the minimum")
		case *in.ShouldDecrementDesiredCapacity:
			m.desired--
		}
		m.state = "EnteringStandby"
		m.out()
		return nil
	})
}

func (m *mover) ExitStandby(ctx context.Context, in *autoscaling.ExitStandbyInput, _ ...func(*autoscaling.Options)) (*autoscaling.ExitStandbyOutput, error) {
	return &autoscaling.ExitStandbyOutput{}, m.scale(ctx, "ExitStandby", func() error {
		if m.desired >= m.max {
			return invalid("above the maximum")
		}
		m.desired++
		m.state = "Pending"
		m.back()
		m.state = "InService"
		return nil
	})
}

func (m *mover) DetachInstances(ctx context.Context, in *autoscaling.DetachInstancesInput, _ ...func(*autoscaling.Options)) (*autoscaling.DetachInstancesOutput, error) {
	return &autoscaling.DetachInstancesOutput{}, m.scale(ctx, "DetachInstances", func() error {
		if *in.ShouldDecrementDesiredCapacity {
			m.desired--
		}
		m.state = ""
		m.out()
		return nil
	})
}

func (m *mover) AttachInstances(ctx context.Context, in *autoscaling.AttachInstancesInput, _ ...func(*autoscaling.Options)) (*autoscaling.AttachInstancesOutput, error) {
	return &autoscaling.AttachInstancesOutput{}, m.scale(ctx, "AttachInstances", func() error {
		m.desired++
		m.state = "InService"
		m.back()
		return nil
	})
}

func written(d elbtypes.TargetDescription) string {
	out := fmt.Sprintf("%s:%d", *d.Id, *d.Port)
	if d.AvailabilityZone != nil {
		out += " " + *d.AvailabilityZone
	}
	return out
}

func (m *mover) RegisterTargets(ctx context.Context, in *elb.RegisterTargetsInput, _ ...func(*elb.Options)) (*elb.RegisterTargetsOutput, error) {
	return &elb.RegisterTargetsOutput{}, m.change(ctx, "RegisterTargets", "elasticloadbalancing:RegisterTargets", *in.TargetGroupArn, func() error {
		g := m.targets[*in.TargetGroupArn]
		for _, d := range in.Targets {
			delete(m.moving, *in.TargetGroupArn+" "+written(d))
			if !slices.Contains(g.have, written(d)) {
				g.have = append(g.have, written(d))
			}
		}
		return nil
	})
}

func (m *mover) DeregisterTargets(ctx context.Context, in *elb.DeregisterTargetsInput, _ ...func(*elb.Options)) (*elb.DeregisterTargetsOutput, error) {
	return &elb.DeregisterTargetsOutput{}, m.change(ctx, "DeregisterTargets", "elasticloadbalancing:DeregisterTargets", *in.TargetGroupArn, func() error {
		g := m.targets[*in.TargetGroupArn]
		for _, d := range in.Targets {
			if slices.Contains(g.have, written(d)) {
				m.moving[*in.TargetGroupArn+" "+written(d)] = true
			}
			g.have = slices.DeleteFunc(g.have, func(have string) bool { return have == written(d) })
		}
		return nil
	})
}

func (m *mover) RegisterInstancesWithLoadBalancer(ctx context.Context, in *classic.RegisterInstancesWithLoadBalancerInput, _ ...func(*classic.Options)) (*classic.RegisterInstancesWithLoadBalancerOutput, error) {
	return &classic.RegisterInstancesWithLoadBalancerOutput{}, m.change(ctx, "RegisterInstancesWithLoadBalancer", "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
		"arn:aws:elasticloadbalancing:us-east-1:222222222222:loadbalancer/"+*in.LoadBalancerName, func() error {
			m.classics[*in.LoadBalancerName] = append(m.classics[*in.LoadBalancerName], *in.Instances[0].InstanceId)
			return nil
		})
}

func (m *mover) DeregisterInstancesFromLoadBalancer(ctx context.Context, in *classic.DeregisterInstancesFromLoadBalancerInput, _ ...func(*classic.Options)) (*classic.DeregisterInstancesFromLoadBalancerOutput, error) {
	return &classic.DeregisterInstancesFromLoadBalancerOutput{}, m.change(ctx, "DeregisterInstancesFromLoadBalancer", "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
		"arn:aws:elasticloadbalancing:us-east-1:222222222222:loadbalancer/"+*in.LoadBalancerName, func() error {
			m.classics[*in.LoadBalancerName] = slices.DeleteFunc(m.classics[*in.LoadBalancerName], func(id string) bool { return id == *in.Instances[0].InstanceId })
			return nil
		})
}

// serving says where the instance still serves.
func (f *fleet) serving() []string {
	var out []string
	if f.state == "InService" {
		out = append(out, asg)
	}
	for arn, g := range f.targets {
		for _, have := range g.have {
			if strings.HasPrefix(have, name+":") || strings.HasPrefix(have, "10.0.0.7:") || strings.HasPrefix(have, "2001:db8::7:") {
				out = append(out, arn)
			}
		}
	}
	for n, have := range f.classics {
		if slices.Contains(have, name) {
			out = append(out, n)
		}
	}
	return out
}

func TestPlaceIsLeftBeforeTheNetworkIsCut(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	before := w.fleet.stands()
	got, err := w.do(incident.Apply)
	w.must(err)
	if serving := w.fleet.serving(); len(serving) > 0 || len(w.isolated()) > 0 || w.fleet.desired != 1 {
		t.Errorf("still serving %q, desired %d, %v", serving, w.fleet.desired, w.isolated())
	}
	for _, want := range []string{
		"scaling: clinic-web in service -> clinic-web standby", "loadbalancer/old: registered -> none",
		"targetgroup/api/73e2d6bc24d8a067 " + name + ":80: registered -> none", "targetgroup/admin/73e2d6bc24d8a068 10.0.0.7:8080 all: registered -> none",
	} {
		if !slices.Contains(got.Changes, want) {
			t.Errorf("changes %q lack %q", got.Changes, want)
		}
	}
	standby := slices.Index(w.ec2.Calls, "EnterStandby")
	cut := slices.IndexFunc(w.ec2.Calls, func(c string) bool { return strings.HasPrefix(c, "ModifyNetworkInterfaceAttribute") })
	if standby < 0 || cut < standby {
		t.Errorf("calls %q: Auto Scaling may end the instance before it is told", w.ec2.Calls)
	}
	calls := len(w.ec2.Calls)
	again, err := w.do(incident.Apply)
	w.must(err)
	if again.Outcome != incident.Already || len(w.ec2.Calls) != calls {
		t.Errorf("the second time is %s and changed %q", again.Outcome, w.ec2.Calls[calls:])
	}
	clear(w.fleet.moving) // drained
	restored, err := w.do(incident.Undo)
	w.must(err)
	if diff := cmp.Diff(before, w.fleet.stands()); restored.Outcome != incident.Restored || diff != "" {
		t.Errorf("undo is %s (-before +after):\n%s", restored.Outcome, diff)
	}
}

func TestAGroupAtItsMinimumStartsAnother(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	w.fleet.min = 2
	got, err := w.do(incident.Apply)
	w.must(err)
	if want := "Auto Scaling group clinic-web is at its minimum: it starts another instance in this one's place"; w.fleet.desired != 2 || !slices.Contains(got.Changes, want) {
		t.Errorf("desired %d, changes %q lack %q", w.fleet.desired, got.Changes, want)
	}
	w.fleet.max = 2
	if _, err := w.do(incident.Undo); err == nil || !strings.Contains(err.Error(), "raise it first") {
		t.Errorf("undo into a full group: %v", err)
	}
	w.fleet.max = 3
	if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored || w.fleet.state != "InService" {
		t.Errorf("undo: %+v, %v, state %s", got, err, w.fleet.state)
	}
}

func TestWhatCannotStandByIsDetached(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	w.fleet.state = "Pending:Wait"
	got, err := w.do(incident.Apply)
	w.must(err)
	if w.fleet.state != "" || !slices.ContainsFunc(got.Changes, func(l string) bool { return strings.HasPrefix(l, "detached from Auto Scaling group clinic-web") }) {
		t.Errorf("state %q, changes %q", w.fleet.state, got.Changes)
	}
	if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored || w.fleet.state != "InService" {
		t.Errorf("undo: %+v, %v, state %s", got, err, w.fleet.state)
	}
}

// What was done instead of standby is known as ours, also where the run that did it came to nothing: undo puts it back all the same.
func TestDetachedByARunThatFailed(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	w.fleet.state = "Pending:Wait"
	w.fleet.denied["DeregisterTargets"] = true
	if _, err := w.do(incident.Apply); !fault.Is(err, fault.Denied) || w.fleet.state != "" {
		t.Fatalf("%v, state %q", err, w.fleet.state)
	}
	w.fleet.denied["DeregisterTargets"] = false
	got, err := w.do(incident.Apply)
	w.must(err)
	if got.Outcome != incident.Applied || len(w.hold().Foreign) > 0 {
		t.Errorf("%+v, foreign %v", got, w.hold().Foreign)
	}
	if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored || w.fleet.state != "InService" {
		t.Errorf("undo: %+v, %v, state %q", got, err, w.fleet.state)
	}
}

func TestAnInstanceThatIsBeingEndedIsSaid(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	w.fleet.state = "Terminating:Wait"
	got, err := w.do(incident.Apply)
	w.must(err)
	if got.Outcome != incident.Applied || !slices.ContainsFunc(got.Changes, func(l string) bool { return strings.Contains(l, "is ending it already") }) {
		t.Errorf("%s, changes %q", got.Outcome, got.Changes)
	}
}

// What the role may not look at is said, and keeps nobody from cutting the network.
func TestAPlaceThatNobodyMaySee(t *testing.T) {
	for _, call := range []string{"DescribeAutoScalingInstances", "DescribeTargetGroups", "DescribeLoadBalancers"} {
		w := newWorld(t)
		w.fleet.in()
		w.ec2.AddInstance(name, "vol-0aaaaaaaaaaaaaaa1").Tags = []types.Tag{{Key: aws.String("aws:autoscaling:groupName"), Value: aws.String(asg)}}
		w.fleet.denied[call] = true
		got, err := w.do(incident.Apply)
		w.must(err)
		if len(w.isolated()) > 0 || !slices.ContainsFunc(got.Changes, func(l string) bool { return strings.HasPrefix(l, "not looked at") }) {
			t.Errorf("without %s: %v, changes %q", call, w.isolated(), got.Changes)
		}
		if told := slices.ContainsFunc(got.Changes, func(l string) bool { return strings.Contains(l, "detach it there") }); told != (call == "DescribeAutoScalingInstances") {
			t.Errorf("without %s: changes %q", call, got.Changes)
		}
	}
}

// Balancers that do not answer keep nobody from cutting the network; "contained" waits until they do.
func TestAPlaceThatDoesNotAnswer(t *testing.T) {
	for _, call := range []string{"DescribeAutoScalingInstances", "DescribeTargetHealth", "DescribeLoadBalancers"} {
		w := newWorld(t)
		w.fleet.in()
		before := w.fleet.stands()
		w.fleet.busy[call] = true
		_, err := w.do(incident.Apply)
		if !fault.Is(err, fault.Throttled) || len(w.isolated()) > 0 {
			t.Errorf("%s: %v, %v", call, err, w.isolated())
		}
		w.fleet.busy[call] = false
		got, err := w.do(incident.Apply)
		if err != nil || got.Outcome != incident.Applied || len(w.fleet.serving()) > 0 {
			t.Errorf("%s, again: %+v, %v, serving %q", call, got, err, w.fleet.serving())
		}
		w.fleet.busy[call] = true
		if _, err := w.do(incident.Undo); !fault.Is(err, fault.Throttled) {
			t.Errorf("%s, undo: %v", call, err)
		}
		w.fleet.busy[call] = false
		if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored {
			t.Errorf("%s, undo: %+v, %v", call, got, err)
		}
		if diff := cmp.Diff(before, w.fleet.stands()); diff != "" {
			t.Errorf("%s, undo (-before +after):\n%s", call, diff)
		}
	}
}

// What was not on record before the network was cut is not changed: undo could not give it back.
func TestAPlaceSeenLate(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	before := w.fleet.stands()
	w.fleet.busy["DescribeLoadBalancers"] = true
	w.ec2.Step = func(_ int, call string, _ bool) error {
		w.fleet.busy["DescribeLoadBalancers"] = false // from the first change on it answers
		return nil
	}
	if _, err := w.do(incident.Apply); !fault.Is(err, fault.Throttled) || len(w.isolated()) > 0 || cmp.Diff(before, w.fleet.stands()) != "" {
		t.Errorf("%v, %v, place %v", err, w.isolated(), w.fleet.stands())
	}
	w.ec2.Step = nil
	if got, err := w.do(incident.Apply); err != nil || got.Outcome != incident.Applied || len(w.fleet.serving()) > 0 {
		t.Errorf("again: %+v, %v", got, err)
	}
	if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored || cmp.Diff(before, w.fleet.stands()) != "" {
		t.Errorf("undo: %+v, %v, place %v", got, err, w.fleet.stands())
	}
}

// What fails in the place does not keep the network from being cut, and a redrive finishes it.
func TestAPlaceThatCannotBeLeft(t *testing.T) {
	for _, call := range []string{"EnterStandby", "DeregisterTargets", "DeregisterInstancesFromLoadBalancer"} {
		w := newWorld(t)
		w.fleet.in()
		before := w.fleet.stands()
		w.fleet.denied[call] = true
		_, err := w.do(incident.Apply)
		if !fault.Is(err, fault.Denied) || len(w.isolated()) > 0 {
			t.Errorf("without %s: %v, %v", call, err, w.isolated())
		}
		w.fleet.denied[call] = false
		got, err := w.do(incident.Apply)
		if err != nil || got.Outcome != incident.Applied || len(w.fleet.serving()) > 0 {
			t.Errorf("without %s, again: %+v, %v, serving %q", call, got, err, w.fleet.serving())
		}
		if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored {
			t.Errorf("without %s, undo: %+v, %v", call, got, err)
		}
		if diff := cmp.Diff(before, w.fleet.stands()); diff != "" {
			t.Errorf("without %s, undo (-before +after):\n%s", call, diff)
		}
	}
}

func TestRegisteredAgainIsDrifted(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	_, err := w.do(incident.Apply)
	w.must(err)
	w.fleet.classics["old"] = append(w.fleet.classics["old"], name)
	if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Drifted {
		t.Errorf("undo: %+v, %v", got, err)
	}
}

// Killed at every change of the place: the next run ends where an unbroken one ends, and undo gives the first state.
func TestPlaceKilledAnywhere(t *testing.T) {
	points := 0
	for point := 1; ; point++ {
		w := newWorld(t)
		w.fleet.in()
		before := w.fleet.stands()
		passed, killed := 0, ""
		w.ec2.Step = func(_ int, call string, done bool) error {
			if passed++; passed == point {
				killed, w.ec2.Dead = fmt.Sprintf("%s, done %v", call, done), true
			}
			if w.ec2.Dead {
				return fmt.Errorf("killed")
			}
			return nil
		}
		w.store.Fail = func(string, ledger.Key) error {
			if w.ec2.Dead {
				return fmt.Errorf("killed")
			}
			return nil
		}
		_, err := w.do(incident.Apply)
		w.ec2.Dead, w.ec2.Step, w.store.Fail = false, nil, nil
		if killed == "" {
			w.must(err)
			break
		}
		points++
		got, err := w.do(incident.Apply)
		if err != nil || got.Outcome != incident.Applied || len(w.fleet.serving()) > 0 || len(w.isolated()) > 0 || len(w.hold().Foreign) > 0 {
			t.Errorf("killed at %s, again: %+v, %v, serving %q, %v, foreign %v", killed, got, err, w.fleet.serving(), w.isolated(), w.hold().Foreign)
		}
		if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored {
			t.Errorf("killed at %s, undo: %+v, %v", killed, got, err)
		}
		if diff := cmp.Diff(before, w.fleet.stands()); diff != "" {
			t.Errorf("killed at %s, undo (-before +after):\n%s", killed, diff)
		}
	}
	if points < 30 {
		t.Errorf("only %d points tried", points)
	}
}

// A run looks several times, and searches all target groups once.
func TestTargetGroupsAreSearchedOnce(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	for n := range 50 {
		w.fleet.targets[fmt.Sprintf("%s%03d", api, n)] = &targets{kind: elbtypes.TargetTypeEnumInstance, vpc: vpc}
	}
	_, err := w.do(incident.Apply)
	w.must(err)
	if w.fleet.health > 52+20 {
		t.Errorf("%d looks at 52 target groups", w.fleet.health)
	}
}

// Many balancers do not fit into a session policy by name.
func TestManyBalancers(t *testing.T) {
	w := newWorld(t)
	w.fleet.in()
	for n := range 30 {
		w.fleet.targets[fmt.Sprintf("%s%03d", api, n)] = &targets{elbtypes.TargetTypeEnumInstance, vpc, []string{name + ":80", name + ":443"}}
		w.fleet.classics[fmt.Sprintf("old-%03d", n)] = []string{name}
	}
	before := w.fleet.stands()
	_, err := w.do(incident.Apply)
	w.must(err)
	if serving := w.fleet.serving(); len(serving) > 0 {
		t.Errorf("still serving %q", serving)
	}
	_, err = w.do(incident.Undo)
	w.must(err)
	if diff := cmp.Diff(before, w.fleet.stands()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// Any instance with 1 to 4 interfaces of 1 to 16 groups each, in any place: undo gives back the very same.
func TestApplyThenUndoIsEqual(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	for round := range 1000 {
		w := newWorld(t)
		w.ec2.AddInstance(name, []string{"vol-0aaaaaaaaaaaaaaa1", "vol-0aaaaaaaaaaaaaaa2", "vol-0aaaaaaaaaaaaaaa3"}[:1+random.IntN(3)]...)
		for n := range 16 {
			w.ec2.AddGroup(fmt.Sprintf("sg-1%016d", n), vpc, fmt.Sprintf("group %d", n), nil, "0.0.0.0/0")
			w.ec2.AddGroup(fmt.Sprintf("sg-2%016d", n), "vpc-2", fmt.Sprintf("group %d", n), nil, "10.0.0.0/8")
		}
		enis := []string{eni1, eni2, "eni-0aaaaaaaaaaaaaaa3", "eni-0aaaaaaaaaaaaaaa4"}[:2+random.IntN(3)]
		for _, eni := range enis {
			in, from := vpc, "sg-1%016d"
			if eni != eni1 && random.IntN(4) == 0 {
				in, from = "vpc-2", "sg-2%016d"
			}
			var groups []string
			for _, n := range random.Perm(16)[:1+random.IntN(16)] {
				groups = append(groups, fmt.Sprintf(from, n))
			}
			w.ec2.AddInterface(eni, name, in, groups...)
			w.ec2.Address(eni, fmt.Sprintf("10.0.%d.%d", round%200, random.IntN(200)), "2001:db8::"+fmt.Sprint(random.IntN(9000)))
		}
		if random.IntN(2) == 0 {
			w.fleet.in()
			w.fleet.min = int32(random.IntN(2))
			w.fleet.state = []string{"", "InService", "InService", "Standby"}[random.IntN(4)]
			if w.fleet.state != "InService" {
				w.fleet.attached = nil
			}
		}
		worn := map[string][]string{}
		for _, eni := range enis {
			worn[eni] = slices.Sorted(slices.Values(w.ec2.Worn(eni)))
		}
		before := w.fleet.stands()
		got, err := w.do(incident.Apply)
		w.must(err)
		if got.Outcome != incident.Applied || len(w.fleet.serving()) > 0 || slices.ContainsFunc(enis, w.ec2.Open) {
			t.Fatalf("round %d: %+v, serving %q", round, got, w.fleet.serving())
		}
		if round%2 == 0 {
			clear(w.fleet.moving)
		}
		if got, err := w.do(incident.Undo); err != nil || got.Outcome != incident.Restored {
			t.Fatalf("round %d: undo %+v, %v", round, got, err)
		}
		after := map[string][]string{}
		for _, eni := range enis {
			after[eni] = slices.Sorted(slices.Values(w.ec2.Worn(eni)))
		}
		if diff := cmp.Diff(worn, after) + cmp.Diff(before, w.fleet.stands()); diff != "" {
			t.Fatalf("round %d (-before +after):\n%s", round, diff)
		}
	}
}

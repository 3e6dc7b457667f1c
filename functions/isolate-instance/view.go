package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"firebreak/lib/account"
	"firebreak/lib/action"
	"firebreak/lib/fault"
	"firebreak/lib/instance"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// noRules ends the value of eni-…/groups when every group of the interface was read to be an isolation group without rules.
const noRules = " (no rules)"

// view is an instance as it was read: more than the owned state, for Apply and Restore.
type view struct {
	call       action.Call
	api        reads
	instance   types.Instance
	interfaces []iface
	groups     map[string]types.SecurityGroup
}

type iface struct {
	id, vpc   string
	groups    []string // sorted
	addresses []string // private IPv4 and IPv6
}

// look reads the instance, its interfaces and their groups. An interface that the instance names and AWS does not list yet (or
// any more) is an error worth a retry: passing over it would call the instance isolated too soon.
func (i isolation) look(ctx context.Context, c action.Call) (*view, error) {
	api, err := i.reads(ctx, c)
	if err != nil {
		return nil, err
	}
	v := &view{call: c, api: api, groups: map[string]types.SecurityGroup{}}
	if v.instance, err = instance.Read(ctx, api, c.Target); err != nil {
		return nil, err
	}
	out, err := api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{c.Target.Name()}}},
	})
	if err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	var ids []string
	for _, n := range out.NetworkInterfaces {
		f := iface{id: aws.ToString(n.NetworkInterfaceId), vpc: aws.ToString(n.VpcId)}
		for _, g := range n.Groups {
			f.groups = append(f.groups, aws.ToString(g.GroupId))
		}
		for _, a := range n.PrivateIpAddresses {
			f.addresses = append(f.addresses, aws.ToString(a.PrivateIpAddress))
		}
		for _, a := range n.Ipv6Addresses {
			f.addresses = append(f.addresses, aws.ToString(a.Ipv6Address))
		}
		slices.Sort(f.groups)
		ids = append(ids, f.groups...)
		v.interfaces = append(v.interfaces, f)
	}
	for _, n := range v.instance.NetworkInterfaces {
		if id := aws.ToString(n.NetworkInterfaceId); !slices.ContainsFunc(v.interfaces, func(f iface) bool { return f.id == id }) {
			return nil, fault.New(fault.Throttled, "%s is attached to %s, but AWS does not list it: look again", id, c.Target.Name())
		}
	}
	if len(v.interfaces) == 0 { // each has one that nobody can detach
		return nil, fault.New(fault.Throttled, "AWS lists no interface of %s: look again", c.Target.Name())
	}
	if len(ids) > 0 {
		slices.Sort(ids)
		found, err := groups(ctx, api, "group-id", slices.Compact(ids))
		if err != nil {
			return nil, err
		}
		for _, g := range found {
			v.groups[aws.ToString(g.GroupId)] = g
		}
	}
	return v, nil
}

// all tells whether f has groups and each of them is as test says.
func (v *view) all(f iface, test func(types.SecurityGroup, string) bool) bool {
	return len(f.groups) > 0 && !slices.ContainsFunc(f.groups, func(id string) bool { return !test(v.groups[id], v.call.Target.Account) })
}

// show gives the value of eni-…/groups. An interface that wears only groups of ours, but not as isolation needs them (in the
// first step of a cut, or somebody has put rules into the isolation group), has none: its own groups are on record, and
// nothing must take the place of that record.
func (v *view) show(f iface) (string, bool) {
	if v.all(f, isolating.is) {
		return strings.Join(f.groups, ",") + noRules, true
	}
	ours := func(g types.SecurityGroup, owner string) bool {
		return isolating.ours(g, owner) || transit.ours(g, owner)
	}
	return strings.Join(f.groups, ","), !v.all(f, ours)
}

// isolated tells whether every interface wears only isolation groups.
func (v *view) isolated() bool {
	return !slices.ContainsFunc(v.interfaces, func(f iface) bool { return !v.all(f, isolating.is) })
}

func (v *view) tags() map[string]string {
	tags := map[string]string{}
	for _, t := range v.instance.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

// state gives the owned state.
func (v *view) state(ctx context.Context) (action.State, error) {
	s := action.State{}
	for _, f := range v.interfaces {
		s[f.id+"/vpc"] = f.vpc
		if shown, ok := v.show(f); ok {
			s[f.id+"/groups"] = shown
		}
	}
	for _, m := range v.instance.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.VolumeId != nil {
			s[*m.Ebs.VolumeId+"/deleteOnTermination"] = strconv.FormatBool(aws.ToBool(m.Ebs.DeleteOnTermination))
		}
	}
	if v.instance.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
		return s, nil // Spot instances have no termination protection, and their request says what an interruption does
	}
	protected, err := v.attribute(ctx, types.InstanceAttributeNameDisableApiTermination)
	if err != nil {
		return nil, err
	}
	s["disableApiTermination"] = strconv.FormatBool(protected.DisableApiTermination != nil && aws.ToBool(protected.DisableApiTermination.Value))
	if v.instance.RootDeviceType == types.DeviceTypeInstanceStore {
		return s, nil // cannot be stopped
	}
	shutdown, err := v.attribute(ctx, types.InstanceAttributeNameInstanceInitiatedShutdownBehavior)
	if err != nil {
		return nil, err
	}
	s["shutdownBehavior"] = "stop" // AWS: the default
	if b := shutdown.InstanceInitiatedShutdownBehavior; b != nil {
		s["shutdownBehavior"] = aws.ToString(b.Value)
	}
	return s, nil
}

func (v *view) attribute(ctx context.Context, name types.InstanceAttributeName) (*ec2.DescribeInstanceAttributeOutput, error) {
	out, err := v.api.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: v.instance.InstanceId, Attribute: name})
	if instance.Code(err) == "InvalidInstanceID.NotFound" {
		return nil, action.ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return out, nil
}

// members takes a value of eni-…/groups apart.
func members(value string) []string {
	if value = strings.TrimSuffix(value, noRules); value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

// allow narrows the session to this instance, its volumes and interfaces. The groups stay open within the account: a session
// policy has no room for the sixteen that an interface may have.
func (v *view) allow() []account.Statement {
	t := v.call.Target
	in := instance.ARN(t, "instance", t.Name())
	attributes, interfaces := []string{in}, []string{in, instance.ARN(t, "security-group", "*")}
	for _, id := range instance.Volumes(v.instance) {
		attributes = append(attributes, instance.ARN(t, "volume", id))
	}
	for _, f := range v.interfaces {
		interfaces = append(interfaces, instance.ARN(t, "network-interface", f.id))
	}
	const room = 8 // of each, below the 2,048 characters of a session policy
	if len(attributes) > room {
		attributes = []string{in, instance.ARN(t, "volume", "*")}
	}
	if len(interfaces) > room {
		interfaces = []string{in, instance.ARN(t, "security-group", "*"), instance.ARN(t, "network-interface", "*")}
	}
	return []account.Statement{
		{Actions: []string{"ec2:ModifyInstanceAttribute"}, Resources: attributes},
		{Actions: []string{"ec2:ModifyNetworkInterfaceAttribute"}, Resources: interfaces},
	}
}

// attributes sets those that differ; AWS takes one kind a call.
func (v *view) attributes(ctx context.Context, api changes, now, want action.State) error {
	var calls []*ec2.ModifyInstanceAttributeInput
	differs := func(field string) bool {
		w, wanted := want[field]
		n, known := now[field]
		return wanted && known && w != n
	}
	if differs("disableApiTermination") {
		calls = append(calls, &ec2.ModifyInstanceAttributeInput{DisableApiTermination: boolean(want["disableApiTermination"])})
	}
	if differs("shutdownBehavior") {
		calls = append(calls, &ec2.ModifyInstanceAttributeInput{InstanceInitiatedShutdownBehavior: &types.AttributeValue{Value: aws.String(want["shutdownBehavior"])}})
	}
	var devices []types.InstanceBlockDeviceMappingSpecification
	for _, m := range v.instance.BlockDeviceMappings {
		if m.Ebs == nil || !differs(aws.ToString(m.Ebs.VolumeId)+"/deleteOnTermination") {
			continue
		}
		keep := boolean(want[*m.Ebs.VolumeId+"/deleteOnTermination"]).Value
		devices = append(devices, types.InstanceBlockDeviceMappingSpecification{
			DeviceName: m.DeviceName, Ebs: &types.EbsInstanceBlockDeviceSpecification{VolumeId: m.Ebs.VolumeId, DeleteOnTermination: keep},
		})
	}
	if len(devices) > 0 {
		calls = append(calls, &ec2.ModifyInstanceAttributeInput{BlockDeviceMappings: devices})
	}
	var failed error
	for _, in := range calls {
		in.InstanceId = v.instance.InstanceId
		if _, err := api.ModifyInstanceAttribute(ctx, in); err != nil {
			failed = errors.Join(failed, fmt.Errorf("set attributes of %s: %w", *in.InstanceId, err))
		}
	}
	return failed
}

func boolean(s string) *types.AttributeBooleanValue {
	b, _ := strconv.ParseBool(s)
	return &types.AttributeBooleanValue{Value: &b}
}

// regroup gives each interface its groups of before, and goes on with the next where one fails.
func (v *view) regroup(ctx context.Context, api changes, before action.State) error {
	var failed error
	for _, f := range v.interfaces {
		want := members(before[f.id+"/groups"])
		switch _, others := v.show(f); {
		case want == nil && (!others || v.all(f, isolating.is)):
			failed = errors.Join(failed, fault.New(fault.NotVerified, "%s wears Firebreak's groups, and what it wore before is not on record: set its groups by hand", f.id))
		case want != nil && !slices.Equal(f.groups, want):
			failed = errors.Join(failed, wear(ctx, api, f, want))
		}
	}
	return failed
}

// errNoGroup says that a group does not exist (any more).
var errNoGroup = errors.New("one of the groups does not exist")

// wear gives an interface exactly these groups. What was detached and deleted meanwhile needs none.
func wear(ctx context.Context, api changes, f iface, groups []string) error {
	_, err := api.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &f.id, Groups: groups})
	switch code := instance.Code(err); {
	case err == nil, code == "InvalidNetworkInterfaceID.NotFound":
		return nil
	case strings.HasPrefix(code, "InvalidGroup"), strings.HasPrefix(code, "InvalidSecurityGroupID"):
		err = fmt.Errorf("%w: %w", errNoGroup, err)
	}
	return fmt.Errorf("give %s the groups %s: %w", f.id, strings.Join(groups, ","), err)
}

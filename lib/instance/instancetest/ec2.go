// Package instancetest has an EC2 in memory for tests: it honours state, session policies and the errors that AWS answers, and
// it lets a test step in at every changing call.
package instancetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/lib/account"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// The account and region of every resource.
const (
	Account = "222222222222"
	Region  = "us-east-1"
)

// EC2 of one account and region.
type EC2 struct {
	mu         sync.Mutex
	instances  map[string]*types.Instance
	attributes map[string]*attributes
	interfaces map[string]*types.NetworkInterface
	groups     map[string]*types.SecurityGroup
	snapshots  map[string]*types.Snapshot
	made       int

	// Calls are the changing calls that took effect, in order.
	Calls []string
	// Step, where set, is asked before (done false) and after (done true) each changing call; n counts them from 1. An error
	// is what the caller gets; before the call it keeps it from taking effect.
	Step func(n int, call string, done bool) error
	n    int
	// Dead fails everything, as for a function that was killed.
	Dead bool
	// Denied are IAM actions that the role does not have.
	Denied map[string]bool
}

type attributes struct {
	protected bool
	shutdown  string
}

// New gives an empty EC2.
func New() *EC2 {
	return &EC2{instances: map[string]*types.Instance{}, attributes: map[string]*attributes{}, interfaces: map[string]*types.NetworkInterface{},
		groups: map[string]*types.SecurityGroup{}, snapshots: map[string]*types.Snapshot{}, Denied: map[string]bool{}}
}

// ErrDead is what a killed function's calls answer.
var ErrDead = errors.New("the function was killed")

// fail answers as AWS does.
func fail(code string) error { return &smithy.GenericAPIError{Code: code, Message: code} }

// AddInstance makes a running instance with those EBS volumes, the first of them its root.
func (e *EC2) AddInstance(id string, volumes ...string) *types.Instance {
	in := &types.Instance{
		InstanceId: &id, State: &types.InstanceState{Name: types.InstanceStateNameRunning}, RootDeviceName: aws.String("/dev/sda"),
		RootDeviceType: types.DeviceTypeEbs, LaunchTime: aws.Time(time.Date(2026, 3, 2, 8, 15, 4, 0, time.UTC)),
	}
	for n, v := range volumes {
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.InstanceBlockDeviceMapping{
			DeviceName: aws.String("/dev/sd" + string(rune('a'+n))), Ebs: &types.EbsInstanceBlockDevice{VolumeId: &v, DeleteOnTermination: aws.Bool(true)},
		})
	}
	e.instances[id], e.attributes[id] = in, &attributes{shutdown: "terminate"}
	return in
}

// AddInterface attaches an interface.
func (e *EC2) AddInterface(id, instance, vpc string, groups ...string) {
	n := &types.NetworkInterface{NetworkInterfaceId: &id, VpcId: &vpc, Attachment: &types.NetworkInterfaceAttachment{InstanceId: &instance}}
	for _, g := range groups {
		n.Groups = append(n.Groups, types.GroupIdentifier{GroupId: aws.String(g)})
	}
	e.interfaces[id] = n
}

// AddGroup makes a security group; ingress are IPv4 ranges let in on every port.
func (e *EC2) AddGroup(id, vpc, name string, tags map[string]string, ingress ...string) *types.SecurityGroup {
	g := &types.SecurityGroup{GroupId: &id, VpcId: &vpc, GroupName: &name, OwnerId: aws.String(Account), IpPermissionsEgress: Everything("0.0.0.0/0")}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		g.Tags = append(g.Tags, types.Tag{Key: &k, Value: aws.String(tags[k])})
	}
	for _, cidr := range ingress {
		g.IpPermissions = append(g.IpPermissions, Everything(cidr)...)
	}
	e.groups[id] = g
	return g
}

// Everything is a rule for all traffic with an IPv4 range.
func Everything(cidr string) []types.IpPermission {
	return []types.IpPermission{{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: &cidr}}}}
}

// Wear gives an interface groups as anybody with the permission could.
func (e *EC2) Wear(eni string, groups ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wear(eni, groups)
}

func (e *EC2) wear(eni string, groups []string) {
	n := *e.interfaces[eni]
	n.Groups = nil
	for _, g := range groups {
		n.Groups = append(n.Groups, types.GroupIdentifier{GroupId: aws.String(g)})
	}
	e.interfaces[eni] = &n
}

// Worn are the groups of an interface.
func (e *EC2) Worn(eni string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.worn(eni)
}

func (e *EC2) worn(eni string) []string {
	var out []string
	for _, g := range e.interfaces[eni].Groups {
		out = append(out, *g.GroupId)
	}
	return out
}

// Open tells whether an interface lets anything through at all.
func (e *EC2) Open(eni string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.worn(eni), func(id string) bool {
		return len(e.groups[id].IpPermissions)+len(e.groups[id].IpPermissionsEgress) > 0
	})
}

// Group gives a group to look at or to tamper with, nil where there is none. Groups lists their ids.
func (e *EC2) Group(id string) *types.SecurityGroup { return e.groups[id] }

// Groups lists the ids of all groups.
func (e *EC2) Groups() []string { return slices.Sorted(maps.Keys(e.groups)) }

// Delete removes a group as AWS would, only while no interface wears it.
func (e *EC2) Delete(group string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.interfaces {
		if slices.Contains(e.worn(id), group) {
			return
		}
	}
	delete(e.groups, group)
}

// Snapshots lists all, by id.
func (e *EC2) Snapshots() []*types.Snapshot {
	var out []*types.Snapshot
	for _, id := range slices.Sorted(maps.Keys(e.snapshots)) {
		out = append(out, e.snapshots[id])
	}
	return out
}

// AddSnapshot takes a snapshot of a volume, as completed.
func (e *EC2) AddSnapshot(id, volume string, start time.Time, tags map[string]string) *types.Snapshot {
	s := &types.Snapshot{SnapshotId: &id, VolumeId: &volume, StartTime: &start, State: types.SnapshotStateCompleted, OwnerId: aws.String(Account), Progress: aws.String("100%")}
	for k, v := range tags {
		s.Tags = append(s.Tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	e.snapshots[id] = s
	return s
}

// DropInterfaces has no interface listed any more.
func (e *EC2) DropInterfaces() { clear(e.interfaces) }

// DropSnapshot removes a snapshot.
func (e *EC2) DropSnapshot(id string) { delete(e.snapshots, id) }

// Protected tells whether termination protection is on.
func (e *EC2) Protected(instance string) bool { return e.attributes[instance].protected }

// Session gives the clients of one session: what its policy does not allow is denied.
func (e *EC2) Session(allow ...account.Statement) *Session { return &Session{e, allow} }

// Session is a client within a session policy.
type Session struct {
	*EC2
	allow []account.Statement
}

func (s *Session) may(act string, kinds ...string) error {
	if s.Denied[act] {
		return fail("UnauthorizedOperation")
	}
	for _, k := range kinds {
		owner := Account
		if strings.HasPrefix(k, "snapshot/") {
			owner = ""
		}
		arn := fmt.Sprintf("arn:aws:ec2:%s:%s:%s", Region, owner, k)
		if !slices.ContainsFunc(s.allow, func(st account.Statement) bool {
			return slices.Contains(st.Actions, act) && slices.ContainsFunc(st.Resources, func(r string) bool {
				ok, _ := path.Match(strings.ReplaceAll(r, ":", "/"), strings.ReplaceAll(arn, ":", "/"))
				return r == "*" || ok
			})
		}) {
			return fmt.Errorf("%s on %s: %w", act, arn, fail("UnauthorizedOperation"))
		}
	}
	return nil
}

// change runs one changing call.
func (s *Session) change(ctx context.Context, call string, do func() error) error {
	s.mu.Lock()
	if err := s.answers(ctx); err != nil {
		s.mu.Unlock()
		return err
	}
	s.n++
	n, step := s.n, s.Step
	s.mu.Unlock()
	if step != nil {
		if err := step(n, call, false); err != nil {
			return err
		}
	}
	s.mu.Lock()
	err := do()
	if err == nil {
		s.EC2.Calls = append(s.EC2.Calls, call)
	}
	s.mu.Unlock()
	if err == nil && step != nil {
		return step(n, call, true)
	}
	return err
}

// answers: nobody who was killed or whose time is up is answered.
func (s *Session) answers(ctx context.Context) error {
	if s.Dead {
		return ErrDead
	}
	return ctx.Err()
}

func (s *Session) read(ctx context.Context, act string) error {
	if err := s.answers(ctx); err != nil {
		return err
	}
	return s.may("ec2:"+act, "any/any")
}

func (s *Session) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(ctx, "DescribeInstances"); err != nil {
		return nil, err
	}
	i := s.instances[in.InstanceIds[0]]
	if i == nil {
		return nil, fail("InvalidInstanceID.NotFound")
	}
	out := *i
	for _, id := range slices.Sorted(maps.Keys(s.interfaces)) {
		if *s.interfaces[id].Attachment.InstanceId == *i.InstanceId {
			out.NetworkInterfaces = append(out.NetworkInterfaces, types.InstanceNetworkInterface{NetworkInterfaceId: aws.String(id)})
		}
	}
	out.BlockDeviceMappings = slices.Clone(i.BlockDeviceMappings)
	return &ec2.DescribeInstancesOutput{Reservations: []types.Reservation{{Instances: []types.Instance{out}}}}, nil
}

func (s *Session) DescribeInstanceAttribute(ctx context.Context, in *ec2.DescribeInstanceAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceAttributeOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(ctx, "DescribeInstanceAttribute"); err != nil {
		return nil, err
	}
	a := s.attributes[*in.InstanceId]
	if a == nil {
		return nil, fail("InvalidInstanceID.NotFound")
	}
	return &ec2.DescribeInstanceAttributeOutput{
		DisableApiTermination:             &types.AttributeBooleanValue{Value: aws.Bool(a.protected)},
		InstanceInitiatedShutdownBehavior: &types.AttributeValue{Value: aws.String(a.shutdown)},
	}, nil
}

func (s *Session) DescribeNetworkInterfaces(ctx context.Context, in *ec2.DescribeNetworkInterfacesInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(ctx, "DescribeNetworkInterfaces"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeNetworkInterfacesOutput{}
	for _, id := range slices.Sorted(maps.Keys(s.interfaces)) {
		if n := s.interfaces[id]; passes(in.Filters, map[string][]string{"attachment.instance-id": {*n.Attachment.InstanceId}}) {
			out.NetworkInterfaces = append(out.NetworkInterfaces, *n)
		}
	}
	return out, nil
}

func (s *Session) DescribeSecurityGroups(ctx context.Context, in *ec2.DescribeSecurityGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(ctx, "DescribeSecurityGroups"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeSecurityGroupsOutput{}
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[id]
		has := map[string][]string{"vpc-id": {*g.VpcId}, "group-name": {*g.GroupName}, "group-id": {id}}
		for _, t := range g.Tags {
			has["tag:"+*t.Key] = []string{*t.Value}
		}
		if passes(in.Filters, has) {
			out.SecurityGroups = append(out.SecurityGroups, *g)
		}
	}
	return out, nil
}

func (s *Session) DescribeSnapshots(ctx context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(ctx, "DescribeSnapshots"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeSnapshotsOutput{}
	for _, id := range slices.Sorted(maps.Keys(s.snapshots)) {
		n := s.snapshots[id]
		has := map[string][]string{"volume-id": {*n.VolumeId}, "snapshot-id": {id}}
		for _, t := range n.Tags {
			has["tag:"+*t.Key] = []string{*t.Value}
			has["tag-key"] = append(has["tag-key"], *t.Key)
		}
		if passes(in.Filters, has) {
			out.Snapshots = append(out.Snapshots, *n)
		}
	}
	return out, nil
}

func passes(filters []types.Filter, has map[string][]string) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.Values, func(v string) bool { return slices.Contains(has[*f.Name], v) }) {
			return false
		}
	}
	return true
}

func (s *Session) ModifyInstanceAttribute(ctx context.Context, in *ec2.ModifyInstanceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyInstanceAttributeOutput, error) {
	id := *in.InstanceId
	return &ec2.ModifyInstanceAttributeOutput{}, s.change(ctx, "ModifyInstanceAttribute "+id, func() error {
		needs := []string{"instance/" + id}
		for _, m := range in.BlockDeviceMappings {
			needs = append(needs, "volume/"+*m.Ebs.VolumeId)
		}
		if err := s.may("ec2:ModifyInstanceAttribute", needs...); err != nil {
			return err
		}
		old, a := s.instances[id], s.attributes[id]
		if old == nil {
			return fail("InvalidInstanceID.NotFound")
		}
		i := *old
		i.BlockDeviceMappings = slices.Clone(old.BlockDeviceMappings)
		set := 0
		if v := in.DisableApiTermination; v != nil {
			if i.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
				return fail("UnsupportedOperation")
			}
			a.protected = *v.Value
			set++
		}
		if v := in.InstanceInitiatedShutdownBehavior; v != nil {
			a.shutdown = *v.Value
			set++
		}
		if in.BlockDeviceMappings != nil {
			set++
		}
		for _, m := range in.BlockDeviceMappings {
			for n, have := range i.BlockDeviceMappings {
				if *have.DeviceName == *m.DeviceName {
					i.BlockDeviceMappings[n].Ebs = &types.EbsInstanceBlockDevice{VolumeId: have.Ebs.VolumeId, DeleteOnTermination: m.Ebs.DeleteOnTermination}
				}
			}
		}
		if set != 1 {
			return fail("InvalidParameterCombination") // one attribute at a time
		}
		s.instances[id] = &i
		return nil
	})
}

func (s *Session) ModifyNetworkInterfaceAttribute(ctx context.Context, in *ec2.ModifyNetworkInterfaceAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
	id := *in.NetworkInterfaceId
	return &ec2.ModifyNetworkInterfaceAttributeOutput{}, s.change(ctx, "ModifyNetworkInterfaceAttribute "+id+" "+strings.Join(in.Groups, ","), func() error {
		needs := []string{"network-interface/" + id}
		for _, g := range in.Groups {
			needs = append(needs, "security-group/"+g)
		}
		if err := s.may("ec2:ModifyNetworkInterfaceAttribute", needs...); err != nil {
			return err
		}
		n := s.interfaces[id]
		if n == nil {
			return fail("InvalidNetworkInterfaceID.NotFound")
		}
		for _, g := range in.Groups {
			if s.groups[g] == nil || *s.groups[g].VpcId != *n.VpcId {
				return fail("InvalidGroup.NotFound")
			}
		}
		s.wear(id, in.Groups)
		return nil
	})
}

func (s *Session) CreateSecurityGroup(ctx context.Context, in *ec2.CreateSecurityGroupInput, _ ...func(*ec2.Options)) (*ec2.CreateSecurityGroupOutput, error) {
	var id string
	err := s.change(ctx, "CreateSecurityGroup "+*in.GroupName+" "+*in.VpcId, func() error {
		if err := errors.Join(s.may("ec2:CreateSecurityGroup", "vpc/"+*in.VpcId, "security-group/new"), s.may("ec2:CreateTags", "security-group/new")); err != nil {
			return err
		}
		for _, g := range s.groups {
			if *g.GroupName == *in.GroupName && *g.VpcId == *in.VpcId {
				return fail("InvalidGroup.Duplicate")
			}
		}
		s.made++
		id = fmt.Sprintf("sg-0f%015d", s.made)
		s.groups[id] = &types.SecurityGroup{GroupId: &id, VpcId: in.VpcId, GroupName: in.GroupName, OwnerId: aws.String(Account), Tags: in.TagSpecifications[0].Tags,
			IpPermissionsEgress: append(Everything("0.0.0.0/0"), types.IpPermission{IpProtocol: aws.String("-1"), Ipv6Ranges: []types.Ipv6Range{{CidrIpv6: aws.String("::/0")}}})}
		return nil
	})
	return &ec2.CreateSecurityGroupOutput{GroupId: &id}, err
}

func (s *Session) rule(ctx context.Context, call, group string, list func(*types.SecurityGroup) *[]types.IpPermission, add bool, ps []types.IpPermission) error {
	return s.change(ctx, call+" "+group, func() error {
		if err := s.may("ec2:"+call, "security-group/"+group); err != nil {
			return err
		}
		old := s.groups[group]
		if old == nil {
			return fail("InvalidGroup.NotFound")
		}
		g := *old
		have := slices.Clone(*list(&g))
		for _, p := range ps {
			at := slices.IndexFunc(have, func(h types.IpPermission) bool { return side(h) == side(p) && *h.IpProtocol == *p.IpProtocol })
			switch {
			case add && at >= 0:
				return fail("InvalidPermission.Duplicate")
			case add:
				have = append(have, p)
			case at < 0:
				return fail("InvalidPermission.NotFound")
			default:
				have = slices.Delete(have, at, at+1)
			}
		}
		*list(&g) = have
		s.groups[group] = &g
		return nil
	})
}

func side(p types.IpPermission) string {
	if len(p.IpRanges) > 0 {
		return *p.IpRanges[0].CidrIp
	}
	return *p.Ipv6Ranges[0].CidrIpv6
}

func ingress(g *types.SecurityGroup) *[]types.IpPermission { return &g.IpPermissions }
func egress(g *types.SecurityGroup) *[]types.IpPermission  { return &g.IpPermissionsEgress }

func (s *Session) AuthorizeSecurityGroupIngress(ctx context.Context, in *ec2.AuthorizeSecurityGroupIngressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	return &ec2.AuthorizeSecurityGroupIngressOutput{}, s.rule(ctx, "AuthorizeSecurityGroupIngress", *in.GroupId, ingress, true, in.IpPermissions)
}

func (s *Session) AuthorizeSecurityGroupEgress(ctx context.Context, in *ec2.AuthorizeSecurityGroupEgressInput, _ ...func(*ec2.Options)) (*ec2.AuthorizeSecurityGroupEgressOutput, error) {
	return &ec2.AuthorizeSecurityGroupEgressOutput{}, s.rule(ctx, "AuthorizeSecurityGroupEgress", *in.GroupId, egress, true, in.IpPermissions)
}

func (s *Session) RevokeSecurityGroupEgress(ctx context.Context, in *ec2.RevokeSecurityGroupEgressInput, _ ...func(*ec2.Options)) (*ec2.RevokeSecurityGroupEgressOutput, error) {
	return &ec2.RevokeSecurityGroupEgressOutput{}, s.rule(ctx, "RevokeSecurityGroupEgress", *in.GroupId, egress, false, in.IpPermissions)
}

func (s *Session) CreateSnapshots(ctx context.Context, in *ec2.CreateSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.CreateSnapshotsOutput, error) {
	spec := in.InstanceSpecification
	return &ec2.CreateSnapshotsOutput{}, s.change(ctx, "CreateSnapshots "+*spec.InstanceId, func() error {
		i := s.instances[*spec.InstanceId]
		if i == nil {
			return fail("InvalidInstanceID.NotFound")
		}
		needs, volumes := []string{"instance/" + *spec.InstanceId, "snapshot/new"}, []string{}
		for _, m := range i.BlockDeviceMappings {
			root := *m.DeviceName == *i.RootDeviceName
			if v := *m.Ebs.VolumeId; !(root && aws.ToBool(spec.ExcludeBootVolume)) && !slices.Contains(spec.ExcludeDataVolumeIds, v) {
				needs, volumes = append(needs, "volume/"+v), append(volumes, v)
			}
		}
		if err := errors.Join(s.may("ec2:CreateSnapshots", needs...), s.may("ec2:CreateTags", "snapshot/new")); err != nil {
			return err
		}
		for _, v := range volumes {
			s.made++
			n := s.AddSnapshot(fmt.Sprintf("snap-0f%015d", s.made), v, time.Now().Truncate(time.Second), nil)
			n.State, n.Progress, n.Tags = types.SnapshotStatePending, aws.String("40%"), in.TagSpecifications[0].Tags
		}
		return nil
	})
}

func (s *Session) TerminateInstances(ctx context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	id := in.InstanceIds[0]
	return &ec2.TerminateInstancesOutput{}, s.change(ctx, "TerminateInstances "+id, func() error {
		if err := s.may("ec2:TerminateInstances", "instance/"+id); err != nil {
			return err
		}
		i := s.instances[id]
		switch {
		case i == nil:
			return fail("InvalidInstanceID.NotFound")
		case s.attributes[id].protected:
			return fail("OperationNotPermitted")
		}
		ended := *i
		ended.State = &types.InstanceState{Name: types.InstanceStateNameShuttingDown}
		s.instances[id] = &ended
		return nil
	})
}

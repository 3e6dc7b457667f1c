package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Member is the member account, seen by its own root: the owner of the resources, and at times the attacker.
type Member struct {
	EC2    *ec2.Client
	IAM    *iam.Client
	S3     *s3.Client
	Events *eventbridge.Client

	mu      sync.Mutex
	network *network
}

// Member gives the member account.
func (p *Platform) Member() *Member {
	cfg := p.Config(MemberAccount)
	return &Member{
		EC2: ec2.NewFromConfig(cfg), IAM: iam.NewFromConfig(cfg), Events: eventbridge.NewFromConfig(cfg),
		S3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
	}
}

type network struct{ vpc, front, back, web, admin string }

// Instance is an instance with two interfaces and two volumes.
type Instance struct {
	ID, Name, ARN string
	// Interfaces are the ids of the network interfaces, Volumes of the volumes.
	Interfaces, Volumes []string
	// Role and Profile are in use by it; empty where it has none.
	Role, Profile string
	VPC           string
	Launched      string
}

// web, admin and two subnets with IPv6: made once.
func (m *Member) net(ctx context.Context) (*network, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.network != nil {
		return m.network, nil
	}
	vpc, err := m.EC2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), AmazonProvidedIpv6CidrBlock: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	n := &network{vpc: aws.ToString(vpc.Vpc.VpcId)}
	six := ""
	for _, a := range vpc.Vpc.Ipv6CidrBlockAssociationSet {
		six = strings.TrimSuffix(aws.ToString(a.Ipv6CidrBlock), "00::/56")
	}
	for i, id := range []*string{&n.front, &n.back} {
		in := &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", i*16))}
		if six != "" {
			in.Ipv6CidrBlock = aws.String(fmt.Sprintf("%s%02d::/64", six, i))
		}
		sub, err := m.EC2.CreateSubnet(ctx, in)
		if err != nil {
			return nil, err
		}
		*id = aws.ToString(sub.Subnet.SubnetId)
	}
	for name, id := range map[string]*string{"web": &n.web, "admin": &n.admin} {
		if *id, err = m.Group(ctx, n.vpc, name, map[string]int32{"web": 443, "admin": 22}[name]); err != nil {
			return nil, err
		}
	}
	m.network = n
	return n, nil
}

// AddVolume attaches a further volume to an instance.
func (m *Member) AddVolume(ctx context.Context, id string) error {
	i, err := m.describe(ctx, id)
	if err != nil {
		return err
	}
	v, err := m.EC2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: i.Placement.AvailabilityZone, Size: aws.Int32(5)})
	if err != nil {
		return err
	}
	_, err = m.EC2.AttachVolume(ctx, &ec2.AttachVolumeInput{InstanceId: &id, VolumeId: v.VolumeId, Device: aws.String("/dev/sdx")})
	return err
}

// Group makes a security group that lets one port in, from everywhere, IPv4 and IPv6.
func (m *Member) Group(ctx context.Context, vpc, name string, port int32) (string, error) {
	g, err := m.EC2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: &vpc})
	if err != nil {
		return "", err
	}
	_, err = m.EC2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: []ec2types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port,
		IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}, Ipv6Ranges: []ec2types.Ipv6Range{{CidrIpv6: aws.String("::/0")}},
	}}})
	return aws.ToString(g.GroupId), err
}

// Leave has the next instance made in a new VPC.
func (m *Member) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.network = nil
}

// Instance makes an instance with two interfaces (groups web and admin, with IPv6 addresses) and two volumes. With a role's
// name the role and its instance profile are made too and the instance runs with them. Tags come besides Name.
func (m *Member) Instance(ctx context.Context, name, role string, tags map[string]string) (Instance, error) {
	out := Instance{Name: name, Role: role}
	n, err := m.net(ctx)
	if err != nil {
		return out, fmt.Errorf("make a network: %w", err)
	}
	all := []ec2types.Tag{{Key: aws.String("Name"), Value: &name}}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	in := &ec2.RunInstancesInput{
		ImageId: aws.String("ami-12c6146b"), InstanceType: ec2types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		NetworkInterfaces: []ec2types.InstanceNetworkInterfaceSpecification{
			{DeviceIndex: aws.Int32(0), SubnetId: &n.front, Groups: []string{n.web}},
			{DeviceIndex: aws.Int32(1), SubnetId: &n.back, Groups: []string{n.admin}},
		},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(8)}},
			{DeviceName: aws.String("/dev/sdb"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(20)}},
		},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: all}},
	}
	if role != "" {
		if out.Profile, err = m.Role(ctx, role); err != nil {
			return out, fmt.Errorf("make role %s: %w", role, err)
		}
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Arn: &out.Profile}
	}
	run, err := m.EC2.RunInstances(ctx, in)
	if err != nil {
		return out, fmt.Errorf("run an instance: %w", err)
	}
	out.ID = aws.ToString(run.Instances[0].InstanceId)
	out.ARN = fmt.Sprintf("arn:aws:ec2:%s:%s:instance/%s", Region, MemberAccount, out.ID)
	out.VPC = n.vpc
	i, err := m.describe(ctx, out.ID)
	if err != nil {
		return out, err
	}
	for _, e := range i.NetworkInterfaces {
		out.Interfaces = append(out.Interfaces, aws.ToString(e.NetworkInterfaceId))
	}
	for _, b := range i.BlockDeviceMappings {
		out.Volumes = append(out.Volumes, aws.ToString(b.Ebs.VolumeId))
	}
	slices.Sort(out.Interfaces)
	slices.Sort(out.Volumes)
	out.Launched = aws.ToTime(i.LaunchTime).UTC().Format("2006-01-02T15:04:05.000Z")
	for _, eni := range out.Interfaces {
		if _, err := m.EC2.AssignIpv6Addresses(ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: &eni, Ipv6AddressCount: aws.Int32(1)}); err != nil {
			return out, fmt.Errorf("give %s an IPv6 address: %w", eni, err)
		}
	}
	return out, nil
}

// Role makes a role for instances that may read a bucket, with an instance profile of the same name; it gives the profile's ARN.
func (m *Member) Role(ctx context.Context, name string) (string, error) {
	_, err := m.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
	if fresh(err) != nil {
		return "", err
	}
	_, err = m.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::clinic-records","arn:aws:s3:::clinic-records/*"]}]}`)})
	if err != nil {
		return "", err
	}
	_, err = m.IAM.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name})
	if fresh(err) != nil {
		return "", err
	}
	_, err = m.IAM.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &name})
	var full *iamtypes.LimitExceededException // it holds one role: ours
	if err != nil && !errors.As(err, &full) {
		return "", err
	}
	p, err := m.IAM.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
	if err != nil {
		return "", err
	}
	return aws.ToString(p.InstanceProfile.Arn), nil
}

// fresh is err, but for what an answer that was lost makes of a name that nobody else uses: the client asks once more, and it
// exists.
func fresh(err error) error {
	var exists *iamtypes.EntityAlreadyExistsException
	if errors.As(err, &exists) {
		return nil
	}
	return err
}

// User is an IAM user with two active access keys.
type User struct {
	Name, ARN string
	Keys      []string
}

// User makes a user.
func (m *Member) User(ctx context.Context, name string) (User, error) {
	out := User{Name: name}
	u, err := m.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name})
	if err != nil {
		return out, err
	}
	out.ARN = aws.ToString(u.User.Arn)
	for range 2 {
		k, err := m.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
		if err != nil {
			return out, err
		}
		out.Keys = append(out.Keys, aws.ToString(k.AccessKey.AccessKeyId))
	}
	return out, nil
}

// Bucket makes a bucket that everybody may read: new buckets are blocked, so somebody took the block away.
func (m *Member) Bucket(ctx context.Context, name string) error {
	if _, err := m.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return err
	}
	if _, err := m.S3.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &name}); err != nil {
		return err
	}
	_, err := m.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: aws.String(fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/*"}]}`, name))})
	return err
}

// Unblock takes a bucket's public access block away.
func (m *Member) Unblock(ctx context.Context, bucket string) error {
	_, err := m.S3.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &bucket})
	return err
}

func (m *Member) describe(ctx context.Context, id string) (ec2types.Instance, error) {
	out, err := m.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return ec2types.Instance{}, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			return i, nil
		}
	}
	return ec2types.Instance{}, fmt.Errorf("instance %s: %w", id, ErrAbsent)
}

// InstanceState reads running, terminated, …
func (m *Member) InstanceState(ctx context.Context, id string) (string, error) {
	i, err := m.describe(ctx, id)
	if err != nil {
		return "", err
	}
	return string(i.State.Name), nil
}

// Groups reads the security groups of each interface of an instance, by their ids.
func (m *Member) Groups(ctx context.Context, id string) (map[string][]string, error) {
	out, err := m.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{id}}}})
	if err != nil {
		return nil, err
	}
	groups := map[string][]string{}
	for _, e := range out.NetworkInterfaces {
		var of []string
		for _, g := range e.Groups {
			of = append(of, aws.ToString(g.GroupId))
		}
		slices.Sort(of)
		groups[aws.ToString(e.NetworkInterfaceId)] = of
	}
	return groups, nil
}

// SetGroups puts groups on an interface.
func (m *Member) SetGroups(ctx context.Context, eni string, groups ...string) error {
	_, err := m.EC2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &eni, Groups: groups})
	return err
}

// Rules counts the rules of a security group, in and out, and gives its name.
func (m *Member) Rules(ctx context.Context, group string) (name string, rules int, err error) {
	out, err := m.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{group}})
	if err != nil || len(out.SecurityGroups) == 0 {
		return "", 0, errors.Join(err, fmt.Errorf("security group %s", group))
	}
	g := out.SecurityGroups[0]
	return aws.ToString(g.GroupName), len(g.IpPermissions) + len(g.IpPermissionsEgress), nil
}

// Isolated tells whether every interface of the instance holds only groups without any rule, and says in words what it has.
func (m *Member) Isolated(ctx context.Context, id string) (bool, string, error) {
	groups, err := m.Groups(ctx, id)
	if err != nil {
		return false, "", err
	}
	isolated, words := len(groups) > 0, []string{}
	for _, eni := range slices.Sorted(maps.Keys(groups)) {
		names := []string{}
		for _, g := range groups[eni] {
			name, rules, err := m.Rules(ctx, g)
			if err != nil {
				return false, "", err
			}
			isolated = isolated && rules == 0
			names = append(names, fmt.Sprintf("%s (%d rules)", name, rules))
		}
		isolated = isolated && len(groups[eni]) > 0
		words = append(words, eni+": "+strings.Join(names, ", "))
	}
	return isolated, strings.Join(words, "; "), nil
}

// Snapshot of a volume.
type Snapshot struct{ ID, Volume, State, Incident string }

// Snapshots reads this account's snapshots of these volumes.
func (m *Member) Snapshots(ctx context.Context, volumes ...string) ([]Snapshot, error) {
	out, err := m.EC2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []ec2types.Filter{{Name: aws.String("volume-id"), Values: volumes}}})
	if err != nil {
		return nil, err
	}
	var found []Snapshot
	for _, s := range out.Snapshots {
		snap := Snapshot{ID: aws.ToString(s.SnapshotId), Volume: aws.ToString(s.VolumeId), State: string(s.State)}
		for _, t := range s.Tags {
			if strings.Contains(strings.ToLower(aws.ToString(t.Key)), "incident") {
				snap.Incident = aws.ToString(t.Value)
			}
		}
		found = append(found, snap)
	}
	return found, nil
}

// Keys reads the state of a user's access keys, Active or Inactive, by key id.
func (m *Member) Keys(ctx context.Context, user string) (map[string]string, error) {
	out, err := m.IAM.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, k := range out.AccessKeyMetadata {
		keys[aws.ToString(k.AccessKeyId)] = string(k.Status)
	}
	return keys, nil
}

// RolePolicies reads the names of a role's inline policies.
func (m *Member) RolePolicies(ctx context.Context, role string) ([]string, error) {
	out, err := m.IAM.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return nil, err
	}
	return out.PolicyNames, nil
}

// RolePolicy reads one inline policy of a role, as it was written.
func (m *Member) RolePolicy(ctx context.Context, role, policy string) (string, error) {
	out, err := m.IAM.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &policy})
	if err != nil {
		return "", err
	}
	return unescape(aws.ToString(out.PolicyDocument)), nil
}

// Blocked counts how many of a bucket's four public access flags are on.
func (m *Member) Blocked(ctx context.Context, bucket string) (int, error) {
	out, err := m.S3.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &bucket})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "NoSuchPublicAccessBlockConfiguration" {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	c, on := out.PublicAccessBlockConfiguration, 0
	if c == nil {
		c = &s3types.PublicAccessBlockConfiguration{}
	}
	for _, flag := range []*bool{c.BlockPublicAcls, c.BlockPublicPolicy, c.IgnorePublicAcls, c.RestrictPublicBuckets} {
		if aws.ToBool(flag) {
			on++
		}
	}
	return on, nil
}

//go:build engine

package actiontest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Network is a VPC with a subnet of both families.
type Network struct {
	VPC, subnet string
}

// NewNetwork makes one.
func NewNetwork(t *testing.T, e *Engine) Network {
	t.Helper()
	api, ctx := ec2.NewFromConfig(e.Owner), t.Context()
	vpc := Must(api.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), AmazonProvidedIpv6CidrBlock: aws.Bool(true)}))(t).Vpc
	six := strings.Replace(*vpc.Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock, "::/56", "::/64", 1)
	sub := Must(api.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc.VpcId, CidrBlock: aws.String("10.0.0.0/24"), Ipv6CidrBlock: &six}))(t)
	return Network{VPC: *vpc.VpcId, subnet: *sub.Subnet.SubnetId}
}

// Group makes a security group in it, open for SSH.
func (n Network) Group(t *testing.T, e *Engine) string {
	t.Helper()
	api := ec2.NewFromConfig(e.Owner)
	id := Must(api.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String(Name("clinic")), Description: aws.String("x"), VpcId: &n.VPC}))(t).GroupId
	Must(api.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: id, IpPermissions: []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}, Ipv6Ranges: []types.Ipv6Range{{CidrIpv6: aws.String("::/0")}},
	}}}))(t)
	return *id
}

// Launch says what instance to make.
type Launch struct {
	// Network is where; nil makes a new one.
	Network *Network
	// Interfaces are the groups of each; nil gives it those that AWS does.
	Interfaces [][]string
	DualStack  bool
	Volumes    int
	Encrypted  bool
	// Protected turns termination protection on, Ends makes a shutdown its end, Keeps keeps its volumes.
	Protected, Ends, Keeps bool
}

// Instance is an instance on the engine.
type Instance struct {
	e                   *Engine
	ID, ARN             string
	Interfaces, Volumes []string
}

// NewInstance makes one. It is gone at the end of the test, so that later ones do not wait for it in lists.
func NewInstance(t *testing.T, e *Engine, l Launch) *Instance {
	t.Helper()
	api, ctx := ec2.NewFromConfig(e.Owner), t.Context()
	if l.Network == nil {
		n := NewNetwork(t, e)
		l.Network = &n
	}
	in := &ec2.RunInstancesInput{
		ImageId: aws.String("ami-12c6146b"), InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
	}
	if l.Ends {
		in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
	}
	for i, groups := range l.Interfaces {
		in.NetworkInterfaces = append(in.NetworkInterfaces, types.InstanceNetworkInterfaceSpecification{DeviceIndex: aws.Int32(int32(i)), SubnetId: &l.Network.subnet, Groups: groups})
	}
	for i := range l.Volumes {
		device := "/dev/sd" + string(rune('a'+i))
		if i == 0 {
			device = "/dev/sda1"
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: &device, Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(8), Encrypted: &l.Encrypted, DeleteOnTermination: aws.Bool(!l.Keeps)}})
	}
	out := &Instance{e: e, ID: *Must(api.RunInstances(ctx, in))(t).Instances[0].InstanceId}
	out.ARN = fmt.Sprintf("arn:aws:ec2:%s:%s:instance/%s", Region, Account, out.ID)
	if l.Protected { // moto passes over it in RunInstances
		Must(api.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &out.ID, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
	}
	made := out.read(t)
	for _, n := range made.NetworkInterfaces {
		out.Interfaces = append(out.Interfaces, *n.NetworkInterfaceId)
		if l.DualStack {
			Must(api.AssignIpv6Addresses(ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: n.NetworkInterfaceId, Ipv6AddressCount: aws.Int32(1)}))(t)
		}
	}
	for _, b := range made.BlockDeviceMappings {
		out.Volumes = append(out.Volumes, *b.Ebs.VolumeId)
	}
	slices.Sort(out.Interfaces)
	slices.Sort(out.Volumes)
	if len(out.Interfaces) != len(l.Interfaces) || len(out.Volumes) != l.Volumes {
		t.Fatalf("the engine made interfaces %v and volumes %v, want %d and %d", out.Interfaces, out.Volumes, len(l.Interfaces), l.Volumes)
	}
	t.Cleanup(func() { out.end(context.Background(), api) })
	return out
}

func (i *Instance) end(ctx context.Context, api *ec2.Client) error {
	_, err := api.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &i.ID, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(false)}})
	if err == nil {
		_, err = api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{i.ID}})
	}
	return err
}

// Terminate gives what ends it.
func (i *Instance) Terminate(t *testing.T) func() {
	return func() {
		t.Helper()
		if err := i.end(t.Context(), ec2.NewFromConfig(i.e.Owner)); err != nil {
			t.Fatal(err)
		}
	}
}

func (i *Instance) read(t *testing.T) types.Instance {
	t.Helper()
	return Must(ec2.NewFromConfig(i.e.Owner).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{i.ID}}))(t).Reservations[0].Instances[0]
}

// Groups reads the groups that each interface wears.
func (i *Instance) Groups(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, n := range Must(ec2.NewFromConfig(i.e.Owner).DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{i.ID}}},
	}))(t).NetworkInterfaces {
		groups := []string{}
		for _, g := range n.Groups {
			groups = append(groups, *g.GroupId)
		}
		slices.Sort(groups)
		out[*n.NetworkInterfaceId] = groups
	}
	return out
}

// State reads all of it that actions touch: whether it runs, its attributes, the groups and addresses of each interface.
func (i *Instance) State(t *testing.T) map[string]any {
	t.Helper()
	api, in := ec2.NewFromConfig(i.e.Owner), i.read(t)
	out := map[string]any{"state": string(in.State.Name)}
	for id, groups := range i.Groups(t) {
		out[id] = groups
	}
	for _, n := range in.NetworkInterfaces {
		addresses := []string{aws.ToString(n.PrivateIpAddress)}
		for _, a := range n.Ipv6Addresses {
			addresses = append(addresses, *a.Ipv6Address)
		}
		out[*n.NetworkInterfaceId+" addresses"] = addresses
	}
	for _, b := range in.BlockDeviceMappings {
		out[*b.Ebs.VolumeId+" goes with it"] = aws.ToBool(b.Ebs.DeleteOnTermination)
	}
	for _, name := range []types.InstanceAttributeName{types.InstanceAttributeNameDisableApiTermination, types.InstanceAttributeNameInstanceInitiatedShutdownBehavior} {
		a := Must(api.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{InstanceId: &i.ID, Attribute: name}))(t)
		if a.DisableApiTermination != nil {
			out["protected"] = aws.ToBool(a.DisableApiTermination.Value)
		}
		if a.InstanceInitiatedShutdownBehavior != nil {
			out["shutdown"] = aws.ToString(a.InstanceInitiatedShutdownBehavior.Value)
		}
	}
	return out
}

// Reachable says which interfaces wear a group with a rule, "" where none does.
func (i *Instance) Reachable(t *testing.T) string {
	t.Helper()
	api, worn := ec2.NewFromConfig(i.e.Owner), i.Groups(t)
	var open []string
	for _, id := range slices.Sorted(maps.Keys(worn)) {
		if len(worn[id]) == 0 {
			open = append(open, id+" wears no group")
			continue
		}
		for _, g := range Must(api.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: worn[id]}))(t).SecurityGroups {
			if len(g.IpPermissions)+len(g.IpPermissionsEgress) > 0 {
				open = append(open, id+" wears "+*g.GroupName)
			}
		}
	}
	return strings.Join(open, ", ")
}

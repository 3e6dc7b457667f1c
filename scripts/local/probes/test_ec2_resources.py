import pytest

from conftest import MEMBER, allow, allowed, unique

REGIONS = ("us-east-1", "eu-central-1")


class Instance:
    """An instance of the member account with what it stands on, made by the account's root."""

    def __init__(self, platform, region):
        ec2 = platform.client("ec2", MEMBER, region)
        self.vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        self.group = ec2.create_security_group(GroupName=unique("group"), Description="x", VpcId=self.vpc)["GroupId"]
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        self.id = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, SubnetId=subnet,
                                    SecurityGroupIds=[self.group])["Instances"][0]["InstanceId"]
        found = ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]
        self.interface = found["NetworkInterfaces"][0]["NetworkInterfaceId"]
        self.volume = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        self.platform, self.region = platform, region

    def may(self, statements, call):
        keys = self.platform.session(*statements, account=MEMBER)
        return allowed(lambda: call(self.platform.client("ec2", MEMBER, self.region, keys)))

    def arn(self, resource, account=MEMBER):
        return f"arn:aws:ec2:{self.region}:{account}:{resource}"


def test_upstream_tags_are_checked_against_everything(plain):
    name, tag = "i-0123456789abcdef0", [{"Key": "incident", "Value": "INC-1"}]
    keys = plain.session(allow("ec2:CreateTags", f"arn:aws:ec2:us-east-1:{MEMBER}:instance/{name}"), account=MEMBER)
    assert not allowed(lambda: plain.client("ec2", MEMBER, keys=keys).create_tags(Resources=[name], Tags=tag))


@pytest.fixture(scope="module", params=REGIONS)
def target(patched, request):
    return Instance(patched, request.param)


def test_tags_are_checked_against_what_they_are_put_on(target):
    tag = [{"Key": "incident", "Value": "INC-1"}]
    for name, right in ((target.id, True), ("i-0123456789abcdef0", False)):
        assert target.may([allow("ec2:CreateTags", target.arn(f"instance/{name}"))],
                          lambda ec2: ec2.create_tags(Resources=[target.id], Tags=tag)) == right


def test_an_interface_and_its_groups_are_both_checked(target):
    interface, group = target.arn(f"network-interface/{target.interface}"), target.arn(f"security-group/{target.group}")
    for granted, right in (([interface, group], True), ([interface], False), ([group], False)):
        assert target.may([allow("ec2:ModifyNetworkInterfaceAttribute", granted)],
                          lambda ec2: ec2.modify_network_interface_attribute(
                              NetworkInterfaceId=target.interface, Groups=[target.group])) == right


def test_a_snapshot_is_checked_against_instance_volumes_and_itself(target):
    instance, volume = target.arn(f"instance/{target.id}"), target.arn(f"volume/{target.volume}")
    snapshots = target.arn("snapshot/*", "")
    for granted, right in (([instance, volume, snapshots], True), ([instance, snapshots], False)):
        assert target.may([allow("ec2:CreateSnapshots", granted)], lambda ec2: ec2.create_snapshots(
            InstanceSpecification={"InstanceId": target.id})) == right


def test_tagging_what_is_made_needs_its_own_grant(target):
    groups = [target.arn(f"vpc/{target.vpc}"), target.arn("security-group/*")]
    tagging = allow("ec2:CreateTags", groups[1], StringEquals={"ec2:CreateAction": "CreateSecurityGroup"})
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": "incident", "Value": "INC-1"}]}]
    for statements, right in (([allow("ec2:CreateSecurityGroup", groups), tagging], True),
                              ([allow("ec2:CreateSecurityGroup", groups)], False)):
        assert target.may(statements, lambda ec2: ec2.create_security_group(
            GroupName="isolation", Description="x", VpcId=target.vpc, TagSpecifications=tags)) == right


def test_rules_of_both_address_families_come_and_go(target):
    ec2 = target.platform.client("ec2", MEMBER, target.region)
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    group = target.arn(f"security-group/{target.group}")
    assert target.may([allow("ec2:AuthorizeSecurityGroupIngress", group)], lambda ec2:
                      ec2.authorize_security_group_ingress(GroupId=target.group, IpPermissions=[rule]))
    assert target.may([allow("ec2:RevokeSecurityGroupIngress", group)], lambda ec2:
                      ec2.revoke_security_group_ingress(GroupId=target.group, IpPermissions=[rule]))
    left = ec2.describe_security_groups(GroupIds=[target.group])["SecurityGroups"][0]["IpPermissions"]
    assert all(permission.get("FromPort") != 22 for permission in left)


def test_an_attribute_is_read_of_one_instance(target):
    for name, right in ((target.id, True), ("i-0123456789abcdef0", False)):
        assert target.may([allow("ec2:DescribeInstanceAttribute", target.arn(f"instance/{name}"))],
                          lambda ec2: ec2.describe_instance_attribute(InstanceId=target.id, Attribute="userData")) == right


def test_the_sharing_of_a_snapshot_is_read_of_one(target):
    ec2 = target.platform.client("ec2", MEMBER, target.region)
    snapshot = ec2.create_snapshot(VolumeId=target.volume)["SnapshotId"]
    for name, right in ((snapshot, True), ("snap-0123456789abcdef0", False)):
        assert target.may([allow("ec2:DescribeSnapshotAttribute", target.arn(f"snapshot/{name}", ""))],
                          lambda ec2: ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")) == right

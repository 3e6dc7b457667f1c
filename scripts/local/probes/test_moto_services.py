import pytest
from botocore.exceptions import ClientError

from conftest import MEMBER, allow, allowed


def test_upstream_standby_is_missing(plain):
    with pytest.raises(ClientError, match="InvalidAction|Unknown"):
        plain.client("autoscaling", MEMBER).enter_standby(
            AutoScalingGroupName="g", InstanceIds=["i-0123456789abcdef0"], ShouldDecrementDesiredCapacity=True)


def test_upstream_there_is_no_security_hub(plain):
    with pytest.raises(ClientError):
        plain.client("securityhub", MEMBER).describe_hub()


def test_accounts_and_regions_are_apart(patched):
    for account, region in ((MEMBER, "us-east-1"), (MEMBER, "eu-central-1"), ("333333333333", "us-east-1")):
        ec2 = patched.client("ec2", account, region)
        group = ec2.create_security_group(GroupName="apart", Description="x")["GroupId"]
        found = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["apart"]}])["SecurityGroups"]
        assert [(g["GroupId"], g["OwnerId"]) for g in found] == [(group, account)]


def test_authorization_is_ministacks(patched):
    for action, right in (("autoscaling:DescribeAutoScalingGroups", True), ("autoscaling:EnterStandby", False)):
        keys = patched.session(allow(action), account=MEMBER)
        assert allowed(patched.client("autoscaling", MEMBER, keys=keys).describe_auto_scaling_groups) == right

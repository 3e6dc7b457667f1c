from botocore.exceptions import ClientError
import pytest

from conftest import MEMBER, unique


def launched(platform):
    """The ARN of the profile of an instance that is started with one made in IAM."""
    iam, ec2, name = platform.client("iam", MEMBER), platform.client("ec2", MEMBER), unique("profile")
    role = platform.role(account=MEMBER, service="ec2.amazonaws.com").rsplit("/", 1)[-1]
    made = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
    run = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, IamInstanceProfile={"Name": name})
    found = ec2.describe_instances(InstanceIds=[run["Instances"][0]["InstanceId"]])
    return found["Reservations"][0]["Instances"][0]["IamInstanceProfile"]["Arn"] == made


def test_with_two_engines_ec2_does_not_know_it(patched):
    with pytest.raises(ClientError, match="NoSuchEntity|not found"):
        patched.client("ec2", MEMBER).run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1,
                                                    IamInstanceProfile={"Name": "never-made"})


def test_it_is_known(patched):
    assert launched(patched)

from botocore.exceptions import ClientError

from conftest import MEMBER, unique


def found(platform):
    """Whether an instance is found by its instance profile, and only then."""
    iam, ec2, name = platform.client("iam", MEMBER), platform.client("ec2", MEMBER), unique("profile")
    made = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    try:
        run = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, IamInstanceProfile={"Arn": made})
    except ClientError:  # without the patch instance_profiles
        run = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)
    ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)
    try:
        answer = ec2.describe_instances(Filters=[{"Name": "iam-instance-profile.arn", "Values": [made]}])
    except ClientError:
        return False
    ids = [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]
    return ids == [run["Instances"][0]["InstanceId"]]


def test_upstream_the_filter_is_missing(plain):
    assert not found(plain)


def test_it_is_there(patched):
    assert found(patched)

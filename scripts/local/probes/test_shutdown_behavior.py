def changed(platform):
    """What a shutdown of an instance means after it was changed."""
    ec2 = platform.moto("ec2")
    instance = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1,
                                 InstanceInitiatedShutdownBehavior="terminate")["Instances"][0]["InstanceId"]
    ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    attribute = "instanceInitiatedShutdownBehavior"
    answer = ec2.describe_instance_attribute(InstanceId=instance, Attribute=attribute)
    return answer["InstanceInitiatedShutdownBehavior"]["Value"]


def test_upstream_it_stays(plain):
    assert changed(plain) == "terminate"


def test_it_is_changed(patched):
    assert changed(patched) == "stop"

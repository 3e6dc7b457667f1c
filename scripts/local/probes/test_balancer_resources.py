from botocore.exceptions import ClientError

from conftest import MEMBER, allow, allowed, unique


def withdraws(platform, own):
    """Whether a session for one classic balancer, or for another, takes an instance out of it."""
    root, name = platform.client("elb", MEMBER), unique("clinic")
    listener = {"Protocol": "http", "LoadBalancerPort": 80, "InstancePort": 80}
    try:
        root.create_load_balancer(LoadBalancerName=name, AvailabilityZones=["us-east-1a"], Listeners=[listener])
    except ClientError:  # without moto_services there are none, but they are checked
        pass
    granted = f"arn:aws:elasticloadbalancing:us-east-1:{MEMBER}:loadbalancer/{name if own else 'other'}"
    keys = platform.session(allow("elasticloadbalancing:DeregisterInstancesFromLoadBalancer", resource=granted), account=MEMBER)
    elb, member = platform.client("elb", keys=keys), [{"InstanceId": "i-0123456789abcdef0"}]
    return allowed(lambda: elb.deregister_instances_from_load_balancer(LoadBalancerName=name, Instances=member))


def test_upstream_a_grant_for_one_denies_all(plain):
    assert not withdraws(plain, own=True)


def test_each_balancer_is_checked(patched):
    assert withdraws(patched, own=True)
    assert not withdraws(patched, own=False)

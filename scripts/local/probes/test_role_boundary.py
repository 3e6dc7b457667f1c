from conftest import HUB, allow, allowed, unique


def within(platform):
    """Whether a role made by a template, bounded to Systems Manager, may list keys."""
    name = unique("bounded")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"}, "Action": "sts:AssumeRole"}
    platform.stack({
        "Boundary": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [allow("ssm:*")]}}},
        "Role": {"Type": "AWS::IAM::Role", "Properties": {
            "RoleName": name, "PermissionsBoundary": {"Ref": "Boundary"},
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "all", "PolicyDocument": {
                "Version": "2012-10-17", "Statement": [allow("*")]}}]}}})
    keys = platform.assume(f"arn:aws:iam::{HUB}:role/{name}")
    assert allowed(platform.client("ssm", keys=keys).describe_parameters)
    return allowed(platform.client("kms", keys=keys).list_keys)


def test_upstream_it_is_dropped(plain):
    assert within(plain)


def test_it_is_kept(patched):
    assert not within(patched)

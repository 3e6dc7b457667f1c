from botocore.exceptions import ClientError
import pytest

from conftest import HUB, allow, allowed


def trusting(platform, *actions, **condition):
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"}, "Action": list(actions)}
    return platform.role([allow("*")], trust=[{**trust, **({"Condition": condition} if condition else {})}])


def test_upstream_it_needs_no_permission_and_meets_no_condition(plain):
    assert plain.assume(trusting(plain, "sts:AssumeRole"), SourceIdentity="INC-1")
    with pytest.raises(ClientError, match="not authorized"):
        plain.assume(trusting(plain, "sts:AssumeRole", StringLike={"sts:SourceIdentity": "INC-*"}),
                     SourceIdentity="INC-1")


def test_the_trust_policy_must_allow_it(patched):
    with pytest.raises(ClientError, match="not authorized"):
        patched.assume(trusting(patched, "sts:AssumeRole"), SourceIdentity="INC-1")
    assert patched.assume(trusting(patched, "sts:AssumeRole", "sts:SetSourceIdentity"), SourceIdentity="INC-1")


def test_the_trust_policy_can_demand_it(patched):
    role = trusting(patched, "sts:AssumeRole", "sts:SetSourceIdentity",
                    StringLike={"sts:SourceIdentity": "INC-*"})
    assert patched.assume(role, SourceIdentity="INC-1")
    for more in ({}, {"SourceIdentity": "other"}):
        with pytest.raises(ClientError, match="not authorized"):
            patched.assume(role, **more)


def test_the_session_keeps_it_as_a_condition_key(patched):
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"},
             "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"]}
    role = patched.role([allow("ssm:*", StringEquals={"aws:SourceIdentity": "INC-1"})], trust=[trust])
    for identity, right in (("INC-1", True), ("INC-2", False)):
        ssm = patched.client("ssm", keys=patched.assume(role, SourceIdentity=identity))
        assert allowed(ssm.describe_parameters) == right

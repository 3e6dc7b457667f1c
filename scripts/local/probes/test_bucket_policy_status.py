import pytest
from botocore.exceptions import ClientError

from conftest import HUB, MEMBER, document, unique


def public(platform, principal, **condition):
    s3, name = platform.client("s3", MEMBER), unique("bucket")
    s3.create_bucket(Bucket=name)
    s3.delete_public_access_block(Bucket=name)
    statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject",
                 "Resource": f"arn:aws:s3:::{name}/*"}
    s3.put_bucket_policy(Bucket=name, Policy=document([{**statement, **condition}]))
    return s3.get_bucket_policy_status(Bucket=name)["PolicyStatus"].get("IsPublic")


def test_upstream_it_is_not_said(plain):
    assert public(plain, "*") is None


def test_everybody_without_a_fixed_condition_is_public(patched):
    assert public(patched, "*") is True
    assert public(patched, {"AWS": "*"}, Condition={"StringLike": {"aws:UserAgent": "x"}}) is True
    assert public(patched, {"AWS": f"arn:aws:iam::{HUB}:root"}) is False
    assert public(patched, "*", Condition={"StringEquals": {"aws:PrincipalOrgID": "o-exampleorgid"}}) is False


def test_what_is_missing_is_said(patched):
    s3, name = patched.client("s3", MEMBER), unique("bucket")
    with pytest.raises(ClientError, match="NoSuchBucket\\)"):
        s3.get_bucket_policy_status(Bucket=name)
    s3.create_bucket(Bucket=name)
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy_status(Bucket=name)

import pytest
from botocore.exceptions import ClientError

from conftest import MEMBER, allow, allowed

BLOCK = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}


def control(platform, keys=None):
    """S3 Control without the account in the host's name, which no resolver knows."""
    client = platform.client("s3control", MEMBER, keys=keys)
    client.meta.events.register("before-sign.s3-control", lambda request, **_: setattr(
        request, "url", request.url.replace(f"//{MEMBER}.", "//")))
    return client


def kept(platform):
    client = control(platform)
    client.put_public_access_block(AccountId=MEMBER, PublicAccessBlockConfiguration=BLOCK)
    client.delete_public_access_block(AccountId=MEMBER)
    with pytest.raises(ClientError, match="NoSuchPublicAccessBlockConfiguration"):
        client.get_public_access_block(AccountId=MEMBER)
    client.put_public_access_block(AccountId=MEMBER, PublicAccessBlockConfiguration=BLOCK)
    return client.get_public_access_block(AccountId=MEMBER)["PublicAccessBlockConfiguration"] == BLOCK


def test_upstream_it_is_not_kept(plain):
    with pytest.raises((ClientError, pytest.fail.Exception)):
        kept(plain)


def test_it_is_kept_and_authorized(patched):
    assert kept(patched)
    for action, right in (("s3:GetAccountPublicAccessBlock", True), ("s3:GetBucketPublicAccessBlock", False)):
        keys = patched.session(allow(action), account=MEMBER)
        assert allowed(lambda: control(patched, keys).get_public_access_block(AccountId=MEMBER)) == right


def test_a_denial_has_its_code_and_is_the_callers(patched):
    keys = patched.session(allow("s3:GetBucketPublicAccessBlock"), account=MEMBER)
    with pytest.raises(ClientError, match="AccessDenied.*assumed-role"):
        control(patched, keys).get_public_access_block(AccountId=MEMBER)

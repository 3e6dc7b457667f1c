import botocore.exceptions
import pytest

from conftest import unique


def test_upstream_an_absent_user_has_no_keys(plain):
    assert plain.client("iam").list_access_keys(UserName=unique("nobody"))["AccessKeyMetadata"] == []


def test_an_absent_users_keys_cannot_be_listed(patched):
    iam = patched.client("iam")
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchEntity"):
        iam.list_access_keys(UserName=unique("nobody"))
    user = unique("user")
    iam.create_user(UserName=user)
    assert iam.list_access_keys(UserName=user)["AccessKeyMetadata"] == []

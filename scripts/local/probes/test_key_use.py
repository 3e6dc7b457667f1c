from conftest import MEMBER, unique


def used(platform):
    """What is said of a key's use after it listed parameters."""
    iam, name = platform.client("iam", MEMBER), unique("user")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    try:
        platform.client("ssm", "", "eu-central-1", {**key, "SessionToken": None}).describe_parameters()
    except platform.client("ssm").exceptions.ClientError:
        pass  # refused: that is a use as well
    last = iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])["AccessKeyLastUsed"]
    return last["ServiceName"], last["Region"], "LastUsedDate" in last


def test_upstream_it_was_never_used(plain):
    assert used(plain) == ("N/A", "N/A", False)


def test_its_use_is_said(patched):
    assert used(patched) == ("ssm", "eu-central-1", True)

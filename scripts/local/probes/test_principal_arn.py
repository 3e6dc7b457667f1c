from conftest import HUB, allow, allowed


def holds(platform):
    role = platform.role([allow("ssm:*", ArnLike={"aws:PrincipalArn": f"arn:aws:iam::{HUB}:role/role-*"})])
    return allowed(lambda: platform.client("ssm", keys=platform.assume(role)).describe_parameters())


def test_upstream_the_sessions_arn_is_compared(plain):
    assert not holds(plain)


def test_the_roles_arn_is_compared(patched):
    assert holds(patched)

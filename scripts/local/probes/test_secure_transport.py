from conftest import allow, allowed


def holds(platform):
    role = platform.role([allow("ssm:*", Bool={"aws:SecureTransport": "true"})])
    return allowed(lambda: platform.client("ssm", keys=platform.assume(role)).describe_parameters())


def test_upstream_nothing_is_secure(plain):
    assert not holds(plain)


def test_every_call_is_secure(patched):
    assert holds(patched)

import json
import pathlib

from conftest import allow, allowed


def lines(platform, key):
    """The decisions about a principal, by the session's role name."""
    text = pathlib.Path(platform.report["decisions"]).read_text() if pathlib.Path(
        platform.report["decisions"]).exists() else ""
    return [line for line in map(json.loads, text.splitlines()) if f"/{key}/" in line["principal"]]


def asked(platform):
    role = platform.role([allow("ssm:DescribeParameters")])
    keys = platform.assume(role)
    assert allowed(platform.client("ssm", keys=keys).describe_parameters)
    assert not allowed(platform.client("kms", keys=keys).list_keys)
    return lines(platform, role.rsplit("/", 1)[-1])


def test_upstream_there_is_no_log(plain):
    assert asked(plain) == []


def test_each_decision_is_a_line(patched):
    assert [(d["action"], d["allowed"], d["session"], d["via"]) for d in asked(patched)] == [
        ("ssm:DescribeParameters", True, "probe", "api"), ("kms:ListKeys", False, "probe", "api")]

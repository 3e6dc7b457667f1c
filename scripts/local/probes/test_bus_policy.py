import pytest
from botocore.exceptions import ClientError

from conftest import HUB, MEMBER, unique


def admits(platform):
    """Whether a bus made by a template has a policy that names the member account."""
    name = unique("bus")
    platform.stack({
        "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": name}},
        "Policy": {"Type": "AWS::Events::EventBusPolicy", "DependsOn": "Bus", "Properties": {
            "EventBusName": name, "StatementId": "member", "Action": "events:PutEvents", "Principal": MEMBER}}})
    return any(MEMBER in bus.get("Policy", "") for bus in platform.client("events").list_event_buses(
        NamePrefix=name)["EventBuses"])


def test_upstream_the_type_is_unknown(plain):
    with pytest.raises(ClientError, match="Unrecognized resource types"):
        admits(plain)


def test_the_policy_is_kept(patched):
    assert admits(patched)


def test_the_policy_of_the_bus_itself_is_kept(patched):
    name = unique("bus")
    statement = {"Sid": "member", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"},
                 "Action": "events:PutEvents", "Resource": f"arn:aws:events:us-east-1:{HUB}:event-bus/{name}"}
    patched.stack({"Bus": {"Type": "AWS::Events::EventBus", "Properties": {
        "Name": name, "Policy": {"Version": "2012-10-17", "Statement": [statement]}}}})
    assert MEMBER in patched.client("events").describe_event_bus(Name=name)["Policy"]

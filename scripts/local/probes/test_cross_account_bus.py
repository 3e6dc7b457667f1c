import json

from conftest import HUB, MEMBER, REGION, allow, unique


def delivered(platform, admit=True, region=REGION):
    """What arrives in the hub of an event on a member's default bus, forwarded by a rule with a role."""
    bus = unique("bus")
    hub = platform.client("events")
    arn = hub.create_event_bus(Name=bus)["EventBusArn"]
    if admit:
        hub.put_permission(EventBusName=bus, Action="events:PutEvents", Principal=MEMBER, StatementId="member")
    url, queue = platform.queue()
    hub.put_rule(Name="all", EventBusName=bus, EventPattern=json.dumps({"source": ["probe"]}))
    hub.put_targets(Rule="all", EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue}])
    role = platform.role([allow("events:PutEvents", arn)], account=MEMBER, service="events.amazonaws.com")
    member = platform.client("events", MEMBER, region)
    rule = unique("forward")
    member.put_rule(Name=rule, EventPattern=json.dumps({"source": ["probe"], "detail": {"to": [bus]}}))
    member.put_targets(Rule=rule, Targets=[{"Id": "hub", "Arn": arn, "RoleArn": role}])
    member.put_events(Entries=[{"Source": "probe", "DetailType": "x", "Detail": json.dumps({"to": bus})}])
    return platform.received(url)


def test_upstream_it_is_dropped(plain):
    assert delivered(plain) is None


def test_it_arrives_with_its_account_and_region(patched):
    for region in (REGION, "eu-central-1"):
        event = delivered(patched, region=region)
        assert (event["account"], event["region"]) == (MEMBER, region)


def test_the_policy_of_the_bus_decides(patched):
    assert delivered(patched, admit=False) is None

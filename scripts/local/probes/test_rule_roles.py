import json

from conftest import allow, unique, until

DONE = {"QueryLanguage": "JSONata", "StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}


def start(platform, statements):
    """Puts an event that starts a machine with a role; returns (whether it started, the dead letter)."""
    machines, events = platform.client("stepfunctions"), platform.client("events")
    machine = machines.create_state_machine(name=unique("machine"), definition=json.dumps(DONE),
                                            roleArn=platform.role())["stateMachineArn"]
    url, queue = platform.queue()
    rule, role = unique("rule"), platform.role(statements(machine), service="events.amazonaws.com")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
    events.put_targets(Rule=rule, Targets=[{"Id": "machine", "Arn": machine, "RoleArn": role,
                                            "DeadLetterConfig": {"Arn": queue}}])
    events.put_events(Entries=[{"Source": rule, "DetailType": "x", "Detail": "{}"}])
    letter = platform.received(url)
    return bool(machines.list_executions(stateMachineArn=machine)["executions"]), letter


def test_upstream_a_role_without_permission_starts_it(plain):
    assert start(plain, lambda machine: [])[0]


def test_the_role_decides(patched):
    assert start(patched, lambda machine: [allow("states:StartExecution", machine)]) == (True, None)
    began, letter = start(patched, lambda machine: [allow("states:StartExecution", machine + "x")])
    assert not began and letter["detail-type"] == "x"

import json

import pytest
from botocore.exceptions import ClientError

from conftest import allow, unique

LARGE = "x" * 300_000


def machine(platform):
    role = platform.role([allow("*")], service="states.amazonaws.com")
    definition = {"QueryLanguage": "JSONata", "StartAt": "End", "States": {"End": {"Type": "Succeed"}}}
    return platform.client("stepfunctions").create_state_machine(
        name=unique("machine"), definition=json.dumps(definition), roleArn=role)["stateMachineArn"]


def test_upstream_any_size_starts(plain):
    plain.client("stepfunctions").start_execution(stateMachineArn=machine(plain), input=json.dumps(LARGE))


def test_a_large_input_is_refused(patched):
    with pytest.raises(ClientError, match="InvalidExecutionInput"):
        patched.client("stepfunctions").start_execution(stateMachineArn=machine(patched), input=json.dumps(LARGE))


def test_a_large_event_is_a_dead_letter(patched):
    events, target, (url, queue) = patched.client("events"), machine(patched), patched.queue()
    role, source, rule = patched.role([allow("*")], service="events.amazonaws.com"), unique("source"), unique("rule")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [source]}))
    events.put_targets(Rule=rule, Targets=[{"Id": "m", "Arn": target, "RoleArn": role, "DeadLetterConfig": {"Arn": queue}}])
    for size in (10, 300_000):
        events.put_events(Entries=[{"Source": source, "DetailType": "D", "Detail": json.dumps({"x": "x" * size})}])
    assert len(patched.received(url)["detail"]["x"]) == 300_000
    assert patched.received(url) is None
    assert len(patched.client("stepfunctions").list_executions(stateMachineArn=target)["executions"]) == 1

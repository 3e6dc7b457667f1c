import json

from conftest import allow, allowed, unique, until


def answered(platform):
    """Whether a session that may send task success for a machine's ARN may answer that machine's task."""
    machines = platform.client("stepfunctions")
    url, _ = platform.queue()
    wait = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True,
            "TimeoutSeconds": 20, "Arguments": {"QueueUrl": url, "MessageBody": {"t": "{% $states.context.Task.Token %}"}}}
    definition = {"QueryLanguage": "JSONata", "StartAt": "Wait", "States": {"Wait": wait}}
    machine = machines.create_state_machine(
        name=unique("machine"), definition=json.dumps(definition),
        roleArn=platform.role([allow("*")], service="states.amazonaws.com"))["stateMachineArn"]
    run = machines.start_execution(stateMachineArn=machine)["executionArn"]
    token = until(lambda: platform.received(url))["t"]
    send = platform.client("stepfunctions", keys=platform.session(allow("states:SendTaskSuccess", machine)))
    done = allowed(lambda: send.send_task_success(taskToken=token, output="{}"))
    if not done:
        machines.stop_execution(executionArn=run)
    return done


def test_upstream_a_grant_on_the_machine_denies(plain):
    assert not answered(plain)


def test_a_grant_on_the_machine_allows(patched):
    assert answered(patched)

def error(platform):
    """The error of a task that waits for a token and whose function fails."""
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken", "TimeoutSeconds": 3,
            "Arguments": {"FunctionName": platform.function(),
                          "Payload": {"error": "Mine", "token": "{% $states.context.Task.Token %}"}}, "End": True}
    return platform.run({"Call": call})[0]["error"]


def test_upstream_the_failure_is_dropped(plain):
    assert error(plain) == "States.Timeout"


def test_the_task_fails(patched):
    assert error(patched) == "Mine"

from conftest import allow


def error(platform):
    name = platform.function()
    platform.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Arguments": {"FunctionName": name, "Payload": {}}}
    return platform.run({"Call": call})[0].get("error")


def test_upstream_it_is_unknown(plain):
    assert error(plain) == "Lambda.Unknown"


def test_it_has_its_name(patched):
    assert error(patched) == "Lambda.TooManyRequestsException"

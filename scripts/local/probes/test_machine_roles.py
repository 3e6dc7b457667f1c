from conftest import HUB, REGION, allow


def ended(platform, statement):
    name = platform.function()
    role = platform.role([statement(name)], service="states.amazonaws.com")
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Arguments": {"FunctionName": name, "Payload": {}}}
    found, _ = platform.run({"Call": call}, role=role)
    return found["status"], found.get("error")


def function(name):
    return f"arn:aws:lambda:{REGION}:{HUB}:function:{name}"


def test_upstream_a_role_without_permission_calls_it(plain):
    assert ended(plain, lambda name: allow("sqs:*")) == ("SUCCEEDED", None)


def test_the_role_decides(patched):
    assert ended(patched, lambda name: allow("lambda:InvokeFunction", function(name))) == ("SUCCEEDED", None)
    assert ended(patched, lambda name: allow("lambda:InvokeFunction", function("other"))) == (
        "FAILED", "Lambda.AWSLambdaException")

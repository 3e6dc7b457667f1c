from conftest import unique


def kept(platform):
    """The reserved concurrency and the dead-letter queue of a function made by a template."""
    _, queue = platform.queue()
    name = unique("function")
    properties = {"FunctionName": name, "Runtime": "python3.12", "Handler": "index.handler",
                  "Role": platform.role(service="lambda.amazonaws.com"), "Code": {"ZipFile": "handler = print"},
                  "ReservedConcurrentExecutions": 3, "DeadLetterConfig": {"TargetArn": queue}}
    platform.stack({"Function": {"Type": "AWS::Lambda::Function", "Properties": properties}})
    functions = platform.client("lambda")
    letters = functions.get_function_configuration(FunctionName=name).get("DeadLetterConfig", {})
    concurrency = functions.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
    return concurrency == 3, letters.get("TargetArn") == queue


def test_upstream_both_are_dropped(plain):
    assert kept(plain) == (False, False)


def test_both_are_kept(patched):
    assert kept(patched) == (True, True)

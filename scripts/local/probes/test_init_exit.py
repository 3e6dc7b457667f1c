import io
import zipfile

from conftest import unique


def error(platform):
    """The error of a task whose function exits before it asks for its first call."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, "#!/bin/sh\nexit 3\n")
    name = unique("function")
    platform.client("lambda").create_function(
        FunctionName=name, Role=platform.role(service="lambda.amazonaws.com"), Runtime="provided.al2023",
        Handler="bootstrap", Timeout=10, Code={"ZipFile": code.getvalue()})
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Arguments": {"FunctionName": name, "Payload": {}}}
    return platform.run({"Call": call})[0]["error"]


def test_upstream_it_is_unknown(plain):
    assert error(plain) == "Runtime.Unknown"


def test_it_is_the_runtimes_exit(patched):
    assert error(patched) == "Runtime.ExitError"

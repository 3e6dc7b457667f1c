"""What tests of crashes and of the HTTP API lean on; no patch, so no fault is shown."""

import http.client
import json
import os
import signal
import subprocess
import threading

from conftest import LOCAL, until


def pids(platform, name):
    found = subprocess.run([LOCAL / "workers", name, "--state", platform.report["state"]], check=True,
                           stdout=subprocess.PIPE, text=True)
    return [int(line) for line in found.stdout.split()]


def kill(platform, name):
    for pid in pids(platform, name):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not pids(platform, name))


def test_a_worker_killed_in_a_call_fails_its_task_by_name(patched, tmp_path):
    name, called = patched.function(), tmp_path / "called"
    killer = threading.Thread(target=lambda: until(called.exists) and kill(patched, name))
    payload = {"touch": str(called), "sleep": "{% $states.context.State.RetryCount = 0 ? 8 : 0 %}"}
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "TimeoutSeconds": 20, "End": True,
            "Arguments": {"FunctionName": name, "Payload": payload},
            "Retry": [{"ErrorEquals": ["Runtime.ExitError"], "IntervalSeconds": 1, "MaxAttempts": 1}]}
    killer.start()
    found, history = patched.run({"Call": call})
    killer.join()
    assert found["status"] == "SUCCEEDED", found
    assert [e["taskFailedEventDetails"]["error"] for e in history if e["type"] == "TaskFailed"] == ["Runtime.ExitError"]


def test_a_function_that_exits_fails_its_task_by_name(patched):
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Arguments": {"FunctionName": patched.function(), "Payload": {"exit": 3}}}
    assert patched.run({"Call": call})[0]["error"] == "Runtime.ExitError"


def test_a_worker_killed_while_idle_is_replaced(patched):
    name, functions = patched.function(), patched.client("lambda")
    assert functions.invoke(FunctionName=name, Payload=b"{}")["Payload"].read() == b"{}"
    [pid] = pids(patched, name)
    kill(patched, name)
    assert functions.invoke(FunctionName=name, Payload=b"{}")["Payload"].read() == b"{}"
    assert pids(patched, name) != [pid]


def test_an_http_api_answers_to_its_host_name(patched):
    name, apis = patched.function(), patched.client("apigatewayv2")
    function = patched.client("lambda").get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    api = apis.create_api(Name=name, ProtocolType="HTTP")["ApiId"]
    link = apis.create_integration(ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function,
                                   PayloadFormatVersion="2.0")["IntegrationId"]
    apis.create_route(ApiId=api, RouteKey="$default", Target=f"integrations/{link}")
    apis.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    patched.client("lambda").add_permission(FunctionName=name, StatementId="api", Action="lambda:InvokeFunction",
                                            Principal="apigateway.amazonaws.com")
    port = patched.endpoint.rsplit(":", 1)[-1]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request("GET", "/a/token?x=1", headers={"Host": f"{api}.execute-api.localhost:{port}", "Cookie": "s=1"})
    answer = connection.getresponse()
    event = json.loads(answer.read())
    assert (answer.status, event["rawPath"], event["rawQueryString"]) == (200, "/a/token", "x=1")
    assert event["headers"]["cookie"] == "s=1"  # and not in cookies, where AWS has it

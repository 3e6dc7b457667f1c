"""Two platforms for the probes: one without the patches, one with them.

    .cache/venv/bin/python -m pytest scripts/local/probes

Each probe shows a fault on the first (when that half fails, the fault is gone upstream and the patch can go) and
what is right on the second. Functions are Python scripts that speak the Runtime API, so nothing is compiled.
"""

import io
import json
import pathlib
import subprocess
import time
import uuid
import zipfile

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

LOCAL = pathlib.Path(__file__).resolve().parents[1]
HUB, MEMBER, REGION = "111111111111", "222222222222", "us-east-1"
REFUSALS = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "Client.UnauthorizedOperation",
            "UnauthorizedOperation", "AWS.SimpleQueueService.AccessDenied")
BOOTSTRAP = '''#!/usr/bin/env python3
import json, os, time, urllib.request
api = "http://%s/2018-06-01/runtime/invocation/" % os.environ["AWS_LAMBDA_RUNTIME_API"]
def post(path, value):
    urllib.request.urlopen(urllib.request.Request(api + path, json.dumps(value).encode(), method="POST"))
while True:
    with urllib.request.urlopen(api + "next") as answer:
        request, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
    if "touch" in event:
        open(event["touch"], "w").close()
    time.sleep(event.get("sleep", 0))
    if "exit" in event:
        os._exit(event["exit"])
    if "error" in event:
        post(request + "/error", {"errorType": event["error"], "errorMessage": "asked for"})
    else:
        post(request + "/response", event)
'''


class Platform:
    def __init__(self, report):
        self.report, self.endpoint = report, report["endpoint"]

    def client(self, service, account=HUB, region=REGION, keys=None, endpoint=None):
        keys = keys or {"AccessKeyId": account, "SecretAccessKey": "test", "SessionToken": None}
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, inject_host_prefix=False)
        return boto3.client(service, endpoint_url=endpoint or self.endpoint, region_name=region, config=config,
                            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
                            aws_session_token=keys["SessionToken"])

    def moto(self, service):
        """A client of the engine behind, which in a platform without patches answers nothing by itself."""
        return self.client(service, endpoint=self.report["moto"])

    def role(self, statements=(), trust=None, account=HUB, service=None):
        """Makes a role; service is the service that may assume it, otherwise the account's own root."""
        principal = {"Service": service} if service else {"AWS": f"arn:aws:iam::{account}:root"}
        trust = trust or [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]
        iam, name = self.client("iam", account), unique("role")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(statements))
        return arn

    def assume(self, role, caller=None, **more):
        sts = self.client("sts", role.split(":")[4], keys=caller)
        return sts.assume_role(RoleArn=role, RoleSessionName="probe", **more)["Credentials"]

    def session(self, *statements, account=HUB):
        """Keys of a role that may do everything, in a session that may do only this."""
        role = self.role([allow("*")], account=account)
        return self.assume(role, Policy=document(statements))

    def function(self, account=HUB, **more):
        """A function that answers its event, or touches a file, sleeps, exits, fails as the event says. Returns its
        name."""
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, BOOTSTRAP)
        name = unique("function")
        role = self.role(account=account, service="lambda.amazonaws.com")
        self.client("lambda", account).create_function(
            FunctionName=name, Role=role, Runtime="provided.al2023", Handler="bootstrap", Timeout=10,
            Code={"ZipFile": code.getvalue()}, **more)
        return name

    def run(self, states, data=None, role=None, **top):
        """Runs a machine of these states, the first one first. Returns (description, history)."""
        machines = self.client("stepfunctions")
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states, **top}
        role = role or self.role([allow("*")], service="states.amazonaws.com")
        machine = machines.create_state_machine(name=unique("machine"), definition=json.dumps(definition),
                                                roleArn=role)["stateMachineArn"]
        run = machines.start_execution(stateMachineArn=machine, input=json.dumps(data or {}))["executionArn"]
        found = until(lambda: (d := machines.describe_execution(executionArn=run))["status"] != "RUNNING" and d)
        return found, machines.get_execution_history(executionArn=run, maxResults=1000)["events"]

    def stack(self, resources, outputs=None, name=None):
        """Makes a stack, or updates the one of that name. Returns its description."""
        stacks, template = self.client("cloudformation"), {"Resources": resources}
        if outputs:
            template["Outputs"] = {key: {"Value": value} for key, value in outputs.items()}
        make, name = (stacks.update_stack, name) if name else (stacks.create_stack, unique("stack"))
        make(StackName=name, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"])
        return until(lambda: (d := stacks.describe_stacks(StackName=name)["Stacks"][0])["StackStatus"].endswith(
            ("COMPLETE", "FAILED")) and "IN_PROGRESS" not in d["StackStatus"] and d)

    def queue(self, account=HUB):
        """Makes a queue that any rule of its account may send to. Returns (URL, ARN)."""
        queues = self.client("sqs", account)
        url = queues.create_queue(QueueName=unique("queue"))["QueueUrl"]
        return url, queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def received(self, url, account=HUB):
        """One message of a queue, decoded, or None when none comes within a second."""
        for message in self.client("sqs", account).receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
            return json.loads(message["Body"])


def unique(stem):
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def document(statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **condition):
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def allowed(call):
    """Whether a call is authorized; anything but a refusal is raised."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] not in REFUSALS:
            raise
        return False
    return True


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("not within the time")


def path(history):
    return [e["stateEnteredEventDetails"]["name"] for e in history if "stateEnteredEventDetails" in e]


def started(directory, *options):
    up = subprocess.run([LOCAL / "up", "--state", directory, "--port", "0", "--json", *options], check=True,
                        stdout=subprocess.PIPE)
    return Platform(json.loads(up.stdout))


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain")
    yield started(directory, "--plain")
    subprocess.run([LOCAL / "down", "--state", directory], check=True)


@pytest.fixture(scope="session")
def patched(tmp_path_factory):
    directory = tmp_path_factory.mktemp("patched")
    yield started(directory)
    subprocess.run([LOCAL / "down", "--state", directory], check=True)

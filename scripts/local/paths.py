"""Runs state machines for path tests: moto's interpreter, JSONata wired in, every task answered by the test.

    scripts/local/paths --tasks PORT [--port N] [--waits]

prints one line when it listens: {"endpoint": "http://127.0.0.1:N", "pid": …, "account": …, "region": …}. It ends when its
standard input, if that is a pipe, is closed (so a test that dies leaves nothing), or by SIGTERM. N is a free port
when not given. Intervals of Retry are skipped unless --waits is given; MaxAttempts and BackoffRate still count.

The test listens on 127.0.0.1:PORT and answers the tasks of the machines it creates and starts at the endpoint
(CreateStateMachine, StartExecution with a name, DescribeExecution, GetExecutionHistory; any credentials). Each
task is the request that the AWS SDK would send, with two headers more: X-State, the name of the state, and
X-Execution, the execution's ARN. Retries arrive as further requests.

    lambda:invoke         POST /2015-03-31/functions/{name or ARN}/invocations, the Payload as body. Answer 200 with
                          the function's result as body; header X-Amz-Function-Error: Unhandled (or Handled) and
                          {"errorType": E, "errorMessage": M} when the function fails: the machine sees error E and
                          that object, as text, as its cause. A service's error: status 429 with the header
                          x-amzn-ErrorType: TooManyRequestsException is Lambda.TooManyRequestsException.
    …waitForTaskToken     the same request; the token is where the machine's arguments put it. Answer 200 with any
                          JSON (it is dropped), then, at once or later, SendTaskSuccess (taskToken, output) or
                          SendTaskFailure at the endpoint; no answer within TimeoutSeconds is States.Timeout.
    sqs:sendMessage       POST /, X-Amz-Target: AmazonSQS.SendMessage, {"QueueUrl", "MessageBody"}. Answer 200 with
                          {"MessageId": …, "MD5OfMessageBody": the md5 of MessageBody in hex}.
    sns:publish           POST /, a form with Action=Publish. Answer 200 with
                          <PublishResponse><PublishResult><MessageId>…</MessageId></PublishResult></PublishResponse>.
    dynamodb:updateItem   POST /, X-Amz-Target: DynamoDB_20120810.UpdateItem. Answer 200 with {}.

A path is the stateEnteredEventDetails.name of the events of GetExecutionHistory, in their order; states of Map items
that run at once interleave there (MaxConcurrency 1, or one item, keeps them apart).
Not as AWS: a token may be used twice; SendTaskFailure drops the cause; a Choice without a match needs a
Default; the output should be an object.
"""

import argparse
import functools
import json
import logging
import os
import stat
import sys
import threading
import types

import boto3
import moto.stepfunctions.parser.asl.jsonata.jsonata as language
from botocore.config import Config
from jsonata import Jsonata
from jsonata.jexception import JException
from moto.core.config import default_user_config
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.stepfunctions.parser import models  # noqa: F401  (loads the interpreter, so that it can be changed)
from moto.stepfunctions.parser.api import EvaluationFailedEventDetails, HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.common.string.string_expression import StringJSONata
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import StateTaskService
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.utils import boto_client
from moto.stepfunctions.parser.asl.utils.encoding import to_json_str
from werkzeug.serving import WSGIRequestHandler, make_server

_task = threading.local()
_making = threading.Lock()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tasks", type=int, required=True, help="where the test answers tasks")
    parser.add_argument("--waits", action="store_true", help="wait between retries")
    options = parser.parse_args()
    logging.disable()  # a failure is in the execution's cause; the interpreter also prints the whole machine
    language._eval_jsonata = lambda expression: Jsonata(expression).evaluate(None)
    everywhere(language.encode_jsonata_variable_declarations, declarations)
    everywhere(boto_client.boto_client_for, functools.partial(client, options.tasks))
    name_tasks()
    fail_by_name()
    if not options.waits:
        retrier_decl.time = types.SimpleNamespace(sleep=lambda seconds: None)
    default_user_config["stepfunctions"]["execute_state_machine"] = True
    serve(options.port)


def serve(port):
    server = make_server("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=True,
                         request_handler=Quiet)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=end_with_input, daemon=True).start()
    print(json.dumps({"endpoint": f"http://127.0.0.1:{server.server_port}", "pid": os.getpid(),
                      "account": "123456789012", "region": "us-east-1"}), flush=True)
    server.serve_forever()


class Quiet(WSGIRequestHandler):
    def log_request(self, *arguments):
        pass


def end_with_input():
    while os.read(0, 4096):
        pass
    os._exit(0)


def everywhere(old, new):
    """Replaces a function in each module that has imported it."""
    for module in list(sys.modules.values()):
        if vars(module).get(old.__name__) is old:
            setattr(module, old.__name__, new)


def declarations(bindings):
    """Variables as JSONata. moto puts strings between quotes unescaped, so that a quote in one ends the run."""
    return "".join(f"{name}:={to_json_str(value)};" for name, value in bindings.items())


def name_tasks():
    """Has each task's request say which state of which execution it is."""
    evaluate = StateTaskService._eval_execution

    def evaluated(self, env):
        _task.headers = {"X-State": self.name, "X-Execution": env.states.context_object.context_object_data[
            "Execution"]["Id"]}
        return evaluate(self, env)

    StateTaskService._eval_execution = evaluated


def fail_by_name():
    """An expression that cannot be evaluated is States.QueryEvaluationError, which States.ALL catches; moto has it
    end the execution as States.Runtime."""
    evaluate = StringJSONata._eval_body

    def evaluated(self, env):
        try:
            return evaluate(self, env)
        except JException as error:
            name = StatesErrorName(typ=StatesErrorNameType.StatesQueryEvaluationError)
            details = EvaluationFailedEventDetails(cause=f"{self.expression}: {error}", error=name.error_name)
            raise FailureEventException(FailureEvent(
                env=env, error_name=name, event_type=HistoryEventType.EvaluationFailed,
                event_details=EventDetails(evaluationFailedEventDetails=details))) from error

    StringJSONata._eval_body = evaluated


def client(port, region, service, state_credentials=None):
    with _making:  # boto3's session is not safe for the threads of a Map
        return made(port, region, service)


@functools.cache
def made(port, region, service):
    new = boto3.client(service, region_name=region, endpoint_url=f"http://127.0.0.1:{port}",
                       aws_access_key_id="tasks", aws_secret_access_key="tasks",
                       config=Config(parameter_validation=False, retries={"total_max_attempts": 1},
                                     max_pool_connections=50, connect_timeout=10, read_timeout=900))
    new.meta.events.register("before-sign", lambda request, **_: add_headers(request))
    # moto reports a service's error with the request's id, and fails where the test gave none
    new.meta.events.register("before-parse", lambda response_dict, **_: response_dict["headers"].setdefault(
        "x-amzn-requestid", "0"))
    return new


def add_headers(request):
    for name, value in getattr(_task, "headers", {}).items():
        request.headers[name] = value


if __name__ == "__main__":
    main()

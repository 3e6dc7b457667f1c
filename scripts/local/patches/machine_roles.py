"""A state machine calls services with its role.

Upstream: the role is not looked at. Checked are the optimized integrations named in ACTIONS; a refusal fails the
task with the error name that AWS uses.
"""

import contextvars

from ministack.core.responses import get_account_id, get_region
from ministack.services import stepfunctions as states

from patches.service_roles import role_allows

ACTIONS = {
    "dynamodb:deleteItem": ("dynamodb:DeleteItem", "TableName", "DynamoDB.AccessDeniedException"),
    "dynamodb:getItem": ("dynamodb:GetItem", "TableName", "DynamoDB.AccessDeniedException"),
    "dynamodb:putItem": ("dynamodb:PutItem", "TableName", "DynamoDB.AccessDeniedException"),
    "dynamodb:updateItem": ("dynamodb:UpdateItem", "TableName", "DynamoDB.AccessDeniedException"),
    "lambda:invoke": ("lambda:InvokeFunction", "FunctionName", "Lambda.AWSLambdaException"),
    "sns:publish": ("sns:Publish", "TopicArn", "SNS.AuthorizationErrorException"),
    "sqs:sendMessage": ("sqs:SendMessage", "QueueUrl", "SQS.SqsException"),
}

_role = contextvars.ContextVar("machine_role", default="")


def apply():
    task, invoke, call_back = states._execute_task, states._invoke_resource, states._invoke_with_callback

    def executed(state, data, execution, context):
        machine = states._state_machines.get(execution.get("stateMachineArn", "")) or {}
        token = _role.set(machine.get("roleArn", ""))
        try:
            return task(state, data, execution, context)
        finally:
            _role.reset(token)

    def invoked(resource, data):
        check(resource, data)
        return invoke(resource, data)

    def called_back(resource, data, token, state):
        check(resource, data)
        return call_back(resource, data, token, state)

    states._execute_task, states._invoke_resource = executed, invoked
    states._invoke_with_callback = called_back


def check(resource, data):
    """Raises the task's error when the machine's role may not do what the resource says with these arguments."""
    role, name = _role.get(), resource.split(":::")[-1].replace(".waitForTaskToken", "")
    if not role or name not in ACTIONS:
        return
    action, argument, error = ACTIONS[name]
    arn = target_arn(action, (data or {}).get(argument) or "*")
    if not role_allows(role, "states.amazonaws.com", action, arn):
        raise states._ExecutionError(error, f"User: {role} is not authorized to perform: {action} on resource: {arn}")


def target_arn(action, value):
    here = f"{get_region()}:{get_account_id()}"
    if value.startswith("arn:"):
        return value
    if action == "lambda:InvokeFunction":
        return f"arn:aws:lambda:{here}:function:{value}"
    if action.startswith("dynamodb:"):
        return f"arn:aws:dynamodb:{here}:table/{value}"
    if action == "sqs:SendMessage" and "/" in value:
        account, queue = value.split("/")[-2:]
        return f"arn:aws:sqs:{get_region()}:{account}:{queue}"
    return value

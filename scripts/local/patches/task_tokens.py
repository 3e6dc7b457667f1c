"""SendTaskSuccess, SendTaskFailure and SendTaskHeartbeat are checked against the machine that waits for the token.

Upstream: they are checked against "*", so a grant on a machine's ARN denies. (AWS's list of actions names no
resource type for them; grants on the machine's ARN, and on "*", are both accepted here.)
"""

import sys

from ministack.services import stepfunctions as states

from patches.iam_resources import register

_machines = {}


def apply():
    call_back = states._invoke_with_callback

    def called_back(resource, data, token, state):
        frame = sys._getframe(1)  # the token is made some frames above, where the execution is known
        while frame and "execution" not in frame.f_locals:
            frame = frame.f_back
        if frame:
            _machines[token] = frame.f_locals["execution"]["stateMachineArn"]
        try:
            return call_back(resource, data, token, state)
        finally:
            _machines.pop(token, None)

    register("states")(describe)
    states._invoke_with_callback = called_back


def describe(request, checks):
    if request.action.startswith("SendTask"):
        checks.resources = [_machines.get(request.body.get("taskToken"), request.arn)]

"""Reserved concurrency and the dead-letter queue of a function in a template.

Upstream: ReservedConcurrentExecutions and DeadLetterConfig are dropped.
"""

from ministack.services import lambda_svc

from patches.provisioning import after


def apply():
    after("AWS::Lambda::Function", keep)


def keep(name, properties):
    if (function := lambda_svc._functions.get(name)) is None:
        return
    reserved = properties.get("ReservedConcurrentExecutions")
    function["concurrency"] = None if reserved is None else int(reserved)
    if queue := properties.get("DeadLetterConfig"):
        function["config"]["DeadLetterConfig"] = queue

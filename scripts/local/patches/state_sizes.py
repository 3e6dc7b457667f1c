"""A machine takes an input of 256 KiB, and no more.

Upstream: any size. A rule's event that is larger goes to the target's dead-letter queue if it has one; StartExecution
answers InvalidExecutionInput.
"""

import logging

from ministack.core.responses import error_response_json
from ministack.services import eventbridge
from ministack.services import stepfunctions as states

from patches.rule_roles import dead_letter

log = logging.getLogger("patches")

LIMIT = 256 * 1024


def apply():
    invoke, start = eventbridge._invoke_target, states._start_execution

    def invoked(target, event, rule, view=None):
        if ":stateMachine:" in target.get("Arn", "") and len(event.get("Detail") or "") > LIMIT:
            log.warning("rule %s: %d bytes are too many for %s", rule.get("Name"), len(event["Detail"]), target["Arn"])
            return dead_letter(target, event)
        return invoke(target, event, rule, view)

    def started(data):
        if len((data.get("input") or "").encode()) > LIMIT:
            return error_response_json("InvalidExecutionInput", "Invalid State Machine Execution Input: too large", 400)
        return start(data)

    eventbridge._invoke_target, states._start_execution = invoked, started

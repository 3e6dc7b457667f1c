"""A rule starts a machine, or puts on another bus, with its target's role.

Upstream: the role is not looked at. A target whose role may not goes to the target's dead-letter queue if it has
one. A bus as target needs a role only when one is given, as on AWS for buses that were targets before roles were.
"""

import json
import logging

from ministack.core.arn import parse_arn
from ministack.services import eventbridge

from patches.service_roles import role_allows

log = logging.getLogger("patches")

ACTIONS = {"events": "events:PutEvents", "states": "states:StartExecution"}


def apply():
    invoke = eventbridge._invoke_target

    def invoked(target, event, rule, view=None):
        arn, role = target.get("Arn", ""), target.get("RoleArn")
        service = arn.split(":")[2] if arn.count(":") > 4 else ""
        action = ACTIONS.get(service) if ":api-destination/" not in arn else None
        if not action or (service == "events" and not role):
            return invoke(target, event, rule, view)
        if role and role_allows(role, "events.amazonaws.com", action, arn):
            return invoke(target, event, rule, view)
        log.warning("rule %s: %s may not %s %s", rule.get("Name"), role, action, arn)
        dead_letter(target, event)

    eventbridge._invoke_target = invoked


def dead_letter(target, event):
    if queue := (target.get("DeadLetterConfig") or {}).get("Arn"):
        body = json.dumps(eventbridge._pattern_event_view(event).event_with_detail())
        eventbridge._dispatch_to_sqs(parse_arn(queue), body, {})

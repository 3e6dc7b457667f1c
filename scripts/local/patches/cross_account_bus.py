"""A rule's target may be a bus of another account or region, where the bus's policy admits the sender.

Upstream: such a target is dropped with a warning. An event keeps its account and region on the way, as on AWS.
"""

import copy
import logging

from ministack.core import iam_evaluator as iam
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import eventbridge

from patches.decisions import record

log = logging.getLogger("patches")


def apply():
    dispatch = eventbridge._dispatch_to_event_bus

    def dispatched(spec, event, rule, path, payload=None):
        if (spec.account_id, spec.region) == (get_account_id(), get_region()):
            return dispatch(spec, event, rule, path, payload)
        deliver(spec, event, rule, path, payload)

    eventbridge._dispatch_to_event_bus = dispatched


def deliver(spec, event, rule, path, payload):
    sender, name = get_account_id(), spec.resource.split("/", 1)[-1]
    arn = f"arn:aws:events:{spec.region}:{spec.account_id}:event-bus/{name}"
    forwarded = {**event, "EventBusName": name,
                 "_DispatchPath": [*path, eventbridge._rule_key(rule.get("Name"), rule.get("EventBusName", "default"))]}
    if payload is not None:
        forwarded["Detail"] = payload
    with request_scope(spec.account_id, spec.region):
        if name not in eventbridge._event_buses:
            log.warning("no bus %s", arn)
        elif admitted(sender, spec, name, arn, event):
            eventbridge._dispatch_event(forwarded)
            eventbridge._archive_event({k: v for k, v in forwarded.items() if k != "_DispatchPath"})


def admitted(sender, spec, name, arn, event):
    root = f"arn:aws:iam::{sender}:root"
    context = iam.EvalContext(
        principal_arn=root, principal_type="Root", principal_account=sender, action="events:PutEvents",
        resource_arn=arn, region=spec.region,
        service_context={"events:source": event.get("Source"), "events:detail-type": event.get("DetailType"),
                         "events:event-bus-invocation": "true"})
    allowed = sender == spec.account_id or iam.evaluate_resource_policy(
        bus_policy(name), context).decision == "Allow"
    record(root, "events:PutEvents", arn, allowed, via="bus")
    if not allowed:
        log.warning("bus %s refuses %s", arn, sender)
    return allowed


def bus_policy(name):
    """The bus's policy; what PutPermission stored in its own form (an account, one condition) in IAM's."""
    policy = copy.deepcopy(eventbridge._event_bus_policies.get(name)) or {}
    for statement in policy.get("Statement", []):
        principal, condition = statement.get("Principal"), statement.get("Condition") or {}
        if isinstance(principal, str) and principal != "*":
            statement["Principal"] = {"AWS": f"arn:aws:iam::{principal}:root"}
        if "Key" in condition:
            statement["Condition"] = {condition["Type"]: {condition["Key"]: condition["Value"]}}
    return policy

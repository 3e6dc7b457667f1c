"""The policy of a bus in a template: Policy of AWS::Events::EventBus, and AWS::Events::EventBusPolicy.

Upstream: the property is dropped and the type is not known, so a bus made by a template admits nobody.
"""

import json

from ministack.core.responses import get_account_id, get_region
from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners

from patches.provisioning import after


def apply():
    after("AWS::Events::EventBus", keep_policy)
    provisioners._RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {
        "create": lambda logical_id, properties, stack: put(properties),
        "update": lambda physical_id, old, new, stack: put(new),
        "delete": lambda physical_id, properties: drop(*physical_id.split("|")),
    }


def keep_policy(name, properties):
    if policy := properties.get("Policy"):
        eventbridge._event_bus_policies[name] = policy if isinstance(policy, dict) else json.loads(policy)


def put(properties):
    name, sid = properties.get("EventBusName", "default"), properties["StatementId"]
    drop(name, sid)
    policy = eventbridge._event_bus_policies.get(name) or {"Version": "2012-10-17", "Statement": []}
    policy["Statement"].append({**(properties.get("Statement") or short_form(name, properties)), "Sid": sid})
    eventbridge._event_bus_policies[name] = policy
    return f"{name}|{sid}", {}


def short_form(name, properties):
    """The statement that Principal, Action and Condition of the type stand for."""
    principal, condition = properties.get("Principal"), properties.get("Condition") or {}
    statement = {"Effect": "Allow", "Action": properties.get("Action", "events:PutEvents"),
                 "Principal": "*" if principal == "*" else {"AWS": f"arn:aws:iam::{principal}:root"},
                 "Resource": f"arn:aws:events:{get_region()}:{get_account_id()}:event-bus/{name}"}
    if condition:
        statement["Condition"] = {condition["Type"]: {condition["Key"]: condition["Value"]}}
    return statement


def drop(name, sid):
    if policy := eventbridge._event_bus_policies.get(name):
        policy["Statement"] = [s for s in policy["Statement"] if s.get("Sid") != sid]

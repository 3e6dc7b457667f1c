"""What a role lets an AWS service do: shared by the patches of rules and of machines."""

import json

from ministack.core import iam_evaluator as iam
from ministack.core.responses import get_region

from patches.decisions import record


def role_allows(role_arn, service, action, resource, keys=None):
    """Whether the service (its principal, such as states.amazonaws.com) may assume the role, and the role may do
    the action on the resource."""
    from ministack.services import iam as store

    account, name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    role = store._roles.get_scoped(account, None, name)
    allowed = False
    if role and service in trusted_services(role["AssumeRolePolicyDocument"]):
        session = f"arn:aws:sts::{account}:assumed-role/{name}/{service.split('.')[0]}"
        context = iam.EvalContext(principal_arn=session, principal_type="AssumedRole", principal_account=account,
                                  action=action, resource_arn=resource, region=get_region(),
                                  service_context=keys or {})
        limits = iam._permissions_boundary(store._roles, name, account)
        allowed = iam.evaluate(context, iam._gather_role_policies(name, account), *limits).decision == "Allow"
    record(role_arn, action, resource, allowed, via=service)
    return allowed


def trusted_services(trust):
    """The service principals that a trust policy names."""
    statements = listed((json.loads(trust) if isinstance(trust, str) else trust)["Statement"])
    named = [s["Principal"] for s in statements if s.get("Effect") == "Allow"]
    return [service for p in named if isinstance(p, dict) for service in listed(p.get("Service") or [])]


def listed(value):
    return value if isinstance(value, list) else [value]

"""What a request is checked against: every resource it names, the condition keys, and what it implies.

Upstream: one resource ARN is derived for a request, often "*" or the wrong one, and few condition keys, so that a
policy narrowed to the right resource denies and one narrowed to another is not tested. This patch lets a service's
module say it (see register) and checks each; what no module claims stays as ministack has it.
"""

import contextvars
import json
import logging
from dataclasses import dataclass, field

from ministack.core import iam_actions
from ministack.core import iam_evaluator as iam
from ministack.core.responses import request_scope

log = logging.getLogger("patches")

_describers = {}
_described = contextvars.ContextVar("described", default=None)


@dataclass
class Request:
    """An API request as its describer sees it. action is the operation's name without the service."""

    service: str
    method: str
    path: str
    body: dict
    params: dict
    region: str
    account: str
    action: str
    arn: str  # what ministack derived

    def param(self, name):
        value = self.params.get(name, "")
        return (value or [""])[0] if isinstance(value, list) else value

    def arn_of(self, resource, service=None):
        return f"arn:aws:{service or self.service}:{self.region}:{self.account}:{resource}"


@dataclass
class Checks:
    """resources replaces what ministack derived; keys joins its condition keys; also holds further checks, each
    (action, resource ARN, service, condition keys)."""

    resources: list = field(default_factory=list)
    keys: dict = field(default_factory=dict)
    also: list = field(default_factory=list)


def register(service):
    """Decorates a function (Request, Checks) that fills in the checks of that service's requests."""
    def keep(describe):
        _describers[service] = describe
        return describe
    return keep


def current_keys():
    """The condition keys of the request being answered."""
    described = _described.get()
    return described[1].keys if described else {}


def apply():
    extract, enforce = iam_actions.extract_resource_arn, iam.enforce

    def extracted(service, method, path, headers, body, params, region, account):
        arn = extract(service, method, path, headers, body, params, region, account)
        checks = Checks(resources=[arn])
        if describe := _describers.get(service):
            request = Request(service, method, path, parsed(body), params, region, account, "", arn)
            request.action = headers.get("x-amz-target", "").rsplit(".", 1)[-1] or request.param("Action")
            try:
                with request_scope(account, region):
                    describe(request, checks)
            except Exception:
                log.exception("%s %s", service, request.action)
        _described.set((checks.resources[0], checks))
        return checks.resources[0]

    def enforced(key, action, service, region, resource_arn="*", service_context=None):
        described = _described.get() or ("", Checks())
        checks = described[1]
        if resource_arn != described[0]:  # a further resource of the same request, which ministack checks by itself
            checks = Checks(resources=[resource_arn], keys=checks.keys)
        wanted = [(action, arn, service, {**(service_context or {}), **checks.keys}) for arn in checks.resources]
        for act, arn, svc, keys in wanted + checks.also:
            if refusal := enforce(key, act, svc, region, resource_arn=arn, service_context=keys):
                return refusal
        return None

    iam_actions.extract_resource_arn, iam.enforce = extracted, enforced


def parsed(body):
    """A JSON object from a request's body, else an empty one."""
    try:
        found = json.loads(body) if (body or b"")[:1] == b"{" else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}

"""Findings of Access Analyzer, read at their source: what was put on a bus is what ListFindingsV2 and GetFindingV2 answer.

Upstream: there is no Access Analyzer. An aws.access-analyzer event that a bus took is kept for its account (the putter's)
and region, under that account's only analyzer, which exists from the first one on. The actions of the calls of version 2
are those of version 1, as IAM has it.
"""

import json
import re

from ministack import app
from ministack.core import iam_actions
from ministack.core.responses import get_account_id, get_region

from patches.bus_findings import page, remember
from patches.iam_resources import parsed, register

SERVICE = "access-analyzer"
SUMMARY = ("analyzedAt", "createdAt", "error", "id", "resource", "resourceOwnerAccount", "resourceType", "status", "updatedAt")
ACTIONS = {"ListFindingsV2": "ListFindings", "GetFindingV2": "GetFinding"}
_findings = {}  # (account, region) -> {id: the event's detail}


def apply():
    remember("aws.access-analyzer", keep)
    register(SERVICE)(describe)
    app.SERVICE_HANDLERS[SERVICE] = handle
    iam_actions.SERVICE_TO_IAM_NAMESPACE[SERVICE] = SERVICE
    iam_actions._BOTOCORE_SERVICE_MAP[SERVICE] = ["accessanalyzer"]
    match = iam_actions._match_rest_action

    def matched(service, method, path, query_params=None):
        action = match(service, method, path, query_params)
        return ACTIONS.get(action, action) if service == SERVICE else action

    iam_actions._match_rest_action = matched


def keep(detail):
    if detail.get("id"):
        _findings.setdefault((get_account_id(), get_region()), {})[detail["id"]] = detail


def describe(request, checks):
    if analyzer := request.body.get("analyzerArn") or request.param("analyzerArn"):
        checks.resources = [analyzer]


async def handle(method, path, headers, body, params):
    scope, asked = (get_account_id(), get_region()), parsed(body)
    store, arn = _findings.get(scope, {}), f"arn:aws:access-analyzer:{scope[1]}:{scope[0]}:analyzer/firebreak"
    if (method, path) == ("GET", "/analyzer"):
        return answer({"analyzers": [{"arn": arn, "name": "firebreak", "type": "ACCOUNT", "status": "ACTIVE",
                                      "createdAt": "2026-01-01T00:00:00Z"}] if store else []})
    if (method, path) == ("POST", "/findingv2"):
        if asked.get("analyzerArn") != arn:
            return answer({"message": "no such analyzer"}, 404, "ResourceNotFoundException")
        wanted = ((asked.get("filter") or {}).get("status") or {}).get("eq")
        found = [summary(f) for f in store.values() if not wanted or f.get("status") in wanted]
        part, token = page(found, asked.get("nextToken"), asked.get("maxResults") or 50)
        return answer({"findings": part, **({"nextToken": token} if token else {})})
    found = re.match(r"^/findingv2/([^/]+)$", path)
    if method == "GET" and found and found[1] in store:
        finding = store[found[1]]
        granted = {n: finding[n] for n in ("action", "condition", "isPublic", "principal") if n in finding}
        return answer({**summary(finding), "findingDetails": [{"externalAccessDetails": {"condition": {}, **granted}}]})
    return answer({"message": "not found"}, 404, "ResourceNotFoundException")


def summary(finding):
    owner = finding.get("resourceOwnerAccount") or finding.get("accountId")
    return {**{n: finding[n] for n in SUMMARY if finding.get(n)}, "resourceOwnerAccount": owner,
            "findingType": "ExternalAccess"}


def answer(content, status=200, error=None):
    headers = {"Content-Type": "application/json", **({"x-amzn-ErrorType": error} if error else {})}
    return status, headers, json.dumps(content).encode()

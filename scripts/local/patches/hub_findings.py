"""Findings of Security Hub, read at their source: what was put on a bus is what GetFindings answers.

Upstream: ministack has none of it, and moto's GetFindings does not look at the filters and has no
BatchUpdateFindings. The findings of an aws.securityhub event that a bus took are kept for its account (the putter's)
and region. Filters look at top-level fields and Workflow's and Record's states, with EQUALS and PREFIX;
BatchUpdateFindings sets Workflow, Note, Severity's label and UserDefinedFields. Other calls go to moto.
"""

import json

from ministack import app
from ministack.core.responses import get_account_id, get_region

from patches.bus_findings import remember
from patches.iam_resources import parsed, register
from patches.moto_services import forward

PATHS = {"WorkflowStatus": ("Workflow", "Status"), "SeverityLabel": ("Severity", "Label"),
         "ComplianceStatus": ("Compliance", "Status")}
_findings = {}  # (account, region) -> {(finding's id, product's ARN): finding}


def apply():
    register("securityhub")(describe)
    remember("aws.securityhub", keep)
    app.SERVICE_HANDLERS["securityhub"] = handle


def keep(detail):
    store = _findings.setdefault((get_account_id(), get_region()), {})
    for finding in detail.get("findings") or []:
        store[finding.get("Id"), finding.get("ProductArn")] = finding


def describe(request, checks):
    if request.path.startswith("/findings") and not request.path.endswith("/import"):
        checks.resources = [request.arn_of("hub/default")]


async def handle(method, path, headers, body, params):
    store, asked = _findings.get((get_account_id(), get_region()), {}), parsed(body)
    if (method, path) == ("POST", "/findings"):
        return answer({"Findings": [f for f in store.values() if matches(f, asked.get("Filters") or {})]})
    if (method, path) == ("PATCH", "/findings/batchupdate"):
        named = asked.get("FindingIdentifiers") or []
        known = [i for i in named if (i["Id"], i["ProductArn"]) in store]
        for identifier in known:
            update(store[identifier["Id"], identifier["ProductArn"]], asked)
        return answer({"ProcessedFindings": known, "UnprocessedFindings": [
            {"FindingIdentifier": i, "ErrorCode": "FindingNotFound", "ErrorMessage": "Finding Not Found"}
            for i in named if i not in known]})
    return await forward(method, path, headers, body, params)


def matches(finding, filters):
    """Whether each filter has a value that the finding's field equals, or begins with."""
    for name, wanted in filters.items():
        value = finding
        for key in PATHS.get(name, (name,)):
            value = value.get(key, "") if isinstance(value, dict) else ""
        if not any(value == w.get("Value") if w.get("Comparison") == "EQUALS" else str(value).startswith(
                w.get("Value", "")) for w in wanted):
            return False
    return True


def update(finding, asked):
    for name in ("Workflow", "Note", "Severity", "UserDefinedFields"):
        if name in asked:
            finding[name] = {**finding.get(name, {}), **asked[name]}


def answer(content):
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()

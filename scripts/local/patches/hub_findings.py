"""Findings of Security Hub, read at their source: what was put on a bus is what GetFindings answers.

Upstream: ministack has none of it, and moto's GetFindings does not look at the filters and has no
BatchUpdateFindings. The findings of an aws.securityhub event that a bus took are kept for its account (the putter's)
and region. Filters look at top-level fields and Workflow's and Record's states, with EQUALS, NOT_EQUALS and PREFIX, and
at times from a start on; the answer comes page by page. An administrator (CreateMembers) has the findings of its members
too. BatchUpdateFindings sets Workflow, Note, Severity's label and UserDefinedFields. Other calls go to moto.
"""

import json

from ministack import app
from ministack.core.responses import get_account_id, get_region

from patches.bus_findings import moment, page, remember
from patches.iam_resources import parsed, register
from patches.moto_services import forward

PATHS = {"WorkflowStatus": ("Workflow", "Status"), "SeverityLabel": ("Severity", "Label"),
         "ComplianceStatus": ("Compliance", "Status")}
DEFAULTS = {"WorkflowStatus": "NEW", "RecordState": "ACTIVE"}
_findings = {}  # (account, region) -> {(finding's id, product's ARN): finding}
_members = {}  # (account, region) -> account ids


def apply():
    register("securityhub")(describe)
    remember("aws.securityhub", keep)
    app.SERVICE_HANDLERS["securityhub"] = handle


def keep(detail):
    store = _findings.setdefault((get_account_id(), get_region()), {})
    for finding in detail.get("findings") or []:
        store[finding.get("Id"), finding.get("ProductArn")] = finding


def describe(request, checks):
    if request.path.startswith(("/findings", "/members")) and not request.path.endswith("/import"):
        checks.resources = [request.arn_of("hub/default")]


async def handle(method, path, headers, body, params):
    scope, asked = (get_account_id(), get_region()), parsed(body)
    store, members = _findings.get(scope, {}), _members.setdefault(scope, [])
    if (method, path) == ("POST", "/findings"):
        found = [f for f in everything(scope) if matches(f, asked.get("Filters") or {})]
        part, token = page(found, asked.get("NextToken"), asked.get("MaxResults") or 100)
        return answer({"Findings": part, **({"NextToken": token} if token else {})})
    if (method, path) == ("POST", "/members"):
        members += [m["AccountId"] for m in asked.get("AccountDetails") or [] if m["AccountId"] not in members]
        return answer({"UnprocessedAccounts": []})
    if (method, path) == ("GET", "/members"):
        return answer({"Members": [{"AccountId": m, "AdministratorId": scope[0], "MemberStatus": "Enabled"}
                                   for m in members]})
    if (method, path) == ("PATCH", "/findings/batchupdate"):
        named = asked.get("FindingIdentifiers") or []
        known = [i for i in named if (i["Id"], i["ProductArn"]) in store]
        for identifier in known:
            update(store[identifier["Id"], identifier["ProductArn"]], asked)
        return answer({"ProcessedFindings": known, "UnprocessedFindings": [
            {"FindingIdentifier": i, "ErrorCode": "FindingNotFound", "ErrorMessage": "Finding Not Found"}
            for i in named if i not in known]})
    return await forward(method, path, headers, body, params)


def everything(scope):
    """The findings of an account and of its members."""
    return [f for (account, region), findings in _findings.items() if region == scope[1]
            and account in (scope[0], *_members.get(scope, [])) for f in findings.values()]


def matches(finding, filters):
    """Whether the finding's field is, for each filter, what one of its values wants, or none of those that it shuns."""
    for name, wanted in filters.items():
        value = finding
        for key in PATHS.get(name, (name,)):
            value = value.get(key, "") if isinstance(value, dict) else ""
        value = value or DEFAULTS.get(name, "")
        shunned = [w for w in wanted if w.get("Comparison") == "NOT_EQUALS"]
        sought = [w for w in wanted if w.get("Comparison") != "NOT_EQUALS"]
        if any(value == w.get("Value") for w in shunned) or sought and not any(one(value, w) for w in sought):
            return False
    return True


def one(value, wanted):
    if "Start" in wanted:
        return moment(wanted["Start"]) <= moment(value) <= moment(wanted.get("End"))
    if wanted.get("Comparison") == "EQUALS":
        return value == wanted.get("Value")
    return str(value).startswith(wanted.get("Value", ""))


def update(finding, asked):
    for name in ("Workflow", "Note", "Severity", "UserDefinedFields"):
        if name in asked:
            finding[name] = {**finding.get(name, {}), **asked[name]}


def answer(content):
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()

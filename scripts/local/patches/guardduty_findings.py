"""Findings of GuardDuty, read at their source: what was put on a bus is what GetFindings answers.

Upstream: no GetFindings anywhere. An aws.guardduty event that a bus took is kept for its account (the putter's),
region and detector; putting it again with service.archived true, or ArchiveFindings, changes it. ListFindings looks at
updatedAt, archived, accountId and severity, in the order of the updates, page by page. An administrator (CreateMembers)
has the findings of its members too. Calls that are not answered here go to moto.
"""

import copy
import functools
import json
import re

from botocore.loaders import Loader
from botocore.model import ServiceModel

from ministack import app
from ministack.core.responses import get_account_id, get_region

from patches.bus_findings import moment, page, remember
from patches.iam_resources import parsed, register
from patches.moto_services import forward

_findings = {}  # (account, region, detector) -> {finding id: finding}
_members = {}  # the same -> account ids


def apply():
    remember("aws.guardduty", keep)
    register("guardduty")(describe)
    app.SERVICE_HANDLERS["guardduty"] = handle


def keep(finding):
    if not isinstance(finding.get("severity", 0), (int, float)):
        return  # an event that GuardDuty cannot have made, and no client could read
    if finding.get("id") and (detector := (finding.get("service") or {}).get("detectorId")):
        shape = model().shape_for("Finding")
        store = _findings.setdefault((get_account_id(), get_region(), detector), {})
        store[finding["id"]] = shaped(finding, shape)


def describe(request, checks):
    if detector := re.match(r"^/detector/([^/]+)", request.path):
        checks.resources = [request.arn_of(f"detector/{detector[1]}")]


async def handle(method, path, headers, body, params):
    scope = (get_account_id(), get_region())
    if (method, path.rstrip("/")) == ("GET", "/detector"):
        return answer({"detectorIds": sorted(d for *where, d in _findings if tuple(where) == scope)})
    found = re.match(r"^/detector/([^/]+)/(member|findings)(/get|/archive|/unarchive)?$", path)
    if not found or (method, found[2]) not in (("POST", "findings"), ("POST", "member"), ("GET", "member")):
        return await forward(method, path, headers, body, params)
    detector, asked = (*scope, found[1]), parsed(body)
    if detector not in _findings:
        return answer({"message": "The request is rejected because the input detectorId is not owned by the current "
                                  "account.", "__type": "InvalidInputException"}, 400, "BadRequestException")
    if found[2] == "member":
        members = _members.setdefault(detector, [])
        if method == "POST":
            members += [m["accountId"] for m in asked.get("accountDetails") or [] if m["accountId"] not in members]
            return answer({"unprocessedAccounts": []})
        return answer({"members": [{"accountId": m, "masterId": scope[0], "administratorId": scope[0], "email": "-",
                                    "relationshipStatus": "Enabled", "updatedAt": "-"} for m in members]})
    store = everything(detector)
    if found[3] is None:
        return answer(listed(store, asked))
    named = [store[i] for i in asked.get("findingIds") or [] if i in store]
    if found[3] == "/get":
        return answer({"findings": named})
    for finding in named:
        finding["service"]["archived"] = found[3] == "/archive"
    return answer({})


def everything(detector):
    """The findings of a detector and of its members, by their ids."""
    store = dict(_findings[detector])
    for (account, region, _), findings in _findings.items():
        if region == detector[1] and account in _members.get(detector, []):
            store.update(findings)
    return store


def listed(store, asked):
    wanted = (asked.get("findingCriteria") or {}).get("criterion") or {}
    found = sorted((f for f in store.values() if all(meets(f, *c) for c in wanted.items())),
                   key=lambda f: (moment(f.get("updatedAt")), f["id"]))
    part, token = page([f["id"] for f in found], asked.get("nextToken"), asked.get("maxResults") or 50)
    return {"findingIds": part, **({"nextToken": token} if token else {})}


def meets(finding, field, wanted):
    value = {"updatedAt": int(moment(finding.get("updatedAt")) * 1000), "severity": finding.get("severity"),
             "service.archived": str(bool((finding.get("service") or {}).get("archived"))).lower(),
             "accountId": finding.get("accountId")}[field]
    return (value in wanted.get("equals", [value]) and value >= wanted.get("greaterThanOrEqual", value)
            and value >= wanted.get("gte", value))


def answer(content, status=200, error=None):
    headers = {"Content-Type": "application/json", **({"x-amzn-ErrorType": error} if error else {})}
    return status, headers, json.dumps(content).encode()


@functools.cache
def model():
    return ServiceModel(Loader().load_service_model("guardduty", "service-2"))


def shaped(value, shape):
    """The value as the API sends it: the members that its model knows, strings and numbers as it says (an event
    may have a number where the API has a string, and a client would refuse it)."""
    if value is None:
        return None
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {m.serialization.get("name", n): m for n, m in shape.members.items()}
        known = {n: shaped(v, names[n]) for n, v in value.items() if n in names}
        return {n: v for n, v in known.items() if v is not None}
    if shape.type_name == "list" and isinstance(value, list):
        return [shaped(v, shape.member) for v in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {k: shaped(v, shape.value) for k, v in value.items()}
    if shape.type_name == "timestamp":
        return moment(value) if isinstance(value, str) else value
    if shape.type_name == "string":
        return value if isinstance(value, str) else json.dumps(value)
    if shape.type_name in ("structure", "list", "map"):
        return None
    return copy.deepcopy(value)

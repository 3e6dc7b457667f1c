"""Findings of GuardDuty, read at their source: what was put on a bus is what GetFindings answers.

Upstream: no GetFindings anywhere. An aws.guardduty event that a bus took is kept for its account (the putter's),
region and detector; putting it again with service.archived true, or ArchiveFindings, changes it. Calls that are
not answered here go to moto.
"""

import copy
import functools
import json
import re

from botocore.loaders import Loader
from botocore.model import ServiceModel

from ministack import app
from ministack.core.responses import get_account_id, get_region

from patches.bus_findings import remember
from patches.iam_resources import parsed, register
from patches.moto_services import forward

_findings = {}  # (account, region, detector) -> {finding id: finding}


def apply():
    remember("aws.guardduty", keep)
    register("guardduty")(describe)
    app.SERVICE_HANDLERS["guardduty"] = handle


def keep(finding):
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
    found = re.match(r"^/detector/([^/]+)/findings(/get|/archive|/unarchive)?$", path)
    if method != "POST" or not found:
        return await forward(method, path, headers, body, params)
    store, ids = _findings.get((*scope, found[1])), parsed(body).get("findingIds") or []
    if store is None:
        return answer({"message": "The request is rejected because the input detectorId is not owned by the current "
                                  "account.", "__type": "InvalidInputException"}, 400, "BadRequestException")
    named = [store[i] for i in ids if i in store]
    if found[2] is None:
        return answer({"findingIds": list(store)})
    if found[2] == "/get":
        return answer({"findings": named})
    for finding in named:
        finding["service"]["archived"] = found[2] == "/archive"
    return answer({})


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
    if shape.type_name == "string":
        return value if isinstance(value, str) else json.dumps(value)
    if shape.type_name in ("structure", "list", "map"):
        return None
    return copy.deepcopy(value)

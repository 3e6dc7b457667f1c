"""What the rules of AWS Config found, read at their source: what was put on a bus is what they say.

Upstream: rules, and no evaluation: each is INSUFFICIENT_DATA. A change of compliance that a bus took is kept for its
account (the putter's) and region, under its rule, which exists from then on; the last change of a resource counts. Rules
come 25 and evaluations 10 a page, or as many as are asked for. Other calls are answered as before.
"""

from ministack import app
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response

from patches.bus_findings import moment, page, remember
from patches.iam_resources import parsed, register

_others = None  # what answers the other calls
_rules = {}  # (account, region) -> {name: (ARN, {(resource's type, id): evaluation})}


def apply():
    global _others
    remember("aws.config", keep)
    register("config")(describe)
    _others = app.SERVICE_HANDLERS["config"]
    app.SERVICE_HANDLERS["config"] = handle


def keep(detail):
    name, result = detail.get("configRuleName"), detail.get("newEvaluationResult")
    if not name or not result:
        return
    arn = detail.get("configRuleARN") or f"arn:aws:config:{get_region()}:{get_account_id()}:config-rule/{name}"
    _, results = _rules.setdefault((get_account_id(), get_region()), {}).setdefault(name, (arn, {}))
    resource = detail.get("resourceType"), detail.get("resourceId")
    recorded = moment(result.get("resultRecordedTime"))
    results[resource] = {
        "ComplianceType": result.get("complianceType"), "ResultRecordedTime": recorded,
        "ConfigRuleInvokedTime": moment(result.get("configRuleInvokedTime")) or recorded,
        "EvaluationResultIdentifier": {"OrderingTimestamp": recorded, "EvaluationResultQualifier": {
            "ConfigRuleName": name, "ResourceType": resource[0], "ResourceId": resource[1]}}}


def describe(request, checks):
    names = request.body.get("ConfigRuleNames") or [n for n in [request.body.get("ConfigRuleName")] if n]
    if request.action in HANDLERS:
        known = _rules.get((request.account, request.region), {})
        checks.resources = [known[n][0] if n in known else request.arn_of("config-rule/*") for n in names] or [
            request.arn_of("config-rule/*")]


async def handle(method, path, headers, body, params):
    action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
    rules = _rules.get((get_account_id(), get_region()))
    if action not in HANDLERS or not rules:
        return await _others(method, path, headers, body, params)
    asked = parsed(body)
    names = asked.get("ConfigRuleNames") or [n for n in [asked.get("ConfigRuleName")] if n]
    if any(n not in rules for n in names):
        return error_response_json("NoSuchConfigRuleException", f"The ConfigRule provided in the request is invalid: {names}", 400)
    return HANDLERS[action](rules, names or sorted(rules), asked)


def compliance(rules, names, asked):
    names, token = page(names, asked.get("NextToken"), 25)
    types = {n: verdict(rules[n][1]) for n in names}
    wanted = asked.get("ComplianceTypes")
    return answer("ComplianceByConfigRules", [{"ConfigRuleName": n, "Compliance": {"ComplianceType": t}}
                                              for n, t in types.items() if not wanted or t in wanted], token)


def verdict(results):
    failed = any(r["ComplianceType"] == "NON_COMPLIANT" for r in results.values())
    return "NON_COMPLIANT" if failed else "COMPLIANT"


def details(rules, names, asked):
    wanted = asked.get("ComplianceTypes")
    found = [r for r in rules[names[0]][1].values() if not wanted or r["ComplianceType"] in wanted]
    found, token = page(found, asked.get("NextToken"), asked.get("Limit") or 10)
    return answer("EvaluationResults", found, token)


def listed(rules, names, asked):
    names, token = page(names, asked.get("NextToken"), 25)
    return answer("ConfigRules", [{"ConfigRuleName": n, "ConfigRuleArn": rules[n][0], "ConfigRuleState": "ACTIVE",
                                   "ConfigRuleId": rules[n][0].rsplit("/", 1)[-1], "Source": {"Owner": "AWS"}}
                                  for n in names], token)


def answer(name, items, token):
    return json_response({name: items, **({"NextToken": token} if token else {})})


HANDLERS = {"DescribeComplianceByConfigRule": compliance, "GetComplianceDetailsByConfigRule": details,
            "DescribeConfigRules": listed}

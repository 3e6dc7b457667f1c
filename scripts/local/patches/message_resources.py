"""Resources and condition keys of events, queues, topics, trails, metrics and schedules.

Upstream: events:source and events:detail-type are absent, also where a call puts several events; sending to a queue
under a customer's key needs no kms:GenerateDataKey; the tags of a topic and of a trail are checked against "*";
cloudwatch:namespace is absent; a schedule is checked against "*" and its role without iam:PassRole.
"""

import contextlib
import re

from patches.data_resources import through
from patches.iam_resources import register


def apply():
    register("events")(event)
    register("sqs")(queue)
    register("sns")(topic)
    register("cloudtrail")(trail)
    register("monitoring")(metric)
    register("scheduler")(schedule)


def event(request, checks):
    entries = request.body.get("Entries") if request.action == "PutEvents" else None
    for number, entry in enumerate(entries or []):
        keys = {"events:source": entry.get("Source"), "events:detail-type": entry.get("DetailType")}
        if number == 0:
            checks.keys = keys
            continue
        bus = entry.get("EventBusName") or "default"
        arn = bus if bus.startswith("arn:") else request.arn_of(f"event-bus/{bus}")
        if (check := ("events:PutEvents", arn, "events", keys)) not in checks.also:
            checks.also.append(check)


def queue(request, checks):
    from ministack.services import sqs

    needs = {"SendMessage": ["kms:GenerateDataKey", "kms:Decrypt"], "ReceiveMessage": ["kms:Decrypt"]}
    needs["SendMessageBatch"] = needs["SendMessage"]
    if request.action not in needs:
        return
    with contextlib.suppress(sqs._Err):  # no such queue: the call says so
        attributes = sqs._get_q(request.body.get("QueueUrl", ""))["attributes"]
        checks.also += through(request, attributes.get("KmsMasterKeyId"), *needs[request.action])


def topic(request, checks):
    if arn := request.param("ResourceArn"):
        checks.resources = [arn]


def trail(request, checks):
    if arns := request.body.get("ResourceIdList"):
        checks.resources = arns


def metric(request, checks):
    if namespace := request.param("Namespace") or request.body.get("Namespace"):
        checks.keys["cloudwatch:namespace"] = namespace


def schedule(request, checks):
    if not (name := re.match(r"^/schedules/([^/]+)", request.path)):
        return
    group = request.body.get("GroupName") or request.param("groupName") or "default"
    checks.resources = [request.arn_of(f"schedule/{group}/{name[1]}")]
    if role := (request.body.get("Target") or {}).get("RoleArn"):
        checks.also.append(("iam:PassRole", role, "iam", {"iam:PassedToService": "scheduler.amazonaws.com"}))

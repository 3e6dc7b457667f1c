"""What AWS's detectors put on a bus, handed to the patches that answer reads of it.

An event that an account's root puts with LOST among its resources is kept at its source and goes nowhere, as one that
EventBridge has lost.
"""

from datetime import datetime

from ministack.core import iam_evaluator as iam
from ministack.core.responses import json_response, new_uuid
from ministack.services import eventbridge

from patches.iam_resources import parsed

LOST = "lost"
_keepers = {}


def remember(source, keep):
    """Has keep(detail) called, in the putter's account and region, for each event of the source that a bus took."""
    if not _keepers:
        listen()
    _keepers[source] = keep


def listen():
    put = eventbridge._put_events

    def put_events(data, allow_aws_source=False):
        entries = data.get("Entries") or []
        lost = [e for e in entries if LOST in (e.get("Resources") or []) and iam.caller_arn().endswith(":root")]
        if lost:
            for entry in entries:
                keep(entry)
            return json_response({"FailedEntryCount": 0, "Entries": [{"EventId": new_uuid()} for _ in entries]})
        answer = put(data, allow_aws_source=allow_aws_source)
        results = parsed(answer[2]).get("Entries") or []
        for entry, result in zip(entries, results):
            if "EventId" in result:
                keep(entry)
        return answer

    eventbridge._put_events = put_events


def keep(entry):
    if entry.get("Source") in _keepers:
        _keepers[entry["Source"]](parsed((entry.get("Detail") or "").encode()))


def page(items, token, size):
    """A part of the items, and the token of the next one (None at the end)."""
    start = int(token or 0)
    end = start + size
    return items[start:end], (str(end) if end < len(items) else None)


def moment(text):
    """Seconds since 1970 of a time as events write it; 0 for none."""
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0

"""What AWS's detectors put on a bus, handed to the patches that answer reads of it."""

from ministack.services import eventbridge

from patches.iam_resources import parsed

_keepers = {}


def remember(source, keep):
    """Has keep(detail) called, in the putter's account and region, for each event of the source that a bus took."""
    if not _keepers:
        listen()
    _keepers[source] = keep


def listen():
    put = eventbridge._put_events

    def put_events(data, allow_aws_source=False):
        answer = put(data, allow_aws_source=allow_aws_source)
        results = parsed(answer[2]).get("Entries") or []
        for entry, result in zip(data.get("Entries") or [], results):
            if entry.get("Source") in _keepers and "EventId" in result:
                _keepers[entry["Source"]](parsed((entry.get("Detail") or "").encode()))
        return answer

    eventbridge._put_events = put_events

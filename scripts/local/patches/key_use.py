"""GetAccessKeyLastUsed says when, where and for what a user's key was last used.

Upstream: every key was never used. A request counts whether it was allowed or not, as on AWS, but at once.
"""

from ministack.core import iam_evaluator
from ministack.core.responses import now_iso
from ministack.services import iam


def apply():
    enforce = iam_evaluator.enforce
    answer = iam._IAM_HANDLERS["GetAccessKeyLastUsed"]

    def enforced(key, action, service, region, resource_arn="*", service_context=None):
        if record := iam._access_keys.get(key) if key else None:
            record["LastUsed"] = (now_iso(), region, service)
        return enforce(key, action, service, region, resource_arn=resource_arn, service_context=service_context)

    def answered(params):
        status, headers, body = answer(params)
        key = iam._access_keys.get(iam._p(params, "AccessKeyId"))
        if key and (used := key.get("LastUsed")):
            text = body.decode() if isinstance(body, bytes) else body
            text = text.replace("<Region>N/A</Region><ServiceName>N/A</ServiceName>",
                                f"<LastUsedDate>{used[0]}</LastUsedDate><Region>{used[1]}</Region>"
                                f"<ServiceName>{used[2]}</ServiceName>")
            body = text.encode()
        return status, headers, body

    iam_evaluator.enforce = enforced
    iam._IAM_HANDLERS["GetAccessKeyLastUsed"] = answered

"""Every IAM decision as one JSON line, in the file that DECISIONS names.

Upstream: a denial is answered to the caller and an allowed call leaves no trace, so nothing can say which grants
were never used. Fields: t (seconds), principal, action, resource, allowed, via ("api", or the service that acted
with a role), and for a caller's session, when it has them, session and sourceIdentity.
"""

import json
import os
import time

from ministack.core import iam_evaluator as iam
from ministack.services import sts

_file = None


def apply():
    global _file
    if not (path := os.environ.get("DECISIONS")):
        return
    _file = open(path, "a", buffering=1)
    enforce = iam.enforce

    def logged(key, action, service, region, resource_arn="*", service_context=None):
        refusal = enforce(key, action, service, region, resource_arn=resource_arn, service_context=service_context)
        identity = (sts._sessions.get(key) or {}).get("SourceIdentity") if key else None
        record(iam.caller_arn(), action, resource_arn, refusal is None, sourceIdentity=identity)
        return refusal

    iam.enforce = logged


def record(principal, action, resource, allowed, via="api", **more):
    """Writes one decision; more are fields that are left out when empty."""
    if not _file:
        return
    line = {"t": round(time.time(), 3), "principal": principal, "action": action, "resource": resource,
            "allowed": allowed, "via": via}
    if ":assumed-role/" in principal:
        line["session"] = principal.rsplit("/", 1)[-1]
    _file.write(json.dumps({**line, **{k: v for k, v in more.items() if v}}) + "\n")

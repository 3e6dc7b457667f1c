"""GetBucketPolicyStatus of S3: whether a bucket's policy makes it public.

Upstream: the call is taken for a listing of the bucket. Public is, as AWS says, an Allow for everybody without a
condition on one of the keys in FIXED (with such a key it counts as fixed; their values are not looked at).
"""

import json

from ministack import app
from ministack.services import s3

FIXED = {"aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourceaccount",
         "aws:sourcearn", "aws:sourceip", "aws:sourceowner", "aws:sourcevpc", "aws:sourcevpce", "aws:userid",
         "s3:dataaccesspointaccount", "s3:dataaccesspointarn"}


def apply():
    handle = app.SERVICE_HANDLERS["s3"]

    async def handled(method, path, headers, body, params):
        bucket = path.strip("/")
        if method != "GET" or "policyStatus" not in params or "/" in bucket:
            return await handle(method, path, headers, body, params)
        found = s3.bucket_policy_for_arn(f"arn:aws:s3:::{bucket}")
        if not found or not found[0]:  # let it say what is missing, the bucket or the policy
            return await handle(method, path, headers, body, {"policy": [""]})
        answer = str(public(found[0])).lower()
        return 200, {"Content-Type": "application/xml"}, (
            f'<PolicyStatus xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsPublic>{answer}</IsPublic>'
            "</PolicyStatus>").encode()

    app.SERVICE_HANDLERS["s3"] = handled


def public(policy):
    statements = (json.loads(policy) if isinstance(policy, (str, bytes)) else policy)["Statement"]
    return any(statement["Effect"] == "Allow" and everybody(statement.get("Principal")) and not FIXED & {
        key.lower() for keys in (statement.get("Condition") or {}).values() for key in keys}
        for statement in (statements if isinstance(statements, list) else [statements]))


def everybody(principal):
    named = principal.get("AWS") if isinstance(principal, dict) else principal
    return "*" in (named if isinstance(named, list) else [named])

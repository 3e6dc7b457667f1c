"""Resources and condition keys of IAM's own calls.

Upstream: iam:PolicyARN is absent when a managed policy is attached or detached, so that a grant narrowed to one policy
denies every one; GetAccessKeyLastUsed is not checked against the user whose key it is.
"""

from patches.iam_resources import register


def apply():
    register("iam")(describe)


def describe(request, checks):
    if request.action in ("AttachUserPolicy", "DetachUserPolicy", "AttachRolePolicy", "DetachRolePolicy"):
        checks.keys["iam:PolicyARN"] = request.param("PolicyArn")
    if request.action == "GetAccessKeyLastUsed":
        from ministack.services import iam

        key = iam._access_keys.get(request.param("AccessKeyId"))
        user = iam._users.get(key["UserName"]) if key and key.get("UserName") else None
        if user:
            checks.resources = [user["Arn"]]

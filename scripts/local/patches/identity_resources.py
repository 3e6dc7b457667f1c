"""Resources and condition keys of IAM's own calls.

Upstream: iam:PolicyARN is absent when a managed policy is attached or detached, so that a grant narrowed to one policy
denies every one; GetAccessKeyLastUsed is not checked against the user whose key it is; users and roles are checked
without their paths.
"""

from patches.iam_resources import register


def apply():
    register("iam")(describe)


def describe(request, checks):
    from ministack.services import iam

    if request.action in ("AttachUserPolicy", "DetachUserPolicy", "AttachRolePolicy", "DetachRolePolicy"):
        checks.keys["iam:PolicyARN"] = request.param("PolicyArn")
    if request.action == "GetAccessKeyLastUsed":
        key = iam._access_keys.get(request.param("AccessKeyId"))
        who = iam._users.get(key["UserName"]) if key and key.get("UserName") else None
    elif request.action in ("CreateUser", "CreateRole"):
        return
    else:
        who = iam._users.get(request.param("UserName")) or iam._roles.get(request.param("RoleName"))
    if who:
        checks.resources = [who["Arn"]]

"""The permissions boundary of a role in a template.

Upstream: PermissionsBoundary is dropped, so the role may more than on AWS.
"""

from ministack.services import iam

from patches.provisioning import after


def apply():
    after("AWS::IAM::Role", keep)


def keep(name, properties):
    if (role := iam._roles.get(name)) is None:
        return
    if boundary := properties.get("PermissionsBoundary"):
        role["PermissionsBoundary"] = boundary
    else:
        role.pop("PermissionsBoundary", None)

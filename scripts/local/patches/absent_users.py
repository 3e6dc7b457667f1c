"""The keys of a user that does not exist cannot be listed.

Upstream: ListAccessKeys of an absent user answers an empty list; AWS answers NoSuchEntity.
"""

from ministack.services import iam


def apply():
    listed = iam._IAM_HANDLERS["ListAccessKeys"]

    def list_access_keys(p):
        name = iam._p(p, "UserName")
        if name and name not in iam._users:
            return iam._error(404, "NoSuchEntity", f"The user with name {name} cannot be found.", ns="iam")
        return listed(p)

    iam._IAM_HANDLERS["ListAccessKeys"] = list_access_keys

"""An account that an organization has made belongs to it: aws:PrincipalOrgID and DescribeOrganization say so.

Upstream: every account is the management account of an organization of its own as soon as it asks for one, so a
policy that admits an organization admits its management account only.
"""

from ministack.core import iam_evaluator as iam
from ministack.core.responses import get_account_id
from ministack.services import organizations


def apply():
    own, describe = iam._principal_org_id, organizations._DISPATCH["DescribeOrganization"]

    def organization_id(account):
        return home["Id"] if (home := organization_of(account)) else own(account)

    def described(payload):
        home = organization_of(get_account_id())
        return organizations._json(200, {"Organization": dict(home)}) if home else describe(payload)

    iam._principal_org_id = organization_id
    organizations._DISPATCH["DescribeOrganization"] = described


def organization_of(account):
    """The organization of another account that has made this one, or None."""
    for owner, member in list(organizations._accounts._data):
        if member == account and owner != account:
            return organizations._orgs.get_scoped(owner, None, "self")
    return None

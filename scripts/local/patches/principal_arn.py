"""aws:PrincipalArn of an assumed role is the role's ARN.

Upstream: it is the session's ARN (arn:aws:sts::…:assumed-role/…), so a condition on the role, as AWS documents it,
never holds.
"""

from ministack.core import iam_evaluator as iam


def apply():
    resolve = iam._resolve_condition_key

    def resolved(key, context):
        if key.lower() == "aws:principalarn" and ":assumed-role/" in context.principal_arn:
            return role_arn(context.principal_arn)
        return resolve(key, context)

    iam._resolve_condition_key = resolved


def role_arn(session_arn):
    from ministack.services import iam as store

    account, name = session_arn.split(":")[4], session_arn.split("/")[1]
    role = store._roles.get_scoped(account, None, name)
    return role["Arn"] if role else f"arn:aws:iam::{account}:role/{name}"

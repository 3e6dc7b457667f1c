"""SourceIdentity of AssumeRole: asked for, allowed, remembered, and a condition key from then on.

Upstream: the parameter is ignored: sts:SetSourceIdentity is not needed, sts:SourceIdentity in a trust policy never
holds, and the session has no aws:SourceIdentity.
"""

import dataclasses

from ministack.core import iam_evaluator as iam
from ministack.services import sts

from patches.iam_resources import current_keys, register

KEY = "sts:sourceidentity"


def apply():
    trust, register_session, principal_keys = iam.evaluate_trust_policy, sts.register_session, iam._principal_keys

    def trusted(document, caller, context=None):
        identity = current_keys().get(KEY)
        if context is None or not identity or context.action != "sts:AssumeRole":
            return trust(document, caller, context)
        context = dataclasses.replace(context, service_context={**context.service_context, KEY: identity})
        setting = dataclasses.replace(context, action="sts:SetSourceIdentity")
        return trust(document, caller, context) and trust(document, caller, setting)

    def registered(key, session):
        if (identity := current_keys().get(KEY)) and session.get("PrincipalType") == "AssumedRole":
            session["SourceIdentity"] = identity
        register_session(key, session)

    def keys(credential):
        session = sts._sessions.get(credential.access_key_id) or {}
        identity = {"aws:sourceidentity": session["SourceIdentity"]} if session.get("SourceIdentity") else {}
        return {**principal_keys(credential), **identity}

    register("sts")(describe)
    iam.evaluate_trust_policy, sts.register_session, iam._principal_keys = trusted, registered, keys


def describe(request, checks):
    if identity := request.param("SourceIdentity"):
        checks.keys[KEY] = identity
        checks.also += [("sts:SetSourceIdentity", arn, "sts", {KEY: identity}) for arn in checks.resources]

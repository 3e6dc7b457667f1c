"""An instance profile made in IAM can be given to an instance.

Upstream: IAM is ministack's and EC2 is moto's (see moto_services), so RunInstances does not find the profile.
Profiles made through the API are made in moto too; those that a template makes are not.
"""

import asyncio

from ministack import app
from ministack.core.responses import get_account_id

from patches.moto_services import send

ACTIONS = (b"Action=CreateInstanceProfile&", b"Action=DeleteInstanceProfile&")


def apply():
    handle = app.SERVICE_HANDLERS["iam"]

    async def handled(method, path, headers, body, params):
        answer = await handle(method, path, headers, body, params)
        if answer[0] == 200 and any(action in (body or b"") + b"&" for action in ACTIONS):
            await asyncio.to_thread(send, method, path, headers, body, {}, get_account_id())
        return answer

    app.SERVICE_HANDLERS["iam"] = handled

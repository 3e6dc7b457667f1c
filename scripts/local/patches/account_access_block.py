"""S3's public access block of an account.

Upstream: PutPublicAccessBlock of an account answers without keeping anything, and is not authorized. moto keeps it.
"""

import asyncio

from ministack import app
from ministack.core.responses import get_account_id

from patches.moto_services import send

PATH = "/v20180820/configuration/publicAccessBlock"
ACTIONS = {"DELETE": "s3:PutAccountPublicAccessBlock", "GET": "s3:GetAccountPublicAccessBlock",
           "PUT": "s3:PutAccountPublicAccessBlock"}


def apply():
    handle = app._handle_s3_control_request

    async def handled(path, method, body, params, request_id, headers=None):
        if path.rstrip("/") != PATH:
            return await handle(path, method, body, params, request_id, headers)
        if denied := app._enforce_data_plane("s3", ACTIONS[method], headers, params, request_id, resource_arn="*"):
            return denied
        return await asyncio.to_thread(send, method, path, headers, body, params, get_account_id())

    app._handle_s3_control_request = handled

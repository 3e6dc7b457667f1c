"""S3's public access block of an account.

Upstream: PutPublicAccessBlock of an account answers without keeping anything, and is not authorized. moto keeps it. A
denial is wrapped as S3 Control's errors are, where S3's are not: a client would not find its code.
"""

import asyncio

from ministack import app
from ministack.core.iam_evaluator import pin_request_caller
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
        pin_request_caller(headers, params)  # this path is routed before ministack does it
        if denied := app._enforce_data_plane("s3", ACTIONS[method], headers, params, request_id, resource_arn="*"):
            return wrapped(*denied)
        return await asyncio.to_thread(send, method, path, headers, body, params, get_account_id())

    app._handle_s3_control_request = handled


def wrapped(status, headers, body):
    error = body.replace(b"<Error>", b"<ErrorResponse><Error>").replace(b"</Error>", b"</Error></ErrorResponse>")
    return status, headers, error

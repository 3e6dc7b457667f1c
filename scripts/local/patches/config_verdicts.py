"""Config takes the verdicts of custom rules.

Upstream: PutEvaluations is unknown. Config itself holds the token against the call that it made; here any token will do.
"""

import json

from ministack import app

ACTION = "StarlingDoveService.PutEvaluations"


def apply():
    handle = app.SERVICE_HANDLERS["config"]

    async def handled(method, path, headers, body, params):
        if next((value for name, value in headers.items() if name.lower() == "x-amz-target"), "") != ACTION:
            return await handle(method, path, headers, body, params)
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps({"FailedEvaluations": []}).encode()

    app.SERVICE_HANDLERS["config"] = handled

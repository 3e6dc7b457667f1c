"""EC2, Auto Scaling, load balancing and Security Hub are answered by moto, behind ministack's authorization.

Upstream: ministack's EC2 and Auto Scaling lack calls that an isolation needs (CreateSnapshots, groups of a network
interface, standby), and it has no Security Hub. One endpoint stays for everything; the account and region
of the caller's credentials go along. MOTO is moto's address.
"""

import asyncio
import http.client
import os
from urllib.parse import urlencode

from ministack import app
from ministack.core import iam_actions
from ministack.core.responses import get_account_id

ADDRESS = os.environ.get("MOTO", "127.0.0.1:4567")
SERVICES = {"autoscaling": None, "ec2": None, "elasticloadbalancing": None, "guardduty": "guardduty",
            "securityhub": "securityhub"}  # and the botocore model that names a REST service's operations
HOP = {"accept-encoding", "connection", "content-length", "date", "server", "transfer-encoding"}


def apply():
    for service, model in SERVICES.items():
        app.SERVICE_HANDLERS[service] = forward
        iam_actions.SERVICE_TO_IAM_NAMESPACE.setdefault(service, service)
        if model:
            iam_actions._BOTOCORE_SERVICE_MAP.setdefault(service, [model])


async def forward(method, path, headers, body, params):
    # ministack merges a query protocol's body into the parameters: those are not the address's
    params = {} if b"Action=" in (body or b"") else params
    return await asyncio.to_thread(send, method, path, headers, body, params, get_account_id())


def send(method, path, headers, body, params, account):
    """One request to moto on behalf of an account. Returns (status, headers, body)."""
    connection = http.client.HTTPConnection(ADDRESS, timeout=60)
    kept = {name: value for name, value in headers.items() if name.lower() not in HOP}
    query = f"?{urlencode(params, doseq=True)}" if params else ""
    try:
        connection.request(method, path + query, body=body, headers={**kept, "x-moto-account-id": account})
        answer = connection.getresponse()
        return answer.status, {n: v for n, v in answer.getheaders() if n.lower() not in HOP}, answer.read()
    finally:
        connection.close()

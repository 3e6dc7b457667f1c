"""A connection serves any number of requests.

Upstream: the server closes it at the thousandth, and Go's clients lose that answer: the call is made and repeated, so
that one in a thousand is done twice.
"""

from hypercorn.config import Config


def apply():
    Config.keep_alive_max_requests = 1 << 40

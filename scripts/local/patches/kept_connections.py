"""A connection serves any number of requests, and stays when nobody asks for a while.

Upstream: the server closes it at the thousandth, and Go's clients lose that answer: the call is made and repeated, so
that one in a thousand is done twice. It closes it after 75 idle seconds too, sooner than they do, and a request that comes at
that moment is carried out and never answered.
"""

from hypercorn.config import Config


def apply():
    Config.keep_alive_max_requests = 1 << 40
    Config.keep_alive_timeout = property(lambda _: 24 * 60 * 60, lambda *_: None)

"""aws:SecureTransport is true.

Upstream: it is always false, and the endpoint speaks HTTP, on 127.0.0.1 only. A bucket that refuses what does not come
by TLS, as AWS recommends, could not be used by anybody.
"""

from ministack.core import iam_evaluator as iam


def apply():
    resolve = iam._resolve_condition_key
    iam._resolve_condition_key = lambda key, context: (
        "true" if key.lower() == "aws:securetransport" else resolve(key, context))

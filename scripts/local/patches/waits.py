"""Three waits that serve nothing here, a few hundred milliseconds a run.

Upstream: 150 ms before a machine's first state; 50 ms after each invocation that logged nothing; and a delayed
acknowledgement (40 ms) between headers and body of the function's Runtime API. Correctness does not depend on them.
"""

import socketserver
import time
import types

from ministack.core import lambda_runtime
from ministack.services import stepfunctions


def apply():
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    lambda_runtime.Worker._drain_stderr_bounded.__defaults__ = (0.005, 0.003, 0.25)
    clock = types.SimpleNamespace(**vars(time))
    clock.sleep = lambda seconds: None if seconds == 0.15 else time.sleep(seconds)
    stepfunctions.time = clock

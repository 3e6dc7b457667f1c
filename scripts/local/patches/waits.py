"""Four waits that serve nothing here, a few hundred milliseconds a run and some seconds once.

Upstream: 150 ms before a machine's first state; 50 ms after each invocation that logged nothing; a delayed
acknowledgement (40 ms) between headers and body of the function's Runtime API; and at the first call of a service
that ministack does not have, 3 s in which nothing is answered, to read the model of every AWS service for its names
(here the names are those of the models and of MORE). Correctness does not depend on them.
"""

import socketserver
import time
import types

import botocore.session
from ministack.core import lambda_runtime, router
from ministack.services import stepfunctions

MORE = {"access-analyzer", "elasticloadbalancing", "monitoring", "states"}  # names that sign, and name no model


def apply():
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    lambda_runtime.Worker._drain_stderr_bounded.__defaults__ = (0.005, 0.003, 0.25)
    clock = types.SimpleNamespace(**vars(time))
    clock.sleep = lambda seconds: None if seconds == 0.15 else time.sleep(seconds)
    stepfunctions.time = clock
    router._KNOWN_AWS_SERVICE_NAMES = MORE.union(botocore.session.get_session().get_available_services())

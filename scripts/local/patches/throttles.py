"""A throttled function fails a task with Lambda.TooManyRequestsException.

Upstream: with Lambda.Unknown, which a Retry on the documented name does not match.
"""

from ministack.services import stepfunctions as states


def apply():
    call = states._call_lambda

    def called(function, event):
        try:
            return call(function, event)
        except states._ExecutionError as error:
            if error.error == "Lambda.Unknown" and "TooManyRequestsException" in str(error.cause):
                raise states._ExecutionError("Lambda.TooManyRequestsException", error.cause) from None
            raise

    states._call_lambda = called

"""A function that fails fails its task, also where the task waits for a token.

Upstream: the failure is dropped and the task waits on, to its time-out: no Retry and no Catch ever sees it.
"""

import contextvars

from ministack.services import stepfunctions as states

_token = contextvars.ContextVar("callback_token", default="")


def apply():
    call_back, call = states._invoke_with_callback, states._call_lambda

    def called_back(resource, data, token, state):
        waiting = _token.set(token)
        try:
            return call_back(resource, data, token, state)
        finally:
            _token.reset(waiting)

    def called(function, event):
        try:
            return call(function, event)
        except states._ExecutionError as error:
            if (waits := states._task_tokens.get(_token.get() or "")) and not waits["event"].is_set():
                waits["error"] = {"Error": error.error, "Cause": error.cause}
                waits["event"].set()
            raise

    states._invoke_with_callback, states._call_lambda = called_back, called

"""A function that ends before its first call fails a task with Runtime.ExitError.

Upstream: with Runtime.Unknown, which no Retry on the documented name matches. AWS names every exit of the runtime so,
in the init phase too ("Understanding the Lambda execution environment lifecycle", failures during the Init phase).
"""

from ministack.core import lambda_runtime


def apply():
    wait = lambda_runtime.ProvidedWorker._await_init

    def waited(self, init_timeout=None):
        try:
            wait(self, init_timeout)
        except RuntimeError as error:
            if str(error).startswith("bootstrap exited during init"):
                error.error_type = "Runtime.ExitError"
            raise

    lambda_runtime.ProvidedWorker._await_init = waited

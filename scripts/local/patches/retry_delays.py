"""Retry honours MaxDelaySeconds and JitterStrategy FULL.

Upstream: both are ignored, so that a burst that was throttled comes back all at once, again and again, for a minute.
"""

import random
import sys

from ministack.services import stepfunctions as states


def apply():
    sleep = states._scaled_sleep

    def slept(seconds):
        frame = sys._getframe(1).f_locals
        retrier = frame.get("retrier")
        return sleep(delay(retrier, frame.get("sleep_sec", seconds)) if retrier else seconds)

    states._scaled_sleep = slept


def delay(retrier, seconds):
    seconds = min(seconds, retrier.get("MaxDelaySeconds", 60))
    return random.uniform(0, seconds) if retrier.get("JitterStrategy") == "FULL" else seconds

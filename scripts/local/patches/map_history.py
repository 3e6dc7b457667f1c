"""The history names the states inside a Map (and a Parallel), and its events are numbered once each.

Upstream: only the tasks inside leave events, so the path of a run's states cannot be read; two items at once may
give two events one id. Added are MapIterationStarted, Succeeded and Failed, and each state's entry and exit.
"""

import contextvars
import copy
import json
import threading

from ministack.services import stepfunctions as states

_iteration = contextvars.ContextVar("iteration", default=None)
_numbering = threading.Lock()


def apply():
    add = states._add_event

    def added(*arguments):
        with _numbering:
            return add(*arguments)

    states._add_event = added
    states._run_sub_machine = run


def run(definitions, start, data, execution, context):
    item = context.get("Map", {}).get("Item")
    if item is None or _iteration.get() is item:  # a branch of a Parallel
        return walk(definitions, start, data, execution, context)
    _iteration.set(item)
    name = context["State"]["Name"]

    def iteration(what):
        states._add_event(execution, f"MapIteration{what}",
                          {f"mapIteration{what}EventDetails": {"name": name, "index": item["Index"]}})

    iteration("Started")
    try:
        output = walk(definitions, start, data, execution, context)
    except Exception:
        iteration("Failed")
        raise
    iteration("Succeeded")
    return output


def walk(definitions, name, data, execution, context):
    data = copy.deepcopy(data)
    while name:
        if not (state := definitions.get(name)):
            raise states._ExecutionError("States.Runtime", f"State '{name}' not found")
        kind = state.get("Type")
        context["State"] = {"Name": name, "EnteredTime": states.now_iso(), "RetryCount": 0}
        states._add_event(execution, f"{kind}StateEntered",
                          {"stateEnteredEventDetails": {"name": name, "input": json.dumps(data)}})
        if kind == "Fail":
            raise states._ExecutionError(*states._fail_state_error(state, data, context))
        data, following = step(state, kind, data, execution, context)
        states._add_event(execution, f"{kind}StateExited",
                          {"stateExitedEventDetails": {"name": name, "output": json.dumps(data)}})
        name = following
    return data


def step(state, kind, data, execution, context):
    if kind == "Succeed":
        return states._apply_output_path(state, states._apply_input_path(state, data, context), context), None
    execute = getattr(states, f"_execute_{str(kind).lower()}", None)
    if not execute:
        raise states._ExecutionError("States.Runtime", f"Unknown state type: {kind}")
    if kind in ("Task", "Parallel", "Map"):
        return execute(state, data, execution, context)
    return execute(state, data, context)

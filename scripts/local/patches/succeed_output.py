"""Output of a Succeed state in JSONata.

Upstream: it is ignored, the state's input is its output.
"""

from ministack.services import stepfunctions as states


def apply():
    output_path = states._apply_output_path

    def output(state, data, context=None):
        if state.get("Type") == "Succeed" and states._state_query_language(state, context) == "JSONata":
            return states._apply_jsonata_output(state, data, context, result=data, default=data)
        return output_path(state, data, context)

    states._apply_output_path = output

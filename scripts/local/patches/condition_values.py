"""Conditions see AWS::Region, AWS::AccountId and AWS::Partition.

Upstream: a Ref of a pseudo parameter in Conditions stands for its own name, so no comparison with it ever holds.
"""

from ministack.core.responses import get_account_id, get_region
from ministack.services.cloudformation import changesets, engine, handlers, stacks


def apply():
    evaluate = engine._evaluate_conditions

    def evaluated(template, params):
        pseudo = {"AWS::Region": get_region(), "AWS::AccountId": get_account_id(), "AWS::Partition": "aws"}
        return evaluate(template, {**params, **{name: {"Value": value} for name, value in pseudo.items()}})

    for module in (engine, changesets, handlers, stacks):
        module._evaluate_conditions = evaluated

"""DescribeInstances finds the instances that run with an instance profile (filter iam-instance-profile.arn).

Upstream: moto answers 500, so nobody can count what uses a role. It runs in moto's process (see moto_engine.py).
"""

from moto.ec2 import utils

FILTER = "iam-instance-profile.arn"


def apply():
    passes = utils.passes_filter_dict

    def passed(instance, filters):
        rest = {name: values for name, values in filters.items() if name != FILTER}
        return passes(instance, rest) and (FILTER not in filters or profile(instance) in filters[FILTER])

    utils.passes_filter_dict = passed


def profile(instance):
    for association in instance.ec2_backend.iam_instance_profile_associations.values():
        if association.instance.id == instance.id:
            return association.iam_instance_profile.arn
    return None

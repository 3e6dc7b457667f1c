"""Starts ministack with the patches in patches/: several accounts, events, functions, IAM, one endpoint, no AWS.

Started by `up`, which gives it its environment. Each patch works round one fault of the pinned version, holds no
rule of the product, and has a probe in probes/ that shows the fault; when the probe's first half fails after a new
pin, the patch can go. ENGINE_PATCHES, a list of names, applies only those (the probes use it).
The file is not called platform.py because that name would hide a module of the standard library.
"""

import importlib
import os

ORDER = (
    "decisions",  # innermost: it logs what the patches below have checked
    "iam_resources",
    "ec2_resources",
    "data_resources",
    "message_resources",
    "identity_resources",
    "principal_arn",
    "secure_transport",
    "source_identity",
    "aws_sources",
    "organization_members",
    "cross_account_bus",
    "rule_roles",
    "machine_roles",
    "task_tokens",
    "throttles",
    "init_exit",
    "callback_failures",  # after throttles, whose names it passes on
    "retry_delays",
    "succeed_output",
    "map_history",  # after succeed_output, which it calls
    "moto_services",
    "guardduty_findings",  # after moto_services, which answers the other calls, and aws_sources
    "hub_findings",
    "config_verdicts",
    "account_access_block",
    "bucket_policy_status",
    "instance_profiles",
    "key_use",
    "nested_updates",
    "condition_values",
    "bus_policy",
    "function_properties",
    "role_boundary",
    "waits",
    "kept_connections",
)


def main():
    chosen = os.environ.get("ENGINE_PATCHES")
    for name in ORDER if chosen is None else [n for n in ORDER if n in chosen.split()]:
        importlib.import_module(f"patches.{name}").apply()
    from ministack import app

    app.main()


if __name__ == "__main__":
    main()

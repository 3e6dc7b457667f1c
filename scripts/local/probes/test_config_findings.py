import pytest
from botocore.exceptions import ClientError

from conftest import HUB, MEMBER, REGION, allow, allowed, unique
from test_lost_findings import lose


def change(platform, name, resource, compliance="NON_COMPLIANT"):
    lose(platform, "aws.config", "Config Rules Compliance Change", {
        "configRuleName": name, "configRuleARN": f"arn:aws:config:{REGION}:{MEMBER}:config-rule/{name}",
        "resourceType": "AWS::S3::Bucket", "resourceId": resource,
        "newEvaluationResult": {"complianceType": compliance, "resultRecordedTime": "2026-01-01T00:00:00.000Z"}})


def compliance(platform, name, account=MEMBER):
    answer = platform.client("config", account).describe_compliance_by_config_rule(ConfigRuleNames=[name])
    return answer["ComplianceByConfigRules"][0]["Compliance"]["ComplianceType"]


def test_upstream_nothing_is_evaluated(plain):
    name = unique("rule")
    config = plain.client("config", MEMBER)
    config.put_config_rule(ConfigRule={"ConfigRuleName": name, "Source": {"Owner": "AWS", "SourceIdentifier": "X"}})
    assert compliance(plain, name) == "INSUFFICIENT_DATA"


def test_what_was_put_on_the_bus_is_what_a_rule_says(patched):
    name = unique("rule")
    for n in range(3):
        change(patched, name, f"bucket-{n}")
    config = patched.client("config", MEMBER)
    assert compliance(patched, name) == "NON_COMPLIANT"
    first = config.get_compliance_details_by_config_rule(ConfigRuleName=name, ComplianceTypes=["NON_COMPLIANT"], Limit=2)
    second = config.get_compliance_details_by_config_rule(ConfigRuleName=name, Limit=2, NextToken=first["NextToken"])
    assert len(first["EvaluationResults"]) == 2 and len(second["EvaluationResults"]) == 1 and "NextToken" not in second
    assert config.describe_config_rules(ConfigRuleNames=[name])["ConfigRules"][0]["ConfigRuleArn"].endswith(name)
    for n in range(3):
        change(patched, name, f"bucket-{n}", "COMPLIANT")
    assert compliance(patched, name) == "COMPLIANT"
    with pytest.raises(ClientError, match="NoSuchConfigRule"):
        compliance(patched, name, HUB)


def test_the_rule_is_what_is_granted(patched):
    name = unique("rule")
    change(patched, name, "bucket")
    for rule, right in ((name, True), ("other", False)):
        keys = patched.session(allow("config:GetComplianceDetailsByConfigRule",
                                     f"arn:aws:config:{REGION}:{MEMBER}:config-rule/{rule}"), account=MEMBER)
        config = patched.client("config", MEMBER, keys=keys)
        assert allowed(lambda: config.get_compliance_details_by_config_rule(ConfigRuleName=name)) == right

import datetime

import pytest
from botocore.exceptions import ClientError


def verdict(platform):
    return platform.client("config").put_evaluations(ResultToken="token", Evaluations=[{
        "ComplianceResourceType": "AWS::S3::Bucket", "ComplianceResourceId": "clinic", "ComplianceType": "NON_COMPLIANT",
        "OrderingTimestamp": datetime.datetime(2026, 1, 2, 3, 4, 5)}])


def test_upstream_a_verdict_is_unknown(plain):
    with pytest.raises(ClientError, match="InvalidAction"):
        verdict(plain)


def test_a_verdict_is_taken(patched):
    assert verdict(patched)["FailedEvaluations"] == []


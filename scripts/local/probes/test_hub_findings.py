import json

import pytest
from botocore.exceptions import ClientError

from conftest import HUB, MEMBER, REGION, allow, allowed, unique

PRODUCT = f"arn:aws:securityhub:{REGION}::product/aws/config"


def put(platform, *names):
    findings = [{"SchemaVersion": "2018-10-08", "Id": name, "ProductArn": PRODUCT, "AwsAccountId": MEMBER,
                 "Severity": {"Label": "HIGH"}, "Workflow": {"Status": "NEW"}, "Resources": []} for name in names]
    platform.client("events", MEMBER).put_events(Entries=[{
        "Source": "aws.securityhub", "DetailType": "Security Hub Findings - Imported",
        "Detail": json.dumps({"findings": findings})}])


def read(platform, name, account=MEMBER, keys=None):
    return platform.client("securityhub", account, keys=keys).get_findings(Filters={
        "Id": [{"Value": name, "Comparison": "EQUALS"}],
        "ProductArn": [{"Value": PRODUCT, "Comparison": "EQUALS"}]})["Findings"]


def test_upstream_there_is_none(plain):
    with pytest.raises(ClientError):
        read(plain, "any")


def test_what_was_put_on_the_bus_is_read_and_updated(patched):
    one, other = unique("finding"), unique("finding")
    put(patched, one, other)
    assert [f["Workflow"] for f in read(patched, one)] == [{"Status": "NEW"}]
    assert read(patched, "another") == [] and read(patched, one, HUB) == []
    done = patched.client("securityhub", MEMBER).batch_update_findings(
        FindingIdentifiers=[{"Id": one, "ProductArn": PRODUCT}, {"Id": "another", "ProductArn": PRODUCT}],
        Workflow={"Status": "RESOLVED"}, Note={"Text": "x", "UpdatedBy": "y"})
    assert (len(done["ProcessedFindings"]), len(done["UnprocessedFindings"])) == (1, 1)
    assert [f["Workflow"]["Status"] for f in read(patched, one) + read(patched, other)] == ["RESOLVED", "NEW"]


def test_the_hub_is_what_is_granted(patched):
    for hub, right in (("default", True), ("other", False)):
        keys = patched.session(allow("securityhub:GetFindings", f"arn:aws:securityhub:{REGION}:{MEMBER}:hub/{hub}"),
                               account=MEMBER)
        assert allowed(lambda: read(patched, "any", keys=keys)) == right


def test_an_administrator_has_the_findings_of_its_members(patched):
    name, hub = unique("finding"), patched.client("securityhub", HUB)
    put(patched, name)
    hub.create_members(AccountDetails=[{"AccountId": MEMBER}])
    assert [m["AccountId"] for m in hub.list_members(OnlyAssociated=True)["Members"]] == [MEMBER]
    assert len(read(patched, name, HUB)) == 1

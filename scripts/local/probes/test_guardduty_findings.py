import json

import pytest
from botocore.exceptions import ClientError

from conftest import HUB, MEMBER, REGION, allow, allowed, unique

DETECTOR = "12abc34d567e8fa901bc2d34e56789f0"


def put(platform, name, archived=False):
    finding = {
        "accountId": MEMBER, "region": REGION, "id": name, "type": "UnauthorizedAccess:EC2/TorClient", "severity": 8,
        "arn": f"arn:aws:guardduty:{REGION}:{MEMBER}:detector/{DETECTOR}/finding/{name}", "schemaVersion": "2.0",
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
        "resource": {"resourceType": "Instance",
                     "instanceDetails": {"instanceId": "i-0123456789abcdef0", "launchTime": 1767225600000},
                     "s3BucketDetails": [{"name": "b", "createdAt": "2026-01-01T00:00:00.000Z"}]},
        "service": {"detectorId": DETECTOR, "archived": archived, "count": 2, "additionalInfo": {"sample": True}}}
    answer = platform.client("events", MEMBER).put_events(Entries=[{
        "Source": "aws.guardduty", "DetailType": "GuardDuty Finding", "Detail": json.dumps(finding)}])
    assert answer["FailedEntryCount"] == 0


def read(platform, name, account=MEMBER, keys=None):
    return platform.client("guardduty", account, keys=keys).get_findings(
        DetectorId=DETECTOR, FindingIds=[name])["Findings"]


def test_upstream_there_is_no_guardduty(plain):
    with pytest.raises(ClientError):
        read(plain, "any")


def test_what_was_put_on_the_bus_is_read(patched):
    name = unique("finding")
    put(patched, name)
    [finding] = read(patched, name)
    assert (finding["Id"], finding["Severity"], finding["Service"]["Archived"]) == (name, 8, False)
    assert finding["Resource"]["InstanceDetails"]["LaunchTime"] == "1767225600000"  # a string, as the API has it
    assert finding["Resource"]["S3BucketDetails"][0]["CreatedAt"].year == 2026  # a number on the wire
    assert read(patched, "another") == []
    put(patched, name, archived=True)
    assert read(patched, name)[0]["Service"]["Archived"]
    guardduty = patched.client("guardduty", MEMBER)
    guardduty.unarchive_findings(DetectorId=DETECTOR, FindingIds=[name])
    assert not read(patched, name)[0]["Service"]["Archived"]
    assert guardduty.list_detectors()["DetectorIds"] == [DETECTOR]
    assert name in guardduty.list_findings(DetectorId=DETECTOR)["FindingIds"]


def test_another_account_does_not_have_it(patched):
    put(patched, "elsewhere")
    with pytest.raises(ClientError, match="BadRequestException"):
        read(patched, "elsewhere", HUB)


def test_the_detector_is_what_is_granted(patched):
    put(patched, "granted")
    for detector, right in ((DETECTOR, True), ("other", False)):
        arn = f"arn:aws:guardduty:{REGION}:{MEMBER}:detector/{detector}"
        keys = patched.session(allow("guardduty:GetFindings", arn), account=MEMBER)
        assert allowed(lambda: read(patched, "granted", keys=keys)) == right


def test_an_administrator_has_the_findings_of_its_members(patched):
    name = unique("finding")
    put(patched, name)
    guardduty = patched.client("guardduty", HUB)
    patched.client("events", HUB).put_events(Entries=[{
        "Source": "aws.guardduty", "DetailType": "GuardDuty Finding",
        "Detail": json.dumps({"id": "own", "service": {"detectorId": "administrator"}})}])
    assert name not in guardduty.list_findings(DetectorId="administrator")["FindingIds"]
    guardduty.create_members(DetectorId="administrator", AccountDetails=[{"AccountId": MEMBER, "Email": "a@example.com"}])
    assert [m["AccountId"] for m in guardduty.list_members(DetectorId="administrator")["Members"]] == [MEMBER]
    assert name in guardduty.list_findings(DetectorId="administrator")["FindingIds"]
    [finding] = guardduty.get_findings(DetectorId="administrator", FindingIds=[name])["Findings"]
    assert finding["AccountId"] == MEMBER

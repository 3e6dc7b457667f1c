import pytest
from botocore.exceptions import ClientError

from conftest import HUB, MEMBER, REGION, allow, allowed, unique
from test_lost_findings import lose

ANALYZER = f"arn:aws:access-analyzer:{REGION}:{MEMBER}:analyzer/firebreak"


def put(platform, name, status="ACTIVE"):
    lose(platform, "aws.access-analyzer", "Access Analyzer Finding", {
        "id": name, "status": status, "resourceType": "AWS::SQS::Queue", "resource": f"arn:aws:sqs:{REGION}:{MEMBER}:q",
        "accountId": MEMBER, "region": REGION, "principal": {"AWS": "999999999999"}, "isPublic": False,
        "action": ["sqs:SendMessage"], "condition": {}, "createdAt": "2026-01-01T00:00:00Z",
        "analyzedAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"})


def listed(client, **more):
    return client.list_findings_v2(analyzerArn=ANALYZER, filter={"status": {"eq": ["ACTIVE"]}}, **more)


def test_upstream_there_is_none(plain):
    with pytest.raises(ClientError):
        plain.client("accessanalyzer", MEMBER).list_analyzers()


def test_what_was_put_on_the_bus_is_read(patched):
    client, names = patched.client("accessanalyzer", MEMBER), [unique("finding") for _ in range(3)]
    for name in names:
        put(patched, name)
    assert [a["arn"] for a in client.list_analyzers()["analyzers"]] == [ANALYZER]
    assert patched.client("accessanalyzer", HUB).list_analyzers()["analyzers"] == []
    first = listed(client, maxResults=1)
    rest = listed(client, maxResults=100, nextToken=first["nextToken"])
    assert {f["id"] for f in first["findings"] + rest["findings"]} >= set(names) and "nextToken" not in rest
    assert "principal" not in first["findings"][0]
    [detail] = client.get_finding_v2(analyzerArn=ANALYZER, id=names[0])["findingDetails"]
    assert detail["externalAccessDetails"]["principal"] == {"AWS": "999999999999"}
    put(patched, names[0], "RESOLVED")
    assert names[0] not in [f["id"] for f in listed(client, maxResults=100)["findings"]]


def test_the_actions_are_those_of_version_1(patched):
    put(patched, "granted")
    for action, right in (("ListFindings", True), ("ListFindingsV2", False)):
        keys = patched.session(allow(f"access-analyzer:{action}", ANALYZER), account=MEMBER)
        assert allowed(lambda: listed(patched.client("accessanalyzer", MEMBER, keys=keys))) == right

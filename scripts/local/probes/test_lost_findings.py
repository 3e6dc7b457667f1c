import json
import time

from conftest import MEMBER, REGION, unique


def lose(platform, source, kind, detail):
    """Has a finding at its source whose event goes nowhere."""
    answer = platform.client("events", MEMBER).put_events(Entries=[{
        "Source": source, "DetailType": kind, "Detail": json.dumps(detail), "Resources": ["lost"]}])
    assert answer["FailedEntryCount"] == 0


def test_a_lost_event_is_at_its_source_and_nowhere_else(patched):
    events = patched.client("events", MEMBER)
    url, queue = patched.queue(MEMBER)
    rule, name = unique("rule"), unique("finding")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": ["aws.config"]}))
    events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": queue}])
    patched.client("sqs", MEMBER).set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
                                                "Action": "sqs:SendMessage", "Resource": queue}]})})
    detail = {"configRuleName": name, "resourceType": "AWS::S3::Bucket", "resourceId": name, "newEvaluationResult": {
        "complianceType": "NON_COMPLIANT", "resultRecordedTime": "2026-01-01T00:00:00.000Z"}}
    lose(patched, "aws.config", "Config Rules Compliance Change", detail)
    assert patched.received(url, MEMBER) is None
    found = patched.client("config", MEMBER).get_compliance_details_by_config_rule(ConfigRuleName=name)
    assert len(found["EvaluationResults"]) == 1
    events.put_events(Entries=[{"Source": "aws.config", "DetailType": "Config Rules Compliance Change",
                                "Detail": json.dumps(detail)}])
    assert patched.received(url, MEMBER)["detail"]["resourceId"] == name


def test_findings_are_listed_by_update_and_page(patched):
    guardduty, detector = patched.client("guardduty", MEMBER, "eu-west-1"), unique("detector")
    events = patched.client("events", MEMBER, "eu-west-1")
    for n in range(7):
        events.put_events(Entries=[{"Source": "aws.guardduty", "DetailType": "GuardDuty Finding", "Resources": ["lost"],
                                    "Detail": json.dumps({
                                        "id": f"{n}", "accountId": MEMBER, "region": "eu-west-1", "severity": 5,
                                        "updatedAt": f"2026-01-01T00:0{n}:00.000Z", "type": "A:B/C",
                                        "service": {"detectorId": detector, "archived": n == 6}})}])
    since = int(time.mktime((2026, 1, 1, 0, 2, 0, 0, 0, 0)) - time.timezone) * 1000
    wanted = {"DetectorId": detector, "MaxResults": 3, "SortCriteria": {"AttributeName": "updatedAt", "OrderBy": "ASC"},
              "FindingCriteria": {"Criterion": {"updatedAt": {"GreaterThanOrEqual": since},
                                                "service.archived": {"Equals": ["false"]}}}}
    first = guardduty.list_findings(**wanted)
    assert first["FindingIds"] == ["2", "3", "4"]
    second = guardduty.list_findings(**wanted, NextToken=first["NextToken"])
    assert second["FindingIds"] == ["5"] and not second.get("NextToken")


def test_security_hub_lists_by_update_and_page(patched):
    product = f"arn:aws:securityhub:{REGION}::product/aws/inspector"
    hub = patched.client("securityhub", MEMBER)
    names = [unique("paged") for _ in range(5)]
    lose(patched, "aws.securityhub", "Security Hub Findings - Imported", {"findings": [
        {"SchemaVersion": "2018-10-08", "Id": name, "ProductArn": product, "AwsAccountId": MEMBER, "Resources": [],
         "UpdatedAt": f"2026-02-0{n + 1}T00:00:00Z", "Compliance": {"Status": "PASSED" if n == 4 else "FAILED"}}
        for n, name in enumerate(names)]})
    filters = {"UpdatedAt": [{"Start": "2026-02-02T00:00:00Z", "End": "2027-01-01T00:00:00Z"}],
               "ProductArn": [{"Value": product, "Comparison": "EQUALS"}],
               "RecordState": [{"Value": "ACTIVE", "Comparison": "EQUALS"}],
               "WorkflowStatus": [{"Value": w, "Comparison": "EQUALS"} for w in ("NEW", "NOTIFIED")],
               "ComplianceStatus": [{"Value": "PASSED", "Comparison": "NOT_EQUALS"}]}
    first = hub.get_findings(Filters=filters, MaxResults=2)
    second = hub.get_findings(Filters=filters, MaxResults=2, NextToken=first["NextToken"])
    assert [f["Id"] for f in first["Findings"] + second["Findings"]] == names[1:4] and not second.get("NextToken")

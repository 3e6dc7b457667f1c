import pytest

from conftest import HUB, REGION, allow, allowed, unique


def puts(platform, *sources):
    """Whether a session that may put events of one source puts these."""
    keys = platform.session(allow("events:PutEvents", StringEquals={"events:source": "probe"}))
    entries = [{"Source": source, "DetailType": "x", "Detail": "{}"} for source in sources]
    return allowed(lambda: platform.client("events", keys=keys).put_events(Entries=entries))


def test_upstream_the_source_is_absent(plain):
    assert not puts(plain, "probe")


def test_the_source_of_each_entry_is_checked(patched):
    assert puts(patched, "probe", "probe")
    assert not puts(patched, "probe", "other")


def sends(platform, *actions):
    """Whether a session with these grants sends to a queue under a customer's key."""
    key = platform.client("kms").create_key()["KeyMetadata"]["KeyId"]
    url = platform.client("sqs").create_queue(QueueName=unique("queue"), Attributes={"KmsMasterKeyId": key})["QueueUrl"]
    keys = platform.session(*map(allow, actions))
    return allowed(lambda: platform.client("sqs", keys=keys).send_message(QueueUrl=url, MessageBody="x"))


def test_upstream_the_queues_key_is_not_looked_at(plain):
    assert sends(plain, "sqs:SendMessage")


def test_a_queue_needs_its_key(patched):
    assert not sends(patched, "sqs:SendMessage")
    assert sends(patched, "sqs:SendMessage", "kms:GenerateDataKey", "kms:Decrypt")


def tagged(platform, kind):
    """Whether a session that may read the tags of one resource reads those of it, and not those of another."""
    made = []
    for _ in range(2):
        if kind == "topic":
            made.append(platform.client("sns").create_topic(Name=unique("topic"))["TopicArn"])
            continue
        name = unique("trail")
        platform.client("s3").create_bucket(Bucket=name)
        made.append(platform.client("cloudtrail").create_trail(Name=name, S3BucketName=name)["TrailARN"])

    def reads(keys, arn):
        if kind == "topic":
            return allowed(lambda: platform.client("sns", keys=keys).list_tags_for_resource(ResourceArn=arn))
        return allowed(lambda: platform.client("cloudtrail", keys=keys).list_tags(ResourceIdList=[arn]))

    action = "sns:ListTagsForResource" if kind == "topic" else "cloudtrail:ListTags"
    keys = platform.session(allow(action, made[0]))
    return [reads(keys, arn) for arn in made]


@pytest.mark.parametrize("kind", ["topic", "trail"])
def test_upstream_tags_have_no_resource(plain, kind):
    assert tagged(plain, kind) == [False, False]


@pytest.mark.parametrize("kind", ["topic", "trail"])
def test_tags_are_checked_by_their_resource(patched, kind):
    assert tagged(patched, kind) == [True, False]


def schedules(platform, *actions):
    _, queue = platform.queue()
    role, name = platform.role(service="scheduler.amazonaws.com"), unique("schedule")
    keys = platform.session(*map(allow, actions))
    return allowed(lambda: platform.client("scheduler", keys=keys).create_schedule(
        Name=name, ScheduleExpression="at(2030-01-01T00:00:00)", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": queue, "RoleArn": role}))


def test_upstream_a_schedules_role_is_passed_by_anybody(plain):
    assert schedules(plain, "scheduler:CreateSchedule")


def test_a_schedules_role_must_be_passed(patched):
    assert not schedules(patched, "scheduler:CreateSchedule")
    assert schedules(patched, "scheduler:CreateSchedule", "iam:PassRole")


def measures(platform, namespace):
    keys = platform.session(allow("cloudwatch:PutMetricData", StringEquals={"cloudwatch:namespace": "probe"}))
    return allowed(lambda: platform.client("cloudwatch", keys=keys).put_metric_data(
        Namespace=namespace, MetricData=[{"MetricName": "m", "Value": 1}]))


def test_upstream_the_namespace_is_absent(plain):
    assert not measures(plain, "probe")


def test_the_namespace_is_checked(patched):
    assert measures(patched, "probe")
    assert not measures(patched, "other")

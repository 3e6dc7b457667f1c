import json

from conftest import unique


def updated(platform):
    """The status of a stack whose nested stack's output reads an attribute of a resource that stays as it was."""
    bucket, code = platform.client("s3"), unique("code")
    bucket.create_bucket(Bucket=code)

    def nested(delay):
        template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"},
                                  "Slow": {"Type": "AWS::SQS::Queue", "Properties": {"DelaySeconds": delay}}},
                    "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Queue", "Arn"]}}}}
        key = f"{delay}.json"
        bucket.put_object(Bucket=code, Key=key, Body=json.dumps(template))
        return {"Inner": {"Type": "AWS::CloudFormation::Stack",
                          "Properties": {"TemplateURL": f"{platform.endpoint}/{code}/{key}"}}}

    outputs = {"Arn": {"Fn::GetAtt": ["Inner", "Outputs.Arn"]}}
    name = platform.stack(nested(1), outputs)["StackName"]
    return platform.stack(nested(2), outputs, name)["StackStatus"]


def test_upstream_the_update_fails(plain):
    assert updated(plain) != "UPDATE_COMPLETE"


def test_the_update_succeeds(patched):
    assert updated(patched) == "UPDATE_COMPLETE"

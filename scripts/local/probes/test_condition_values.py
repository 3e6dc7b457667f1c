import json

from conftest import HUB, REGION, unique, until


def made(platform):
    """The resources of a stack of two, one on the condition that this region and account are what they are."""
    same = {"Fn::And": [{"Fn::Equals": [{"Ref": "AWS::Region"}, REGION]},
                        {"Fn::Equals": [{"Ref": "AWS::AccountId"}, HUB]}]}
    stacks, name = platform.client("cloudformation"), unique("stack")
    stacks.create_stack(StackName=name, TemplateBody=json.dumps({
        "Conditions": {"Same": same, "Other": {"Fn::Not": [{"Condition": "Same"}]}},
        "Resources": {"Here": {"Type": "AWS::SQS::Queue", "Condition": "Same"},
                      "Elsewhere": {"Type": "AWS::SQS::Queue", "Condition": "Other"}}}))
    until(lambda: stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE")
    return [r["LogicalResourceId"] for r in stacks.describe_stack_resources(StackName=name)["StackResources"]]


def test_upstream_no_pseudo_parameter_has_its_value(plain):
    assert made(plain) == ["Elsewhere"]


def test_each_has_its_value(patched):
    assert made(patched) == ["Here"]

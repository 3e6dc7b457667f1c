"""The resources that an EC2 request is checked against.

Upstream: the first of a few fields is taken (CreateTags on an instance, ModifyNetworkInterfaceAttribute with its
groups and CreateSnapshots give "*" or one of several), so resource-level grants cannot be tested. Reads are checked
against "*", since EC2 has no resource level for Describe, with few exceptions. A request that tags what it makes also
needs ec2:CreateTags.
"""

import re
from urllib.parse import urlencode

from patches.iam_resources import register
from patches.moto_services import send

FIELDS = {
    "GroupId": "security-group",
    "ImageId": "image",
    "InstanceId": "instance",
    "InstanceSpecification.InstanceId": "instance",
    "NetworkAclId": "network-acl",
    "NetworkInterfaceId": "network-interface",
    "PrefixListId": "prefix-list",
    "SecurityGroupId": "security-group",
    "SecurityGroupRuleId": "security-group-rule",
    "SnapshotId": "snapshot",
    "SourceSnapshotId": "snapshot",
    "SubnetId": "subnet",
    "VolumeId": "volume",
    "VpcId": "vpc",
}
PREFIXES = {"acl": "network-acl", "ami": "image", "eni": "network-interface", "i": "instance", "sg": "security-group",
            "sgr": "security-group-rule", "snap": "snapshot", "subnet": "subnet", "vol": "volume", "vpc": "vpc"}
CREATED = {"CopySnapshot": ["snapshot"], "CreateSecurityGroup": ["security-group"], "CreateSnapshot": ["snapshot"],
           "CreateSnapshots": ["snapshot"]}
EXCEPTIONS = {"DescribeImageAttribute", "DescribeInstanceAttribute", "DescribeSnapshotAttribute",
              "GetManagedPrefixListEntries"}  # of the reads without a resource level


def apply():
    register("ec2")(describe)


def describe(request, checks):
    checks.resources = ["*"]
    if request.action.startswith(("Describe", "Get")) and request.action not in EXCEPTIONS:
        return
    named = [(kind_of(name, request.param(name)), request.param(name)) for name in request.params]
    named += [(kind, "*") for kind in CREATED.get(request.action, [])]
    if request.action == "CreateSnapshots":
        named += [("volume", volume) for volume in volumes(request)]
    if found := [arn_of(request, kind, name) for kind, name in named if kind and name]:
        checks.resources = found
    for name in request.params:
        if re.fullmatch(r"TagSpecification\.\d+\.ResourceType", name):
            arn = arn_of(request, request.param(name), "*")
            checks.also.append(("ec2:CreateTags", arn, "ec2", {"ec2:CreateAction": request.action}))


def volumes(request):
    """The volumes of the instance that is to be snapshotted, of which each must be granted."""
    form = urlencode({"Action": "DescribeVolumes", "Version": "2016-11-15", "Filter.1.Name": "attachment.instance-id",
                      "Filter.1.Value.1": request.param("InstanceSpecification.InstanceId")})
    scope = f"AWS4-HMAC-SHA256 Credential=root/20260101/{request.region}/ec2/aws4_request, SignedHeaders=, Signature="
    headers = {"Authorization": scope, "Content-Type": "application/x-www-form-urlencoded",
               "Host": f"ec2.{request.region}.amazonaws.com"}
    answer = send("POST", "/", headers, form.encode(), {}, request.account)[2].decode()
    return sorted(set(re.findall(r"<volumeId>(vol-[0-9a-f]+)<", answer)))


def kind_of(field, value):
    field = re.sub(r"\.\d+$", "", field)
    return PREFIXES.get(value.split("-")[0]) if field == "ResourceId" else FIELDS.get(field)


def arn_of(request, kind, name):
    owner = "" if kind in ("image", "snapshot") else request.account
    return f"arn:aws:ec2:{request.region}:{owner}:{kind}/{name}"

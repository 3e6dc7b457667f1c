"""Resources and condition keys of DynamoDB, KMS, Systems Manager parameters, secrets and logs.

Upstream: dynamodb:LeadingKeys is absent; an alias or a key id stands for a KMS key's ARN and its encryption context
is no condition key; GetParameters and GetParametersByPath are checked against "*"; reading a SecureString, or a
secret under a customer's key, needs no kms:Decrypt; log groups lack the stream or the ":*" that AWS checks.
"""

import re

from patches.iam_resources import register


def apply():
    register("dynamodb")(table)
    register("kms")(key)
    register("ssm")(parameter)
    register("secretsmanager")(secret)
    register("logs")(log_group)


def table(request, checks):
    from ministack.services import dynamodb

    found, values = dynamodb._tables, []
    requests = [request.body] + [detail for item in request.body.get("TransactItems") or [] for detail in item.values()]
    for part in requests:
        record = found.get(str(part.get("TableName", "")).rsplit("/", 1)[-1])
        if not record:
            continue
        hash_key = next(k["AttributeName"] for k in key_schema(record, part) if k["KeyType"] == "HASH")
        typed = (part.get("Key") or part.get("Item") or {}).get(hash_key) or queried(part, hash_key)
        if typed:
            values.append(str(next(iter(typed.values()))))
    if values:
        checks.keys["dynamodb:LeadingKeys"] = values


def key_schema(record, part):
    for index in record.get("GlobalSecondaryIndexes") or []:
        if index["IndexName"] == part.get("IndexName"):
            return index["KeySchema"]
    return record["KeySchema"]


def queried(part, hash_key):
    """The value that a Query's key condition gives the partition key, if it says `key = :value`."""
    names = part.get("ExpressionAttributeNames") or {}
    for name, value in re.findall(r"(#?[\w.-]+)\s*=\s*(:\w+)", part.get("KeyConditionExpression") or ""):
        if names.get(name, name) == hash_key:
            return (part.get("ExpressionAttributeValues") or {}).get(value)
    return None


def key(request, checks):
    if record := key_record(request.body.get("KeyId")):
        checks.resources = [record["Arn"]]
    for name, value in (request.body.get("EncryptionContext") or {}).items():
        checks.keys[f"kms:EncryptionContext:{name}"] = value


def key_record(key_id):
    from ministack.services import kms

    return kms._resolve_key(key_id) if key_id and not str(key_id).startswith("alias/aws/") else None


def through(request, key_id, *actions):
    """Checks of a customer's KMS key that a service uses for the caller; AWS's own keys need none."""
    record = key_record(key_id)
    context = {"kms:ViaService": f"{request.service}.{request.region}.amazonaws.com"}
    return [(action, record["Arn"], "kms", context) for action in actions] if record else []


def parameter(request, checks):
    from ministack.services import ssm

    def arn(name):
        return request.arn_of(f"parameter/{name.lstrip('/')}".rstrip("/"))

    body = request.body
    if request.action == "GetParameters" and body.get("Names"):
        checks.resources = [arn(name) for name in body["Names"]]
    elif request.action == "GetParametersByPath":
        checks.resources = [arn(body.get("Path", ""))]
    for name in [body.get("Name"), *(body.get("Names") or [])] if body.get("WithDecryption") else []:
        record = ssm._parameters.get(name) if name else None
        if record and record.get("Type") == "SecureString":
            checks.also += through(request, record.get("KeyId"), "kms:Decrypt")


def secret(request, checks):
    from ministack.services import secretsmanager

    if request.action != "GetSecretValue":
        return
    record = secretsmanager._resolve(request.body.get("SecretId", ""))[1] or {}
    checks.also += through(request, record.get("KmsKeyId"), "kms:Decrypt")
    if stage := request.body.get("VersionStage"):
        checks.keys["secretsmanager:VersionStage"] = stage


def log_group(request, checks):
    if group := request.body.get("logGroupName"):
        stream = request.body.get("logStreamName")
        checks.resources = [request.arn_of(f"log-group:{group}:{f'log-stream:{stream}' if stream else '*'}")]

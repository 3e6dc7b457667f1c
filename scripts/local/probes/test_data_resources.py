import pytest

from conftest import HUB, REGION, allow, allowed, unique


def arn(service, resource):
    return f"arn:aws:{service}:{REGION}:{HUB}:{resource}"


@pytest.fixture(scope="module")
def table(patched):
    return make_table(patched)


def make_table(platform):
    name = unique("table")
    platform.client("dynamodb").create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
    return name


def reads(platform, table, key):
    """Whether a session that may read keys INC#* reads this one."""
    leading = {"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": ["INC#*"]}}
    keys = platform.session(allow("dynamodb:GetItem", arn("dynamodb", f"table/{table}"), **leading))
    return allowed(lambda: platform.client("dynamodb", keys=keys).get_item(TableName=table, Key={"pk": {"S": key}}))


def test_upstream_leading_keys_are_absent(plain):
    assert not reads(plain, make_table(plain), "INC#1")


def test_leading_keys_are_those_of_the_item(patched, table):
    assert reads(patched, table, "INC#1")
    assert not reads(patched, table, "SETTING#1")


def test_leading_keys_are_those_of_a_query_and_a_transaction(patched, table):
    leading = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["INC#*"]}}
    keys = patched.session(allow(["dynamodb:Query", "dynamodb:PutItem"], arn("dynamodb", f"table/{table}"), **leading))
    dynamodb = patched.client("dynamodb", keys=keys)
    for value, right in (("INC#1", True), ("SETTING#1", False)):
        item = {"pk": {"S": value}}
        assert allowed(lambda: dynamodb.query(TableName=table, KeyConditionExpression="#k = :v",
                                              ExpressionAttributeNames={"#k": "pk"},
                                              ExpressionAttributeValues={":v": item["pk"]})) == right
        assert allowed(lambda: dynamodb.transact_write_items(
            TransactItems=[{"Put": {"TableName": table, "Item": item}}])) == right


def by_path(platform):
    platform.client("ssm").put_parameter(Name="/probe/mode", Value="plan", Type="String", Overwrite=True)
    keys = platform.session(allow(["ssm:GetParametersByPath", "ssm:GetParameters"], [
        arn("ssm", "parameter/probe"), arn("ssm", "parameter/probe/*")]))
    ssm = platform.client("ssm", keys=keys)
    return (allowed(lambda: ssm.get_parameters_by_path(Path="/probe")),
            allowed(lambda: ssm.get_parameters(Names=["/probe/mode"])))


def test_upstream_parameters_have_no_resource(plain):
    assert by_path(plain) != (True, True)


def test_parameters_are_checked_by_name_and_path(patched):
    assert by_path(patched) == (True, True)


def secret(platform, *actions):
    """Whether a secret under a customer's key is read with these grants."""
    name = unique("secret")
    key = platform.client("kms").create_key()["KeyMetadata"]["KeyId"]
    platform.client("secretsmanager").create_secret(Name=name, SecretString="x", KmsKeyId=key)
    keys = platform.session(*map(allow, actions))
    return allowed(lambda: platform.client("secretsmanager", keys=keys).get_secret_value(SecretId=name))


def test_upstream_a_secrets_key_is_not_looked_at(plain):
    assert secret(plain, "secretsmanager:GetSecretValue")


def test_a_secret_needs_its_key(patched):
    assert not secret(patched, "secretsmanager:GetSecretValue")
    assert secret(patched, "secretsmanager:GetSecretValue", "kms:Decrypt")


def encrypts(platform):
    """Whether a grant on a key's ARN with an encryption context covers a call by the key's alias."""
    kms, alias = platform.client("kms"), f"alias/{unique('key')}"
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    keys = platform.session(allow("kms:Encrypt", key["Arn"], StringEquals={"kms:EncryptionContext:incident": "INC-1"}))
    return [allowed(lambda: platform.client("kms", keys=keys).encrypt(
        KeyId=alias, Plaintext=b"x", EncryptionContext={"incident": i})) for i in ("INC-1", "INC-2")]


def test_upstream_an_alias_hides_the_key(plain):
    assert encrypts(plain) == [False, False]


def test_the_key_and_its_context_are_checked(patched):
    assert encrypts(patched) == [True, False]

import json

from conftest import allow, allowed, unique


def attaches(platform, which):
    """Whether a session that may attach one policy attaches this one."""
    root = platform.client("iam")
    user, policies = unique("user"), {}
    root.create_user(UserName=user)
    for name in ("ours", "other"):
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
        policies[name] = root.create_policy(PolicyName=unique(name), PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    keys = platform.session(allow("iam:AttachUserPolicy", ArnEquals={"iam:PolicyARN": policies["ours"]}))
    iam = platform.client("iam", keys=keys)
    return allowed(lambda: iam.attach_user_policy(UserName=user, PolicyArn=policies[which]))


def test_upstream_the_policy_is_absent(plain):
    assert not attaches(plain, "ours")


def test_the_policy_that_is_attached_is_checked(patched):
    assert attaches(patched, "ours")
    assert not attaches(patched, "other")


def looks(platform, own):
    """Whether a session that may look at one user's keys looks at a key of that user, or of another."""
    root = platform.client("iam")
    users = [root.create_user(UserName=unique("user"))["User"] for _ in range(2)]
    key = root.create_access_key(UserName=users[0]["UserName"])["AccessKey"]["AccessKeyId"]
    keys = platform.session(allow("iam:GetAccessKeyLastUsed", resource=users[0 if own else 1]["Arn"]))
    iam = platform.client("iam", keys=keys)
    return allowed(lambda: iam.get_access_key_last_used(AccessKeyId=key))


def test_upstream_the_keys_user_is_not_looked_at(plain):
    assert not looks(plain, own=True)


def test_a_key_is_its_users(patched):
    assert looks(patched, own=True)
    assert not looks(patched, own=False)


def lists(platform, path):
    """Whether a session that may list the keys of users below /billing/ lists those of a user below that path."""
    user = platform.client("iam").create_user(UserName=unique("user"), Path=path)["User"]
    keys = platform.session(allow("iam:ListAccessKeys", resource="arn:aws:iam::*:user/billing/*"))
    return allowed(lambda: platform.client("iam", keys=keys).list_access_keys(UserName=user["UserName"]))


def test_upstream_paths_are_left_out(plain):
    assert not lists(plain, "/billing/")


def test_a_user_is_checked_with_its_path(patched):
    assert lists(patched, "/billing/")
    assert not lists(patched, "/nursing/")

from conftest import HUB, unique


def of_a_member(platform):
    """The organization that makes an account, and the one that the account believes to be in."""
    made = platform.client("organizations").create_account(Email="clinic@example.com", AccountName=unique("clinic"))
    account = made["CreateAccountStatus"]["AccountId"]
    return [platform.client("organizations", a).describe_organization()["Organization"]["Id"] for a in (HUB, account)]


def test_upstream_each_account_is_alone(plain):
    hub, member = of_a_member(plain)
    assert hub != member


def test_an_account_belongs_to_who_made_it(patched):
    hub, member = of_a_member(patched)
    assert hub == member

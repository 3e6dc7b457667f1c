from conftest import allow

ENTRY = {"Source": "aws.guardduty", "DetailType": "GuardDuty Finding", "Detail": "{}"}


def taken(platform, keys=None):
    return platform.client("events", keys=keys).put_events(Entries=[ENTRY])["FailedEntryCount"] == 0


def test_upstream_nobody_puts_them(plain):
    assert not taken(plain)


def test_only_root_puts_them(patched):
    assert taken(patched)
    assert not taken(patched, patched.session(allow("events:*")))

import statistics

STATES = {"Done": {"Type": "Succeed"}}


def duration(platform):
    """Seconds from start to end of an empty machine, the median of five."""
    runs = [platform.run(STATES)[0] for _ in range(5)]
    return statistics.median((r["stopDate"] - r["startDate"]).total_seconds() for r in runs)


def test_upstream_a_machine_waits_before_its_first_state(plain):
    assert duration(plain) >= 0.15


def test_a_machine_begins_at_once(patched):
    assert duration(patched) < 0.1

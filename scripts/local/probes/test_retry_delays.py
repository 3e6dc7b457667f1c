def waited(platform, **retry):
    """Seconds that a machine takes whose task fails until its retries are used up."""
    retry = {"ErrorEquals": ["Mine"], "IntervalSeconds": 1, "MaxAttempts": 3, "BackoffRate": 2, **retry}
    call = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Retry": [retry], "End": True,
            "Arguments": {"FunctionName": platform.function(), "Payload": {"error": "Mine"}}}
    found = platform.run({"Call": call})[0]
    return (found["stopDate"] - found["startDate"]).total_seconds()


def test_upstream_the_longest_delay_is_ignored(plain):
    assert waited(plain, MaxDelaySeconds=1) >= 7


def test_the_longest_delay_is_kept(patched):
    assert 3 <= waited(patched, MaxDelaySeconds=1) < 5


def test_delays_are_spread(patched):
    assert waited(patched, JitterStrategy="FULL") < 6.9  # of 7 s at most, which none of three ever is

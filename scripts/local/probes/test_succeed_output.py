import json

STATES = {"Done": {"Type": "Succeed", "Output": {"n": "{% $states.input.n + 1 %}"}}}


def output(platform):
    return json.loads(platform.run(STATES, {"n": 1})[0]["output"])


def test_upstream_it_is_ignored(plain):
    assert output(plain) == {"n": 1}


def test_it_is_the_output(patched):
    assert output(patched) == {"n": 2}

from conftest import path

ITEM = {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Inside", "States": {"Inside": {"Type": "Succeed"}}}
STATES = {"Each": {"Type": "Map", "Items": [1, 2], "MaxConcurrency": 1, "ItemProcessor": ITEM, "Next": "After"},
          "After": {"Type": "Succeed"}}


def test_upstream_the_states_inside_are_missing(plain):
    assert path(plain.run(STATES)[1]) == ["Each", "After"]


def test_the_states_inside_are_named(patched):
    _, history = patched.run(STATES)
    assert path(history) == ["Each", "Inside", "Inside", "After"]
    assert [e["mapIterationStartedEventDetails"] for e in history if e["type"] == "MapIterationStarted"] == [
        {"name": "Each", "index": 0}, {"name": "Each", "index": 1}]
    assert [e["id"] for e in history] == list(range(1, len(history) + 1))

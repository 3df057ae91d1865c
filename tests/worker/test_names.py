"""The naming rule on which scripts rely, decided purely."""

from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.worker.graphs import VALID_NODE_NAME
from edgefreeze.worker.names import plan


def test_valid_keys_are_the_nodes_names():
    assert plan(["x", "a/b"], ["logits"]) == ({"x": "x", "a/b": "a/b"}, {"logits": "logits"})


def test_an_output_with_an_inputs_key_gets_out():
    assert plan(["x"], ["x", "y"])[1] == {"x": "x_out", "y": "y"}


def test_a_key_of_its_own_is_never_taken_for_out():
    assert plan(["x"], ["x", "x_out"])[1] == {"x": "x_out_1", "x_out": "x_out"}


def test_other_keys_are_sanitised_and_stay_apart():
    inputs, outputs = plan(["a b", "a:b", "-c"], ["a_b", "ü"])
    assert outputs["a_b"] == "a_b"
    assert inputs == {"a b": "a_b_1", "a:b": "a_b_2", "-c": "t-c"}
    assert outputs["ü"] == "t_"


keys = st.lists(st.text("ab_ :/é", max_size=4), unique=True, max_size=5)


@given(keys, keys)
def test_names_are_valid_and_all_different(inputs, outputs):
    named_inputs, named_outputs = plan(inputs, outputs)
    names = [*named_inputs.values(), *named_outputs.values()]
    assert len(set(names)) == len(inputs) + len(outputs)
    assert all(VALID_NODE_NAME.fullmatch(name) for name in names)
    for key in inputs:
        if VALID_NODE_NAME.fullmatch(key):
            assert named_inputs[key] == key

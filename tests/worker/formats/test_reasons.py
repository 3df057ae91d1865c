"""The converter's messages, in words. The messages are excerpts of real ones."""

from types import SimpleNamespace

import pytest

from edgefreeze.worker import layers
from edgefreeze.worker.litert import isolated, refusals


def frozen(*nodes):
    """A graph of (name, op) that has what `reason` looks at."""
    made = [SimpleNamespace(name=name, op=op) for name, op in nodes]
    return SimpleNamespace(graph=SimpleNamespace(node=made, library=SimpleNamespace(function=[])))


GRAPH = frozen(("Call/head/volume/Det", "MatrixDeterminant"), ("n", "StringLength"), ("rnn/while", "While"))
SELECT = """Could not translate MLIR to FlatBuffer.
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select. \
See instructions: https://www.tensorflow.org/lite/guide/ops_select
TF Select ops: MatrixDeterminant
Details:
"""
CUSTOM = """Could not translate MLIR to FlatBuffer.
Some ops in the model are custom ops, See instructions to implement custom ops: \
https://www.tensorflow.org/lite/guide/ops_custom
Custom ops: StringLength
Details:
"""


def test_operations_that_select_ops_would_let_in():
    text = refusals.reason(SELECT, GRAPH, None, "fp32")
    assert text.startswith(
        "TensorFlow Lite has no built-in operation for MatrixDeterminant "
        "(node 'Call/head/volume/Det', layer 'Call/head/volume'). Ways out: "
    )
    assert "--select-ops" in text


def test_operations_that_nothing_lets_in():
    text = refusals.reason(CUSTOM, GRAPH, None, "fp32")
    assert text.startswith(
        "TensorFlow Lite has no built-in operation for StringLength (node 'n'). Ways out: "
    )
    assert "--select-ops" not in text


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Quantization to 16x8-bit not yet supported for op: 'SIN'.", "no 16x8 kernel for SIN."),
        (
            "Max and min for dynamic tensors should be recorded during calibration: Failed for tensor ids",
            "no 16x8 for 'ids', whose range it cannot measure",
        ),
        (
            f"{isolated.DIED} SIGSEGV",
            "measuring ranges inside a loop or a branch: While or If (node 'rnn/while'",
        ),
        ("something else\nat length", "converter failed: something else"),
    ],
)
def test_what_else_the_converter_says(message, said):
    assert said in refusals.reason(message, GRAPH, 1, "16x8")


def test_a_free_batch_in_a_loop_is_to_be_fixed():
    message = "requires element_shape to be static during TF Lite transformation pass\nTF Select ops: While"
    assert "--batch 1" in refusals.reason(message, GRAPH, None, "fp32")


def test_what_is_left_in_floats_is_named_by_the_first_of_a_tensors_nodes():
    text = refusals.floats({"NEG": ["a/b/Neg;c", "a/b/Neg;d"], "QUANTIZE": ["q"]}, "int8")
    assert text.startswith(
        "TensorFlow Lite has no int8 kernel for NEG (node 'a/b/Neg', layer 'a/b'). Ways out"
    )


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("StatefulPartitionedCall/functional_1/encoder/attention/Erfc", "encoder/attention"),
        ("StatefulPartitionedCall_1/PartitionedCall/StringJoin", None),
        ("functional/lstm/while/body/MatMul", "lstm"),
        ("MatMul", None),
    ],
)
def test_a_layer_is_what_the_user_called_it(node, layer):
    assert layers.of(node) == layer


def test_many_nodes_are_counted():
    text = layers.describe("Erfc", [f"layer/{i}" for i in range(9)])
    assert text.endswith("and 6 more)")

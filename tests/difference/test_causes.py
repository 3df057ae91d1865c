"""What is said of two constants, and of two outputs."""

import numpy as np
import pytest

from edgefreeze.difference import causes, measures, pairing, scales
from edgefreeze.difference.traced import Traced
from edgefreeze.inspection import graph_def
from tests.inspection.graphs import INT32, add
from tests.inspection.graphs import graph_def as empty

RANDOM = np.random.default_rng(5)
KERNEL = RANDOM.normal(size=(3, 3, 4, 8)).astype("f")


def changed(array):
    copy = array.copy()
    copy.reshape(-1)[7] += 1
    return copy


@pytest.mark.parametrize(
    ("x", "y", "kind", "text"),
    [
        (KERNEL, KERNEL, None, None),
        (KERNEL, np.transpose(KERNEL, (3, 0, 1, 2)), None, None),  # as TensorFlow Lite has it
        (KERNEL, KERNEL * RANDOM.uniform(0.5, 2, 8).astype("f"), None, None),  # a batch norm is in it
        (KERNEL, np.transpose(KERNEL, (1, 0, 2, 3)), "layout", "transposed kernel"),
        (KERNEL, changed(KERNEL), "weights", "only 1 of 288"),
        (KERNEL, changed(KERNEL * RANDOM.uniform(0.5, 2, 8).astype("f")), "weights", "beside a factor"),
        (KERNEL[0, 0, 0], KERNEL[0, 0, 0] * 3, "weights", "0.333333 times"),
        (KERNEL, RANDOM.normal(size=KERNEL.shape).astype("f"), "weights", "288 of 288"),
        (KERNEL, KERNEL[:2], "weights", "has the shape"),
    ],
)
def test_weights_that_were_changed_are_named_by_what_was_done_to_them(x, y, kind, text):
    found = causes.weights(x, y)
    assert (found and found[0]) == kind
    assert found is None or text in found[1]


def test_outputs_that_differ_at_the_border_only_are_padded_otherwise():
    x = RANDOM.normal(size=(1, 12, 12, 3))
    y = x.copy()
    y[:, 0] = y[:, -1] = 9.0
    assert causes.numeric(x, y)[0] == "padding"
    assert causes.numeric(x, x[:, 1:-1, 1:-1])[0] == "padding"


def test_outputs_in_proportion_by_channel_have_another_batch_norm():
    x = RANDOM.normal(size=(1, 6, 6, 5))
    factors, offsets = np.array([1, 2, 3, 0.5, 1.5]), np.arange(5)
    assert causes.numeric(x * factors + offsets, x)[0] == "unfused batch norm"
    assert causes.numeric(2 * x, x)[0] == "scale"


def test_what_is_clipped_is_saturated_and_the_same_is_not():
    reference = RANDOM.normal(size=1000)
    assert scales.saturated(reference, np.clip(reference, -1, 1)) > 0.2
    assert scales.saturated(reference, reference) == 0


def test_the_worst_element_and_the_ratio_of_signal_to_noise():
    x = np.ones((2, 3), "f")
    y = x.copy()
    y[1, 2] = 1.5
    worst = measures.worst([x, x], [x, y])
    assert (worst.case, worst.index, worst.expected, worst.found) == (1, (1, 2), 1.0, 1.5)
    assert measures.sqnr_db([x], [x]) == measures.LOSSLESS_DB
    assert measures.sqnr_db([x], [y]) == pytest.approx(10 * np.log10(6 / 0.25))
    y[0, 0] = np.nan
    assert measures.worst([x], [y]).found == "nan"
    assert measures.sqnr_db([x], [y]) is None


def test_a_fused_tensor_has_the_names_of_all_that_is_in_it():
    assert pairing.aliases("m/Relu;m/BiasAdd:0") == ["m/Relu", "m/BiasAdd"]
    assert pairing.aliases("Func/Call/input/_12:0") == []


def test_a_layout_is_found_by_its_axes():
    x = RANDOM.normal(size=(2, 3, 4, 5))
    ((axes, turned),) = pairing.layouts(x.shape, np.transpose(x, (0, 3, 1, 2)))
    assert axes == (0, 2, 3, 1)
    assert np.array_equal(turned, x)


def normed(axes):
    """A side whose input is divided by its deviation over these axes."""
    g = empty()
    add(g, "x", "Placeholder", shape=(None, 4, 4, 3))
    add(g, "norm/axes", "Const", shape=(len(axes),), dtype=INT32, values=axes)
    add(g, "norm/mean", "Mean", "x", "norm/axes")
    add(g, "norm/difference", "SquaredDifference", "x", "norm/mean")
    add(g, "norm/variance", "Mean", "norm/difference", "norm/axes")
    add(g, "norm/batchnorm/Rsqrt", "Rsqrt", "norm/variance")
    add(g, "norm/mul", "Mul", "x", "norm/batchnorm/Rsqrt")
    return Traced(name="a", kind="frozen_pb", graph=graph_def.read(g, ["norm/mul"]), values={})


def plain():
    g = empty()
    add(g, "x", "Placeholder", shape=(None, 4, 4, 3))
    add(g, "norm/mul", "LayerNormalization", "x")
    return Traced(name="b", kind="onnx", graph=graph_def.read(g, ["norm/mul"]), values={})


def test_a_layer_norm_is_no_batch_norm_in_training_mode():
    other = plain()
    batch, layer = normed((0, 1, 2)), normed((3,))
    found = causes.training_mode(batch, batch.graph.nodes, other, other.graph.nodes)
    assert (found.kind, found.node) == ("batch norm in training mode", "norm")
    assert causes.training_mode(layer, layer.graph.nodes, other, other.graph.nodes) is None


def looped(weight):
    """A side with a loop whose body multiplies by a constant."""
    g = empty()
    add(g, "x", "Placeholder", shape=(None, 3))
    loop = add(g, "loop", "While", "x")
    loop.attr["body"].func.name = "step"
    function = g.library.function.add()
    function.signature.name = "step"
    function.signature.input_arg.add(name="value")
    function.signature.output_arg.add(name="result")
    node = function.node_def.add(name="next", op="LeakyRelu")
    node.input.append("value")
    node.attr["alpha"].f = weight
    function.ret["result"] = "next:activations:0"
    return Traced(name="side", kind="frozen_pb", graph=graph_def.read(g, ["loop"]), values={})


def test_the_bodies_of_loops_are_compared_by_what_stands_in_them():
    a, b = looped(0.1), looped(0.3)
    left, right = (next(n for n in side.graph.nodes if n.op == "While") for side in (a, b))
    found = causes.in_bodies(a, b, left, right)
    assert "next" in found.node
    assert "alpha" in found.sentence
    assert causes.in_bodies(a, looped(0.1), left, right) is None


def test_complex_numbers_of_another_phase_are_not_the_same():
    x = np.array([1 + 0j, 2 + 1j], "c8")
    turned = np.array([1 + 0j, 1 + 2j], "c8")
    assert measures.sqnr_db([x], [turned]) == pytest.approx(10 * np.log10(6 / 2))
    found = measures.worst([x], [turned])
    assert (found.index, found.expected, found.found) == ((1,), "(2+1j)", "(1+2j)")
    assert measures.sqnr_db([x], [x.copy()]) == measures.LOSSLESS_DB
    assert measures.worst([x], [x.copy()]) is None


TEXT = np.array([b"a", b"b"], dtype=object)


@pytest.mark.parametrize(
    ("x", "y"),
    [(np.ones(2), TEXT), (TEXT, np.ones(2)), (np.ones(2), np.ones(2, "c8")), (np.ones(2, "c8"), np.ones(2))],
)
def test_what_cannot_be_compared_has_no_measure(x, y):
    assert measures.sqnr_db([x], [y]) is None
    assert measures.worst([x], [y]) is None


def test_strings_of_every_kind_are_compared():
    for other in (
        np.array(["a", "ü"]),
        np.array([b"a", "ü".encode()]),
        np.array([b"a", "ü".encode()], object),
    ):
        found = measures.worst([TEXT], [other])
        assert (found.index, found.expected, found.found) == ((1,), "b", "ü")
        assert measures.worst([other], [other.copy()]) is None

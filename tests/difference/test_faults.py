"""Faults as conversions and hand-made ports make them, each found at its node, whatever the other format is."""

import functools
import time

import numpy as np
import pytest

from edgefreeze.device.tensors import decode, encode
from edgefreeze.difference import bisecting
from edgefreeze.difference.sides import Artifact
from edgefreeze.inspection import tflite
from edgefreeze.progress import Silent
from edgefreeze.types import Tensor
from tests.difference import faults

pytestmark = [pytest.mark.tf, pytest.mark.slow]
P = "StatefulPartitionedCall/StatefulPartitionedCall/"
CELL = "lstm/lstm_cell/recurrent_kernel"


def in_cell(graph, name):
    value = faults.value_of(graph, CELL)
    value.reshape(-1)[5] += 0.7
    faults.set_constant(graph, CELL, value)


def both_paddings(graph, name):
    faults.other_padding(graph, name)  # of one alone the branches would not fit together
    faults.other_padding(graph, name.replace("left", "right"))


FAULTS = [
    ("mobilenet", faults.changed_weight, "mobilenet_1/block_16_project_1/convolution", {"weights"}),
    ("mobilenet", faults.transposed_kernel, "mobilenet_1/Conv1_1/convolution", {"layout"}),
    ("mobilenet", faults.other_padding, "mobilenet_1/expanded_conv_depthwise_1/depthwise", {"padding"}),
    ("recurrent", faults.changed_weight, "recurrent_1/hidden_1/MatMul", {"weights"}),
    ("recurrent", in_cell, "recurrent_1/lstm_1/while", {"weights"}),
    ("branches", faults.swapped_inputs, "branches_1/difference_1/Sub", {"swapped inputs"}),
    ("branches", faults.transposed_kernel, "branches_1/conv_right_1/convolution", {"layout"}),
    ("branches", both_paddings, "branches_1/conv_left_1/convolution", {"padding"}),
]


def parting(a, b, out):
    found = bisecting.bisect(a, b, None, out, None, Silent())
    assert found.parting is not None
    return found


@pytest.mark.parametrize("against", ["model.pb", "model.tflite", "model.onnx"])
@pytest.mark.parametrize(
    ("model", "fault", "node", "kinds"), FAULTS, ids=lambda v: getattr(v, "__name__", None)
)
def test_it_is_found_at_its_node(made, tmp_path, model, fault, node, kinds, against):
    a = made.faulty(model, functools.partial(fault, name=P + node), tmp_path / "faulty.pb")
    found = parting(a, made.side(model, made.file(model, against)), tmp_path / "out")
    assert found.parting.node == P + node
    assert found.parting.cause.kind in kinds
    # A deep network with random weights saturates: what is wrong early need not reach its outputs.
    assert model == "mobilenet" or not found.equal
    values = decode((tmp_path / "out" / "values.npz").read_bytes())
    assert {key.split("|")[1] for key in values} == {"in", "out"}
    assert (tmp_path / "out" / "a.pb").stat().st_size < made.file(model).stat().st_size


@pytest.mark.parametrize("against", ["model.pb", "model.tflite", "model.onnx"])
@pytest.mark.parametrize("model", ["mobilenet", "branches"])
def test_a_batch_norm_in_training_mode(made, tmp_path, model, against):
    path = made.file(f"{model}_training")
    found = parting(made.side(model, path), made.side(model, made.file(model, against)), tmp_path / "out")
    # Keras lets the flag of one layer reach its siblings: the first of those that are in training mode.
    names = [node.name for node in faults.graph_of(path).node if node.name.endswith("/moments/mean")]
    training = [name.removesuffix("/moments/mean") for name in names]
    assert found.parting.node in training
    assert found.parting.cause.kind == "batch norm in training mode"
    if model == "mobilenet":
        assert found.parting.node.endswith("block_2_expand_BN_1")


def test_a_wrong_scale(made, tmp_path):
    whole = made.folder / "mobilenet_int8.tflite"
    read = tflite.read(whole)
    data = whole.read_bytes()
    convolutions = [n.outputs[0] for n in read.graph.nodes if n.op in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    single = [
        name for name in convolutions
        if data.count(np.float32(read.quantisation[name].scales[0]).tobytes()) == 1
    ]  # fmt: skip
    (tmp_path / "faulty.tflite").write_bytes(
        faults.scaled(whole, read.quantisation[single[6]].scales[0], 1.7)
    )
    a, b = (made.side("mobilenet", path) for path in (tmp_path / "faulty.tflite", whole))
    # Whether the outputs show it is for the inputs to say: they are integers too.
    found = bisecting.bisect(a, b, None, tmp_path / "out", None, Silent()).parting
    assert found is not None
    assert found.node == single[6]
    assert found.cause.kind == "quantisation scale"


@pytest.mark.parametrize(("factor", "kind"), [(0.2, "quantisation range"), (2.5, "quantisation scale")])
def test_a_wrong_scale_beside_the_model_in_floats(made, tmp_path, factor, kind):
    """Every tensor is off by its rounding. Too small a scale cuts off; too large a one makes its own tensor
    coarser only, and the bias of what takes it stand for something else."""
    whole = made.folder / "mobilenet_int8.tflite"
    read = tflite.read(whole)
    data = whole.read_bytes()
    single = [
        node.outputs[0] for node in read.graph.nodes
        if node.op in ("CONV_2D", "DEPTHWISE_CONV_2D")
        and data.count(np.float32(read.quantisation[node.outputs[0]].scales[0]).tobytes()) == 1
    ]  # fmt: skip
    faulty = single[3]  # an early one: what a random network computes late hardly hangs on the input
    (tmp_path / "faulty.tflite").write_bytes(
        faults.scaled(whole, read.quantisation[faulty].scales[0], factor)
    )
    typical = np.random.default_rng(9).standard_normal((1, 48, 48, 3)).astype("f")  # as it was calibrated on
    (tmp_path / "in.npz").write_bytes(encode({"keras_tensor": typical}))
    a = made.side("mobilenet", tmp_path / "faulty.tflite")
    b = made.side("mobilenet", made.file("mobilenet", "model.tflite"))
    found = bisecting.bisect(a, b, tmp_path / "in.npz", tmp_path / "out", None, Silent()).parting
    assert found is not None
    assert found.node == faulty
    assert found.cause.kind == kind


def test_a_weight_that_no_input_reaches_is_named(tmp_path):
    """A dead unit: whatever its outgoing weight is, nothing shows it."""
    graph = faults.chain(2)
    bias = faults.value_of(graph, "layer_0/bias")
    faults.node_of(graph, "layer_0/Tanh").op = "Relu"
    bias[3] = -1000
    faults.set_constant(graph, "layer_0/bias", bias)
    # Past the unit, nothing of the bias itself.
    faults.node_of(graph, "layer_0/sum").op = "Identity"
    del faults.node_of(graph, "layer_0/sum").input[1:]
    (tmp_path / "a.pb").write_bytes(graph.SerializeToString())
    kernel = faults.value_of(graph, "layer_1/kernel")
    kernel[3] += 7
    faults.set_constant(graph, "layer_1/kernel", kernel)
    (tmp_path / "b.pb").write_bytes(graph.SerializeToString())
    found = bisecting.bisect(*chained(tmp_path), None, tmp_path / "out", None, Silent())
    assert (found.equal, found.parting) == (True, None)
    (warning,) = found.warnings
    assert "'layer_1/kernel' differ" in warning
    assert "--samples" in warning


def chained(folder):
    ends = [Tensor(name=n, tensor=f"{n}:0", dtype="float32", shape=(None, 16)) for n in ("x", "y")]
    return [
        Artifact(
            path=folder / name, kind="frozen_pb", runtime="tf_frozen", inputs=(ends[0],), outputs=(ends[1],)
        )
        for name in ("a.pb", "b.pb")
    ]


def test_what_is_the_same_does_not_part(made, tmp_path):
    sides = [made.side("branches", made.file("branches", name)) for name in ("model.pb", "model.onnx")]
    found = bisecting.bisect(*sides, None, tmp_path / "out", None, Silent())
    assert (found.equal, found.parting) == (True, None)


def test_four_thousand_nodes_take_less_than_two_minutes(tmp_path):
    """Of the command's own work: TensorFlow is imported twice, and each tensor is computed twice."""
    graph = faults.chain(1000)
    (tmp_path / "a.pb").write_bytes(graph.SerializeToString())
    faults.changed_weight(graph, "layer_990/MatMul")
    (tmp_path / "b.pb").write_bytes(graph.SerializeToString())
    assert len([n for n in graph.node if n.op != "Const"]) > 4000
    sides = chained(tmp_path)
    started = time.monotonic()
    found = parting(*sides, tmp_path / "out")
    assert time.monotonic() - started < 120
    assert found.parting.node == "layer_990/MatMul"
    assert found.compared > 4000

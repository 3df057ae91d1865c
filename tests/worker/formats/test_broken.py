"""What a converter can get wrong without a word is caught by the proof: each defect is put into a good file."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefreeze.worker import prove
from edgefreeze.worker.litert import flatbuffer
from tests.worker.formats import cells

pytestmark = pytest.mark.tf
FP32 = [("tflite", "fp32"), ("onnx", "fp32")]


@pytest.fixture(scope="module")
def pairs(folder):
    """{name: (proved conversion, folder)} of models with two inputs, and two outputs, of one shape."""
    cells.make(folder, "pass_through", "several_outputs")
    return {
        name: (cells.run(folder, name, folder / f"{name}_fp32", FP32), folder / f"{name}_fp32")
        for name in ("pass_through", "several_outputs")
    }


@pytest.fixture
def proved_again(tmp_path):
    """A function that proves one artifact of a conversion after `edit` changed its file's bytes."""

    def again(made, cell, edit):
        conversion, folder = made
        (artifact,) = [a for a in conversion.artifacts if (a.format, a.precision) == cell]
        assert artifact.status == "verified", artifact.reason
        shutil.copyfile(folder / "golden.npz", tmp_path / "golden.npz")
        content = (folder / artifact.path).read_bytes()
        edited = edit(content, artifact)
        assert edited != content
        (tmp_path / artifact.path).write_bytes(edited)
        unproved = replace(artifact, status="unverified", parity=None)
        return prove.prove(replace(conversion, artifacts=(unproved,)), tmp_path).artifacts[0]

    return again


def lite(edit):
    """An edit of a TFLite model's object."""

    def edited(content, artifact):
        model = flatbuffer.read(bytearray(content))
        edit(model, artifact)
        return flatbuffer.write(model, len(content) + 4096)

    return edited


def onnx_model(edit):
    """An edit of an ONNX model."""

    def edited(content, artifact):
        model = onnx.load_from_string(content)
        edit(model, artifact)
        return model.SerializeToString(deterministic=True)

    return edited


def unchanged_but_written_anew(content, artifact):
    return flatbuffer.write(flatbuffer.read(bytearray(content)), len(content) * 2 + 65536) + b"\0" * 16


def lite_nan(model, _):
    graph = model.subgraphs[0]
    weights = max(
        (t for t in graph.tensors if t.type == 0 and model.buffers[t.buffer].data is not None),
        key=lambda t: len(model.buffers[t.buffer].data),
    )
    values = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.float32).copy()
    values[0] = np.nan
    model.buffers[weights.buffer].data = values.view(np.uint8)


def onnx_nan(model, _):
    weights = max(model.graph.initializer, key=lambda i: len(i.raw_data) * (i.data_type == 1))
    values = numpy_helper.to_array(weights).copy()
    values.flat[0] = np.nan
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def swap(first, second):
    """A renaming that exchanges two names."""
    return lambda name: {first: second, second: first}.get(name, name)


def lite_swapped(role, *keys):
    def edit(model, artifact):
        tensors = {t.name: t.tensor for t in getattr(artifact, role)}
        renamed = swap(*(tensors[key] for key in keys))
        graph = model.subgraphs[0]
        for index in getattr(graph, role):
            tensor = graph.tensors[index]
            tensor.name = renamed(tensor.name.decode()).encode()

    return lite(edit)


def onnx_swapped(role, *keys):
    def edit(model, artifact):
        tensors = {t.name: t.tensor for t in getattr(artifact, role)}
        renamed = swap(*(tensors[key] for key in keys))
        for node in model.graph.node:
            ends = node.input if role == "inputs" else node.output
            ends[:] = [renamed(name) for name in ends]

    return onnx_model(edit)


def lite_scale(model, _):
    """The weights of the last layer; that of its output would be right again, whatever it is."""
    graph = model.subgraphs[0]
    weights = graph.tensors[graph.operators[-1].inputs[1]]
    assert model.buffers[weights.buffer].data is not None
    weights.quantization.scale = np.asarray(weights.quantization.scale, np.float32) * np.float32(1.5)


def onnx_scale(model, _):
    """As lite_scale."""
    constants = {i.name: i for i in model.graph.initializer}
    scales = [
        n.input[1] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants
    ]
    widest = max((constants[name] for name in scales), key=lambda i: len(i.raw_data) + len(i.float_data))
    widest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(widest) * np.float32(1.5), widest.name))


def test_writing_a_file_anew_breaks_nothing(small, proved_again):
    proved = proved_again(small, ("tflite", "int8"), unchanged_but_written_anew)
    assert proved.status == "verified", proved.reason


@pytest.mark.parametrize(
    ("cell", "edit"),
    [(("tflite", "fp32"), lite(lite_nan)), (("onnx", "fp32"), onnx_model(onnx_nan))],
    ids=["tflite", "onnx"],
)
def test_a_nan_in_the_weights(small, proved_again, cell, edit):
    proved = proved_again(small, cell, edit)
    assert proved.status == "refused"
    assert "NaN in " in proved.reason


@pytest.mark.parametrize(
    ("cell", "edit"),
    [
        (FP32[0], lite_swapped("outputs", "first", "second")),
        (FP32[1], onnx_swapped("outputs", "first", "second")),
    ],
    ids=["tflite", "onnx"],
)
def test_outputs_of_one_shape_exchanged(pairs, proved_again, cell, edit):
    proved = proved_again(pairs["several_outputs"], cell, edit)
    assert proved.status == "refused"
    equal = {o.name: o.ok for o in proved.parity.outputs}
    assert not equal["first"]
    assert not equal["second"]
    assert equal["hidden"]


@pytest.mark.parametrize(
    ("cell", "edit"),
    [(FP32[0], lite_swapped("inputs", "x", "y")), (FP32[1], onnx_swapped("inputs", "x", "y"))],
    ids=["tflite", "onnx"],
)
def test_inputs_of_one_shape_exchanged(pairs, proved_again, cell, edit):
    proved = proved_again(pairs["pass_through"], cell, edit)
    assert proved.status == "refused"
    assert "'sum'" in proved.reason


@pytest.mark.parametrize(
    ("cell", "edit"),
    [(("tflite", "int8-io"), lite(lite_scale)), (("onnx", "int8"), onnx_model(onnx_scale))],
    ids=["tflite", "onnx"],
)
def test_a_scale_that_is_wrong(small, proved_again, cell, edit):
    proved = proved_again(small, cell, edit)
    assert proved.status == "refused"
    assert "above the tolerance" in proved.reason or "It does not run" in proved.reason

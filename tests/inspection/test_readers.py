"""The readers: field numbers are those of the real messages, damage is told, events can be read."""

import struct
import subprocess
import sys

import pytest

from edgefreeze.errors import Failure
from edgefreeze.inspection import graph_def, operations, report, schema, tensorboard
from tests.inspection.graphs import classifier

_REAL = """
import json, sys
from edgefreeze.inspection import schema
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.core.util import event_pb2
import onnx
def fields(ours, real, seen):
    if real.name in seen: return
    seen.add(real.name)
    for field in ours.fields:
        other = real.fields_by_name[field.name]
        assert other.number == field.number, (real.name, field.name)
        assert other.is_repeated == field.is_repeated, (real.name, field.name)
        if field.message_type is not None and other.message_type is not None and field.name != "graph_def" or (
            field.message_type is not None and other.type == other.TYPE_MESSAGE):
            fields(field.message_type, other.message_type, seen)
seen = set()
fields(schema.tensorflow("SavedModel").DESCRIPTOR, saved_model_pb2.SavedModel.DESCRIPTOR, seen)
fields(schema.tensorflow("Event").DESCRIPTOR, event_pb2.Event.DESCRIPTOR, seen)
n = set()
fields(schema.onnx("ModelProto").DESCRIPTOR, onnx.ModelProto.DESCRIPTOR, n)
import tensorflow as tf
for number, name in schema.TENSORFLOW_DTYPES.items():
    assert tf.dtypes.as_dtype(number).name == name, number
from ai_edge_litert import schema_py_generated as lite
from edgefreeze.inspection import operations
table = operations.table()
for name, number in vars(lite.BuiltinOperator).items():
    if isinstance(number, int): assert table.tflite_builtins[number] == name, name
from tf2onnx.handler import tf_op
import tf2onnx.tfonnx
known = {op for versions in [tf_op._OPSETS[""]] for ops in versions for op in ops}
assert {op for op in known if not op.startswith("TFL_")} == table.onnx_from, known ^ table.onnx_from
print(len(seen), len(n))
"""


@pytest.mark.tf
def test_the_messages_and_lists_are_those_of_the_installed_packages():
    done = subprocess.run([sys.executable, "-c", _REAL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    messages, of_onnx = map(int, done.stdout.split())
    assert messages > 15
    assert of_onnx > 8


@pytest.mark.models
@pytest.mark.parametrize(
    "name", ["ad01_upstream_fp32.tflite", "ds_cnn_s.pb", "kws_savedmodel/saved_model.pb"]
)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_cut_short_is_told_so(third_party, tmp_path, name, share):
    data = (third_party / name).read_bytes()
    path = tmp_path / name.replace("/", "_")
    if "/" in name:
        (tmp_path / "model").mkdir()
        path = tmp_path / "model" / "saved_model.pb"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Failure) as caught:
        report.inspect(path.parent if "/" in name else path)
    assert caught.value.exit_status == 3
    assert caught.value.code in ("model-broken", "model-unknown")


def test_a_tflite_file_of_garbage_is_told_so(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x10\x00\x00\x00TFL3" + bytes(range(256)) * 3)
    with pytest.raises(Failure, match="damaged or cut short"):
        report.inspect(path)


def test_the_checksum_is_that_of_the_standard():
    assert tensorboard.crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4


def test_the_event_file_holds_the_graph_without_its_weights(tmp_path):
    path = tensorboard.write(graph_def.read(classifier(), ["softmax"]), tmp_path / "events")
    data = path.read_bytes()
    records = []
    while data:
        (size,) = struct.unpack_from("<Q", data)
        records.append(data[12 : 12 + size])
        data = data[16 + size :]
    version, event = (schema.tensorflow("Event") for _ in range(2))
    version.ParseFromString(records[0])
    event.ParseFromString(records[1])
    assert version.file_version == "brain.Event:2"
    written = schema.tensorflow("GraphDef")
    written.ParseFromString(event.graph_def)
    assert {n.name for n in written.node} >= {"image", "conv/Conv2D", "softmax"}
    assert all(not n.attr for n in written.node)


def test_a_graph_in_a_file(tmp_path):
    (tmp_path / "model.pb").write_bytes(classifier().SerializeToString())
    found, _ = report.inspect(tmp_path / "model.pb")
    assert (found.kind, found.parameters) == ("frozen_graph", 3 * 3 * 3 * 4 + 64 * 5)
    assert [t.name for t in found.outputs] == ["softmax"]
    found, _ = report.inspect(tmp_path / "model.pb", outputs=("conv/Relu",))
    assert found.operations == {"Conv2D": 1, "Relu": 1}
    with pytest.raises(Failure, match="did you mean 'softmax'"):
        report.inspect(tmp_path / "model.pb", outputs=("softmx",))


def test_the_list_of_tflite_is_of_operations_of_tensorflow():
    table = operations.table()
    assert {"Conv2D", "FusedBatchNormV3", "While"} <= table.tflite_from
    assert not {"DecodeWav", "Mfcc", "StringSplitV2"} & table.tflite_from

"""The readers: field numbers are those of the real messages, damage is told, events can be read."""

import json
import struct
import subprocess
import sys

import pytest

from edgefreeze.cli import main
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


def test_a_graph_as_text(tmp_path):
    from google.protobuf import text_format

    (tmp_path / "model.pbtxt").write_text(text_format.MessageToString(classifier()))
    (tmp_path / "model.pb").write_bytes(classifier().SerializeToString())
    text, binary = (report.inspect(tmp_path / name)[0] for name in ("model.pbtxt", "model.pb"))
    assert (text.kind, text.operations) == ("frozen_graph", binary.operations)
    assert (text.inputs, text.outputs, text.parameters) == (binary.inputs, binary.outputs, binary.parameters)


@pytest.mark.process
def test_netron_is_given_the_file(tmp_path, monkeypatch):
    (tmp_path / "model.pb").write_bytes(classifier().SerializeToString())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert main.run(["inspect", str(tmp_path / "model.pb"), "--netron", "-q"]) == 3  # it is not installed
    program = tmp_path / "bin" / "netron"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'said')!r}, 'w').write(repr(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    assert main.run(["inspect", str(tmp_path / "model.pb"), "--netron", "-q"]) == 0
    assert (tmp_path / "said").read_text() == repr(["--browse", str(tmp_path / "model.pb")])


_SINGLE = """
import json, tensorflow as tf
from tensorflow.lite.python.convert import OpsSet
f, i = tf.float32, tf.int32
raw = tf.raw_ops
cases = {
    "Acos": ([f], lambda x: raw.Acos(x=x)),
    "Asin": ([f], lambda x: raw.Asin(x=x)),
    "Roll": ([f], lambda x: raw.Roll(input=x, shift=[1], axis=[0])),
    "InvertPermutation": ([i], lambda x: raw.InvertPermutation(x=x)),
    "Xdivy": ([f, f], lambda x, y: raw.Xdivy(x=x, y=y)),
    "Erf": ([f], lambda x: 0.5 * x * (1.0 + raw.Erf(x=x / tf.sqrt(2.0)))),
    "Erfc": ([f], lambda x: tf.nn.gelu(x, approximate=False)),
    "Complex": ([f], lambda x: raw.Real(input=raw.Complex(real=x, imag=x))),
    "Xlogy": ([f, f], lambda x, y: raw.Xlogy(x=x, y=y)),
    "IsInf": ([f], lambda x: raw.IsInf(x=x)),
    "Digamma": ([f], lambda x: raw.Digamma(x=x)),
    "Expm1": ([f], lambda x: raw.Expm1(x=x)),
    "Log1p": ([f], lambda x: raw.Log1p(x=x)),
    "Softsign": ([f], lambda x: raw.Softsign(features=x)),
    "Selu": ([f], lambda x: raw.Selu(features=x)),
    "Elu": ([f], lambda x: raw.Elu(features=x)),
    "Tan": ([f], lambda x: raw.Tan(x=x)),
    "Sinh": ([f], lambda x: raw.Sinh(x=x)),
    "IsNan": ([f], lambda x: raw.IsNan(x=x)),
    "Rint": ([f], lambda x: raw.Rint(x=x)),
    "Round": ([f], lambda x: raw.Round(x=x)),
    "Cumsum": ([f], lambda x: raw.Cumsum(x=x, axis=0)),
    "Cumprod": ([f], lambda x: raw.Cumprod(x=x, axis=0)),
    "Bincount": ([i], lambda x: raw.Bincount(arr=x, size=6, weights=tf.zeros([0]))),
    "Bucketize": ([f], lambda x: raw.Bucketize(input=x, boundaries=[0.0, 1.0])),
    "CheckNumerics": ([f], lambda x: raw.CheckNumerics(tensor=x, message="m")),
    "MatrixBandPart": ([f], lambda x: raw.MatrixBandPart(input=tf.reshape(x, [2, 3]), num_lower=1, num_upper=0)),
    "Inv": ([f], lambda x: raw.Inv(x=x)),
    "BitwiseXor": ([i, i], lambda x, y: raw.BitwiseXor(x=x, y=y)),
    "BitwiseAnd": ([i, i], lambda x, y: raw.BitwiseAnd(x=x, y=y)),
    "TruncateDiv": ([i, i], lambda x, y: raw.TruncateDiv(x=x, y=y)),
    "Unique": ([f], lambda x: raw.Unique(x=x).y),
    "SegmentSum": ([f], lambda x: raw.SegmentSum(data=x, segment_ids=[0, 0, 1, 1, 2, 2])),
    "Betainc": ([f, f, f], lambda x, y, z: raw.Betainc(a=x, b=y, x=z)),
    "Cross": ([f, f], lambda x, y: raw.Cross(a=tf.reshape(x, [2, 3]), b=tf.reshape(y, [2, 3]))),
    "LinSpace": ([f], lambda x: x + raw.LinSpace(start=x[0], stop=1.0, num=6)),
}
found = {}
for name, (dtypes, call) in cases.items():
    function = tf.function(call).get_concrete_function(*[tf.TensorSpec([6], d) for d in dtypes])
    assert any(op.type == name for op in function.graph.get_operations()), name
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [OpsSet.TFLITE_BUILTINS]
    try:
        converter.convert()
        found[name] = True
    except Exception as error:
        found[name] = False
print("FOUND" + json.dumps(found))
"""


@pytest.mark.tf
@pytest.mark.slow
def test_the_list_of_tflite_is_what_the_converter_does():
    done = subprocess.run([sys.executable, "-c", _SINGLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.rpartition("FOUND")[2])
    assert {True, False} == set(found.values())
    listed = operations.table().tflite_from
    assert {name: name in listed for name in found} == found


def test_the_list_of_tflite_is_of_operations_of_tensorflow():
    table = operations.table()
    assert {"Conv2D", "FusedBatchNormV3", "While"} <= table.tflite_from
    assert not {"DecodeWav", "Mfcc", "StringSplitV2"} & table.tflite_from

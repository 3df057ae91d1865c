"""Conversions from end to end, each artifact proved in its own runtime."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgefreeze.device import tensors
from edgefreeze.errors import Failure
from edgefreeze.worker import client, digests, prove
from tests.worker.conftest import FORMATS, converted, request

pytestmark = pytest.mark.tf


def artifact(conversion, name):
    return next(a for a in conversion.artifacts if a.format == name)


def by_name(tensors_of):
    return {t.name: t.tensor for t in tensors_of}


def test_all_formats_of_the_zoo_are_verified(zoo):
    conversion, folder = zoo
    assert {a.format: (a.status, a.reason) for a in conversion.artifacts} == dict.fromkeys(
        FORMATS, ("verified", None)
    )
    for made in conversion.artifacts:
        path = folder / made.path
        assert made.sha256 == digests.sha256(path)
        assert made.bytes == digests.size(path)
        assert made.parity.max_rel <= made.tolerance
        assert {o.name for o in made.parity.outputs} == {"x", "head/logits", "a key", "pass"}


def test_the_signatures_names_are_on_the_frozen_graph(zoo):
    frozen = artifact(zoo[0], "frozen_pb")
    assert by_name(frozen.inputs) == {"x": "x:0", "y": "y:0", "spare": "spare:0"}
    assert by_name(frozen.outputs) == {
        "x": "x_out:0",
        "head/logits": "head/logits:0",
        "a key": "a_key:0",
        "pass": "pass:0",
    }
    saved = artifact(zoo[0], "saved_model")
    assert by_name(saved.outputs)["x"] == "x"
    assert saved.signature == "serving_default"


def test_free_dimensions_stay_free_and_golden_data_is_of_batch_1(zoo):
    conversion, folder = zoo
    assert [t.shape for t in conversion.inputs] == [(None, 1), (None, 3), (None, 4)]
    cases = tensors.decode_golden((folder / "golden.npz").read_bytes())
    assert len(cases) == conversion.golden.cases == 4
    assert conversion.golden.source == "drawn"
    inputs, outputs = cases[0]
    assert {name: array.shape for name, array in inputs.items()} == {
        "x": (1, 3),
        "y": (1, 4),
        "spare": (1, 1),
    }
    assert np.array_equal(outputs["pass"], inputs["y"])


def test_the_saved_model_travels_as_it_was(zoo, models):
    assert digests.sha256(zoo[1] / "saved_model") == digests.sha256(models / "zoo") == zoo[0].model_sha256


def test_integers_booleans_and_strings_are_frozen_and_refused_where_they_must(mixed):
    conversion, _ = mixed
    assert conversion.signature == "only_one"
    assert artifact(conversion, "frozen_pb").status == "verified"
    assert artifact(conversion, "saved_model").status == "verified"
    assert {t.name: t.dtype for t in conversion.inputs} == {"ids": "int32", "mask": "bool", "text": "string"}
    for name, reason in (
        ("tflite", "TensorFlow Lite has no built-in operation for StringJoin (node '"),
        ("onnx", "ONNX has no operation for StringJoin (node '"),
    ):
        refused = artifact(conversion, name)
        assert (refused.status, refused.path) == ("refused", None)
        assert refused.reason.startswith(reason)
        assert "--inputs and --outputs" in refused.reason


def test_a_refused_format_leaves_no_file(mixed):
    assert sorted(p.name for p in mixed[1].iterdir()) == ["golden.npz", "model.pb", "saved_model"]


def test_mobilenet_in_all_formats(mobilenet):
    conversion, _ = mobilenet
    assert [(a.format, a.status, a.reason) for a in conversion.artifacts] == [
        (f, "verified", None) for f in FORMATS
    ]
    assert all(a.parity.max_rel < 1e-5 for a in conversion.artifacts)
    assert conversion.model_kind == "keras"
    frozen = artifact(conversion, "frozen_pb")
    assert "; optimised (safe): constant folding" in frozen.method
    assert next(p.name for p in frozen.passes if p.kept) == "constant folding"
    assert frozen.passes[-1].nodes[1] < frozen.passes[0].nodes[0]
    assert conversion.outputs[0].name == "output_0"
    moved = float(conversion.golden.method.split("outputs move ")[1].split()[0])
    assert moved > 0.01
    assert set(conversion.seconds) >= {"load", "freeze", "golden", "optimize", "convert tflite"}
    assert conversion.peak_bytes > 100_000_000


@pytest.fixture(scope="module")
def several(models, run_many, tmp_path_factory):
    """Conversions whose proof is not asked for, in one process: (replies, folder)."""
    out = tmp_path_factory.mktemp("several")
    np.savez(
        out / "rows.npz", ids=np.ones((40, 4), "i8"), mask=np.ones((40, 4), bool), text=np.array(["é"] * 40)
    )
    no_lite = ("frozen_pb", "saved_model", "onnx")
    requests = {
        # After others in the same process, and with other formats: what the bytes must not depend on.
        "cnn": request(models / "cnn.keras", out / "cnn", ["onnx", "frozen_pb", "saved_model"]),
        "mobilenet": request(models / "mobilenet.keras", out / "mobilenet", freeze={"optimize": "safe"}),
        "zoo": request(models / "zoo", out / "zoo", no_lite),
        "lowered": request(
            models / "zoo", out / "lowered", ["frozen_pb"], freeze={"lower_control_flow": True}
        ),
        "optimised": request(
            models / "cnn.keras", out / "optimised", ["frozen_pb"], freeze={"optimize": "safe"}
        ),
        "samples": request(models / "mixed", out / "samples", ["frozen_pb"], samples=str(out / "rows.npz")),
        "sized": request(models / "stateful", out / "sized", ["frozen_pb"], signature="sized"),
        "lstm": request(models / "lstm.keras", out / "lstm", ["frozen_pb", "tflite"], freeze={"batch": 2}),
        "lstm_saved": request(models / "lstm_saved", out / "lstm_saved", ["tflite"], freeze={"batch": 2}),
        "lstm_free": request(models / "lstm.keras", out / "lstm_free", ["tflite", "onnx"]),
    }
    replies = run_many(requests)
    assert [name for name, reply in replies.items() if "error" in reply] == []
    return {name: converted(reply["result"]) for name, reply in replies.items()}, out


def test_a_conversion_is_the_same_bytes_whatever_the_process_did_before(several, zoo, mobilenet):
    again, _ = several
    for first, second in ((zoo[0], again["zoo"]), (mobilenet[0], again["mobilenet"])):
        digest = {a.format: a.sha256 for a in first.artifacts}
        for made in second.artifacts:
            if (second.model_kind, made.format) == ("keras", "saved_model"):
                continue  # TensorFlow numbers its functions by how many the process has had
            assert made.sha256 == digest[made.format], made.format
            assert made.method == artifact(first, made.format).method
        assert first.model_sha256 == second.model_sha256


def test_two_processes_write_the_same_saved_model_whatever_else_they_write(
    several, models, run_many, tmp_path
):
    first = several[0]["cnn"]
    reply = run_many({"cnn": request(models / "cnn.keras", tmp_path, ["saved_model"])})["cnn"]
    (second,) = converted(reply["result"]).artifacts
    assert second.sha256 == artifact(first, "saved_model").sha256


def test_an_earlier_conversions_files_are_gone(models, run_many, tmp_path):
    for name in ("model.tflite", "model.pb", "golden.npz"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "old").write_bytes(b"old")
    reply = run_many({"refused": request(models / "stateful", tmp_path, signature="count")})["refused"]
    assert reply["left"] == []


def test_samples_are_the_golden_inputs(several):
    again, out = several
    assert again["samples"].golden.source == "samples"
    assert again["samples"].golden.method == "16 of 40 samples"
    inputs, outputs = tensors.decode_golden((out / "samples" / "golden.npz").read_bytes())[0]
    assert inputs["ids"].dtype == np.int32
    assert outputs["joined"].tolist() == ["é!".encode()]


def test_a_free_size_is_found_by_trying(several):
    # A valid convolution with 9 x 9 filters runs on no smaller image.
    conversion, _ = several
    assert "shapes [[1, 16, 16, 3]]" in conversion["sized"].golden.method


def test_control_flow_is_lowered_on_demand(several):
    conversion, out = several
    assert "lower_control_flow=True" in conversion["lowered"].artifacts[0].method
    assert b"LoopCond" in (out / "lowered" / "model.pb").read_bytes()
    assert b"LoopCond" not in (out / "zoo" / "model.pb").read_bytes()


def test_optimising_folds_constants_and_keeps_what_is_computed(several):
    conversion, out = several
    optimised = artifact(conversion["optimised"], "frozen_pb")
    assert "; optimised (safe): constant folding, " in optimised.method
    assert optimised.bytes < artifact(conversion["cnn"], "frozen_pb").bytes * 0.9
    proved = prove.prove(conversion["optimised"], out / "optimised")
    assert proved.artifacts[0].status == "verified"


def test_a_loop_becomes_tflite_with_a_fixed_batch_only(several):
    conversion, out = several
    free = {a.format: a for a in conversion["lstm_free"].artifacts}
    assert free["onnx"].status == "unverified"
    assert free["tflite"].status == "refused"
    assert "needs a fixed batch size" in free["tflite"].reason
    assert "--batch 1" in free["tflite"].reason
    for name in ("lstm", "lstm_saved"):
        assert conversion[name].inputs[0].shape == (2, 6, 3)
        proved = prove.prove(conversion[name], out / name)
        assert {a.status for a in proved.artifacts} == {"verified"}


def test_a_changed_constant_ends_in_parity_failed(zoo, tmp_path):
    conversion, folder = zoo
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    data = bytearray((copy / "model.pb").read_bytes())
    weights = np.random.default_rng(1).standard_normal([3, 4]).astype("f").tobytes()
    at = bytes(data).find(weights)
    assert at > 0
    data[at + 3] ^= 0x01  # the exponent of one weight
    (copy / "model.pb").write_bytes(data)
    made = replace(
        conversion,
        artifacts=tuple(
            replace(a, status="unverified") for a in conversion.artifacts if a.format == "frozen_pb"
        ),
    )
    with pytest.raises(Failure) as caught:
        prove.prove(made, copy)
    failure = caught.value
    assert (failure.code, failure.exit_status) == ("parity-failed", 6)
    assert failure.message.startswith(
        "The frozen graph does not compute what the model computes: output 'a key'"
    )
    assert "above the tolerance 1e-05" in (failure.found or "")
    assert failure.expected == "every output within 1e-05 of its range"


def test_a_file_that_does_not_load_is_refused_with_the_runtimes_words(zoo, tmp_path):
    conversion, folder = zoo
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "model.onnx").write_bytes(b"no model")
    (copy / "model.tflite").write_bytes((folder / "model.tflite").read_bytes()[:200])
    made = replace(
        conversion,
        artifacts=tuple(
            replace(a, status="unverified", parity=None)
            for a in conversion.artifacts
            if a.format in ("onnx", "tflite")
        ),
    )
    proved = prove.prove(made, copy)
    assert [(a.status, a.parity) for a in proved.artifacts] == [("refused", None)] * 2
    assert artifact(proved, "onnx").reason.startswith("It does not run in onnxruntime: ")
    assert artifact(proved, "tflite").reason.startswith("It does not run in tflite: ")


def test_evaluate_gives_the_originals_outputs_for_all_rows(models, tmp_path):
    generator = np.random.default_rng(0)
    rows = {
        "x": generator.standard_normal((130, 3)).astype("f"),
        "y": generator.standard_normal((130, 4)).astype("f"),
        "spare": np.zeros((130, 1), "f"),
    }
    np.savez(tmp_path / "in.npz", **rows)
    events = []
    result = client.run(
        {
            "op": "evaluate",
            "model": str(models / "zoo"),
            "data": str(tmp_path / "in.npz"),
            "out": str(tmp_path / "o.npz"),
        },
        on_event=events.append,
    )
    assert result["calls"] == 3
    assert result["outputs"] == ["a key", "head/logits", "pass", "x"]
    outputs = tensors.decode((tmp_path / "o.npz").read_bytes())
    weights = np.random.default_rng(1).standard_normal([3, 4]).astype("f")
    assert np.allclose(outputs["out|x"], rows["x"] @ weights + rows["y"], atol=1e-5)
    assert np.array_equal(outputs["out|pass"], rows["y"])
    assert events[-1] == {"event": "progress", "done": 3, "total": 3}


@pytest.mark.models
@pytest.mark.parametrize("tf_keras", [True, False])
def test_a_saved_model_with_optimizer_slots(third_party, tmp_path, tf_keras):
    """With tf_keras beside it TensorFlow loads the file as it is; what is written must load on a board
    that has none."""
    model = third_party / "kws_savedmodel"
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['tf_keras'] = None\n")
    env = {} if tf_keras else {"PYTHONPATH": str(tmp_path)}
    result = client.run(request(model, tmp_path / "out"), env=env)
    proved = prove.prove(converted(result), tmp_path / "out")
    assert {a.format: (a.status, a.reason) for a in proved.artifacts} == dict.fromkeys(
        FORMATS, ("verified", None)
    )
    assert artifact(proved, "saved_model").method == "copied, without the optimizer's slots"

    reference = np.load(third_party / "kws_savedmodel.npz")
    np.savez(tmp_path / "in.npz", input_1=reference["in|input_1"])
    client.run(
        {
            "op": "evaluate",
            "model": str(model),
            "data": str(tmp_path / "in.npz"),
            "out": str(tmp_path / "out.npz"),
        }
    )
    outputs = tensors.decode((tmp_path / "out.npz").read_bytes())
    assert np.allclose(outputs["out|dense"], reference["out|dense"], atol=1e-5)
    assert (
        hashlib.sha256((model / "saved_model.pb").read_bytes()).hexdigest()
        != hashlib.sha256((tmp_path / "out" / "saved_model" / "saved_model.pb").read_bytes()).hexdigest()
    )

"""Real models in their real runtimes: self-test, inference and duel through the helper."""

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefreeze.device import litert_profiler, tensors

pytestmark = pytest.mark.tf

# One model in four formats: y = tanh(x @ W + b), with a table lookup in the frozen graph's own variant.
MAKE = r"""
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf, tf2onnx
from pathlib import Path
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
out = Path(sys.argv[1])
draw = np.random.default_rng(1)

class Model(tf.Module):
    def __init__(self):
        self.w = tf.Variable(draw.normal(size=(8, 5)).astype("f4"))
        self.b = tf.Variable(draw.normal(size=5).astype("f4"))
    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def f(self, x):
        return {"y": tf.identity(tf.tanh(x @ self.w + self.b), name="y")}

model = Model()
concrete = model.f.get_concrete_function()
tf.saved_model.save(model, str(out / "saved_model"), signatures={"infer": model.f})
frozen = convert_variables_to_constants_v2(concrete)
(out / "model.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
(out / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
tf2onnx.convert.from_graph_def(
    frozen.graph.as_graph_def(), input_names=["x:0"], output_names=["Identity:0"], opset=18,
    output_path=str(out / "model.onnx"))

big = tf.constant(draw.normal(size=(1024, 1024)).astype("f4"))
wide = tf.function(lambda x: tf.tanh(x @ big) @ big, input_signature=[tf.TensorSpec([None, 1024])])
made = tf.lite.TFLiteConverter.from_concrete_functions([wide.get_concrete_function()])
(out / "wide.tflite").write_bytes(made.convert())

graph = tf.Graph()
with graph.as_default():
    words = tf.compat.v1.placeholder(tf.string, [None], name="words")
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64)), -1)
    tf.identity(table.lookup(words), name="numbers")
    tf.strings.upper(words, name="upper")
    init = tf.compat.v1.tables_initializer().name
(out / "table.pb").write_bytes(graph.as_graph_def().SerializeToString())
names = [d["name"] for d in tf.lite.Interpreter(str(out / "model.tflite")).get_input_details()]
outs = [d["name"] for d in tf.lite.Interpreter(str(out / "model.tflite")).get_output_details()]
import json
(out / "facts.json").write_text(json.dumps({"tflite": [names[0], outs[0]], "init": init,
    "wide": tf.lite.Interpreter(str(out / "wide.tflite")).get_input_details()[0]["name"], "w": model.w.numpy().tolist(), "b": model.b.numpy().tolist()}))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [sys.executable, "-c", MAKE, out],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES="-1"),
    )
    assert done.returncode == 0, done.stderr
    return out


def golden_cases(facts: dict[str, Any], count: int = 3) -> list[tensors.Case]:
    draw = np.random.default_rng(2)
    inputs = [draw.normal(size=(rows % 2 + 1, 8)).astype("f4") for rows in range(count)]
    w, b = np.array(facts["w"], "f4"), np.array(facts["b"], "f4")
    return [({"x": x}, {"y": np.tanh(x @ w + b)}) for x in inputs]


def artifact(
    form: str, runtime: str, path: str, tensor_in: str, tensor_out: str, **more: Any
) -> dict[str, Any]:
    return {
        "format": form,
        "precision": "fp32",
        "status": "verified",
        "path": path,
        "runtime": runtime,
        "inputs": [{"name": "x", "tensor": tensor_in, "dtype": "float32", "shape": [None, 8]}],
        "outputs": [{"name": "y", "tensor": tensor_out, "dtype": "float32", "shape": [None, 5]}],
        "init_ops": [],
        "tolerance": 1e-5,
    } | more


@pytest.fixture
def release(models: Path, made: Any) -> Any:
    facts = json.loads((models / "facts.json").read_text())
    files = {
        path.relative_to(models).as_posix(): path.read_bytes()
        for path in sorted(models.rglob("*"))
        if path.is_file() and path.name not in ("facts.json", "table.pb")
    }
    tflite_in, tflite_out = facts["tflite"]
    return made(
        files=files,
        golden=tensors.encode_golden(golden_cases(facts)),
        artifacts=[
            artifact("saved_model", "tf_saved_model", "saved_model", "x", "y", signature="infer"),
            artifact("frozen_pb", "tf_frozen", "model.pb", "x:0", "Identity:0"),
            artifact("tflite", "tflite", "model.tflite", tflite_in, tflite_out),
            artifact("onnx", "onnxruntime", "model.onnx", "x:0", "Identity:0"),
        ],
    )


FORMATS = ["saved_model", "frozen_pb", "tflite", "onnx"]


def contestants(*names: str) -> list[dict[str, Any]]:
    return [{"artifact": name} for name in names]


@pytest.mark.parametrize(("form", "runtime", "path"), [("onnx", "onnxruntime", "model.onnx")])
def test_an_artifact_of_no_release_runs_and_leaves_nothing(
    start: Any, models: Path, root: Path, form: str, runtime: str, path: str, look: Any
) -> None:
    helper = start()
    data = (models / path).read_bytes()
    digest = look.sha(data)
    entry = artifact(form, runtime, path, "x:0", "Identity:0")
    args = {
        "artifact": entry,
        "files": [{"path": path, "sha256": digest, "bytes": len(data)}],
        "binding": {"python": sys.executable, "runtimes": {runtime: {"tree": None}}},
    }
    x = tensors.encode({"x": np.ones((2, 8), "f4")})
    assert helper.refuse("load_file", args)["code"] == "missing-content"
    assert helper.refuse("call", {"timeout_s": 60}, x)["code"] == "protocol"
    bare = {**args, "artifact": {**entry, "path": None}}
    assert helper.refuse("load_file", bare)["code"] == "bad-manifest"
    for _ in range(2):  # what is passing stays for the session
        helper.ask("put", {"sha256": digest, "bytes": len(data), "passing": True}, data)
        assert helper.ask("load_file", args)["version"].startswith("onnxruntime")
        for _ in range(2):
            answer = helper.ask("call", {"timeout_s": 60}, x)
            assert tensors.decode(answer["data"])["y"].shape == (2, 5)
        assert (
            helper.refuse("call", {"timeout_s": 60}, tensors.encode({"z": np.ones(1)}))["code"] == "bad-input"
        )
        helper.ask("unload")
    assert helper.ask("missing", {"digests": [[digest, len(data)]]})["missing"] == [digest]
    helper.ask("load_file", args)
    assert helper.close() == 0
    left = [p for p in (root / "store").rglob("*") if p.is_file() and p.name != "lock"]
    assert left == []


def test_selftest_activate_infer_and_duel(start: Any, release: Any, root: Path, models: Path) -> None:
    helper = start()
    release.stage(helper)
    tested = helper.ask("selftest", release.named)
    assert [a["format"] for a in tested["artifacts"]] == FORMATS
    assert tested["passed"], tested["artifacts"]
    for result in tested["artifacts"]:
        assert result["parity"]["ok"]
        assert 0.0 <= result["parity"]["max_rel"] < 1e-5
        assert result["version"]
    assert helper.ask("activate", release.named)["changed"]

    x = np.random.default_rng(3).normal(size=(4, 8)).astype("f4")
    answers = {}
    for form in FORMATS:
        answer = helper.ask("infer", {"app": "cam", "format": form}, tensors.encode({"x": x}))
        answers[form] = tensors.decode(answer["data"])["y"]
        assert answers[form].shape == (4, 5)
    assert all(np.allclose(answers["saved_model"], y, atol=1e-6) for y in answers.values())

    helper.events.clear()
    plan = {
        "contestants": contestants(*FORMATS),
        "order": [0, 1, 2, 3, 3, 2, 1, 0],
        "block_samples": 5,
        "block_seconds": 0.0,
        "warmup": {"samples": 2, "seconds": 0.0},
    }
    result = helper.ask("bench", {"app": "cam", "release": release.id, "plan": plan})
    assert result["failed"] == {}
    assert result["fresh"] is False
    events = [e for e in helper.events if e["kind"] != "heartbeat"]
    blocks = [e for e in events if e["kind"] == "block"]
    assert [(e["block"], e["contestant"]) for e in blocks] == list(enumerate(plan["order"]))
    assert all(len(e["samples_ns"]) == 5 and min(e["samples_ns"]) > 0 for e in blocks)
    assert all(e["peak_bytes"] >= e["rss_bytes"] > 1 << 20 for e in blocks)
    cold = [e for e in events if e["kind"] == "cold"]
    assert [e["format"] for e in cold] == FORMATS
    assert all(e[key] > 0 for e in cold for key in ("spawn_ns", "import_ns", "load_ns", "first_ns"))
    when = [e["when"] for e in events if e["kind"] == "environment"]
    assert when == ["before", *["during"] * 8, "after"]
    assert [e["contestant"] for e in events if e["kind"] == "warmup"] == [0, 1, 2, 3]
    assert all(len(e["samples_ns"]) >= 3 for e in events if e["kind"] == "warmup")
    assert {len(e["lead_ns"]) for e in blocks} == {5}


def test_a_wrong_artifact_and_a_dead_one_are_results_of_the_duel(
    start: Any, release: Any, made: Any, models: Path
) -> None:
    facts = json.loads((models / "facts.json").read_text())
    wrong = [(x, {"y": y["y"] + 0.5}) for x, y in golden_cases(facts)]
    bad = made(
        files=release.files | {"broken.tflite": b"no flatbuffer"},
        golden=tensors.encode_golden(wrong),
        artifacts=[
            *release.manifest["artifacts"][2:3],
            artifact("broken", "tflite", "broken.tflite", "x", "y"),
        ],
    )
    helper = start()
    bad.stage(helper)
    tested = helper.ask("selftest", bad.named)
    assert not tested["passed"]
    assert [a["ok"] for a in tested["artifacts"]] == [False, False]
    assert "max_rel" in tested["artifacts"][0]["parity"]["outputs"][0]["reason"]
    assert tested["artifacts"][1]["code"] == "runtime-failed"
    assert helper.refuse("activate", bad.named)["code"] == "selftest-failed"
    plan = {"contestants": contestants("tflite", "broken"), "order": [0, 1]}
    result = helper.ask("bench", {"app": "cam", "release": bad.id, "plan": plan})
    assert set(result["failed"]) == {"0", "1"}
    assert "outputs are wrong" in result["failed"]["0"]
    failed = [e for e in helper.events if e["kind"] == "failed"]
    assert [e["contestant"] for e in failed] == [0, 1]


def test_a_profile_by_operation_where_the_runtime_tells(start: Any, release: Any) -> None:
    helper = start()
    release.stage(helper)
    kinds = {}
    for form in ("frozen_pb", "onnx", "tflite"):
        found = helper.ask("profile", {**release.named, "format": form, "calls": 5})["operations"]
        assert all(set(o) == {"name", "type", "ns"} and o["ns"] >= 0 for o in found)
        assert sum(o["ns"] for o in found) > 0 or form == "tflite", "LiteRT cuts microseconds off"
        kinds[form] = {o["type"] for o in found}
    # On some CPUs TensorFlow makes one operation of product, sum and tanh.
    assert any("MatMul" in kind for kind in kinds["frozen_pb"]), kinds["frozen_pb"]
    assert kinds["onnx"] & {"Tanh", "FusedGemm"}, "ONNX Runtime fuses the two"
    assert any(kind.startswith("Fully Connected") for kind in kinds["tflite"]), "XNNPACK's own operators"
    assert any("TanH" in kind for kind in kinds["tflite"])
    refused = helper.refuse("profile", {**release.named, "format": "saved_model", "calls": 5})
    assert "no profile by operation" in refused["message"]


def test_litert_times_its_operations_on_any_batch(models: Path) -> None:
    """With a model that takes long enough to be told in microseconds: 2 x 1024 x 1024 multiplications."""
    import ai_edge_litert

    version = metadata.version("ai-edge-litert")
    library = litert_profiler.library(str(Path(ai_edge_litert.__file__).parent), version)
    profiler = litert_profiler.Profiler(library, str(models / "wide.tflite"), 1)
    name = json.loads((models / "facts.json").read_text())["wide"]
    for rows in (1, 64, 1):
        found = []
        for _ in range(5):
            began = time.perf_counter()
            operations = profiler.run({name: np.ones((rows, 1024), "f4")})
            assert 0 < sum(us for _, us in operations) < 1e6 * (time.perf_counter() - began)
            found.append(operations)
        assert all([kind for kind, _ in told] == [kind for kind, _ in found[0]] for told in found)
    with pytest.raises(RuntimeError, match="LiteRtCreateModelFromFile of LiteRT says"):
        litert_profiler.Profiler(library, str(models / "none.tflite"), 1)


def test_fresh_processes_for_every_block(start: Any, release: Any) -> None:
    helper = start()
    release.stage(helper)
    plan = {
        "contestants": contestants("onnx", "tflite"),
        "order": [0, 1, 0],
        "fresh": "always",
        "block_samples": 3,
    }
    result = helper.ask("bench", {"app": "cam", "release": release.id, "plan": plan})
    assert result["fresh"] is True
    assert [e["contestant"] for e in helper.events if e["kind"] == "cold"] == [0, 1, 0]
    assert [e["contestant"] for e in helper.events if e["kind"] == "block"] == [0, 1, 0]
    error = helper.refuse("bench", {"app": "cam", "release": release.id, "plan": plan | {"order": [2]}})
    assert error["code"] == "protocol"
    error = helper.refuse(
        "bench", {"app": "cam", "release": release.id, "plan": plan | {"contestants": contestants("x")}}
    )
    assert error["code"] == "no-artifact"


def test_a_contestant_that_takes_too_long_is_out(start: Any, release: Any) -> None:
    helper = start()
    release.stage(helper)
    plan = {"contestants": contestants("frozen_pb", "onnx"), "order": [0, 1], "timeout_s": 0.2}
    result = helper.ask("bench", {"app": "cam", "release": release.id, "plan": plan})
    assert "longer than 0.2 s" in result["failed"]["0"]


def test_a_runner_killed_in_the_duel_is_a_result_and_the_rest_goes_on(start: Any, release: Any) -> None:
    helper = start()
    release.stage(helper)
    plan = {"contestants": contestants("onnx", "tflite"), "order": [0, 1] * 40, "block_seconds": 0.05}
    number = helper.send("bench", {"app": "cam", "release": release.id, "plan": plan})
    from edgefreeze.device import protocol

    killed = False
    while True:
        message = protocol.read_message(helper.stdout)
        assert message["id"] == number
        if "event" not in message:
            break
        event = message["event"]
        if event["kind"] == "block" and event["contestant"] == 1 and not killed:
            killed = True
            for child in _children(helper.process.pid):
                if _loads(child, "onnxruntime"):
                    os.kill(child, 9)
    failed = message["result"]["failed"]
    assert list(failed) == ["0"]
    assert "SIGKILL" in failed["0"]


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _loads(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


def test_tables_are_initialised_and_strings_come_back(start: Any, made: Any, models: Path) -> None:
    facts = json.loads((models / "facts.json").read_text())
    words = np.array([b"a", b"zz", b"b"], dtype=object)
    outputs = {"numbers": np.array([1, -1, 2]), "upper": np.array([b"A", b"ZZ", b"B"], dtype=object)}
    table = {
        "format": "frozen_pb",
        "precision": "fp32",
        "status": "verified",
        "path": "table.pb",
        "runtime": "tf_frozen",
        "inputs": [{"name": "words", "tensor": "words:0", "dtype": "string", "shape": [None]}],
        "outputs": [
            {"name": "numbers", "tensor": "numbers:0", "dtype": "int64", "shape": [None]},
            {"name": "upper", "tensor": "upper:0", "dtype": "string", "shape": [None]},
        ],
        "init_ops": [facts["init"]],
    }
    release = made(
        files={"table.pb": (models / "table.pb").read_bytes()},
        golden=tensors.encode_golden([({"words": words}, outputs)]),
        artifacts=[table],
    )
    helper = start()
    release.stage(helper)
    tested = helper.ask("selftest", release.named)
    assert tested["passed"], tested["artifacts"]
    named = {"app": "cam", "release": release.id}
    answer = helper.ask("infer", named, tensors.encode({"words": np.array([b"b"])}))
    assert tensors.decode(answer["data"])["upper"].tolist() == [b"B"]
    for blob in (tensors.encode({"words": np.zeros(1)}), tensors.encode({"other": words}), b"no npz"):
        assert helper.refuse("infer", named, blob)["code"] == "bad-input"


def test_a_runtime_from_a_shipped_tree(start: Any, release: Any, made: Any, look: Any, root: Path) -> None:
    """The tree's package is what is imported; a broken one is a failure that names the import."""
    from edgefreeze.device import protocol

    source = b"raise ImportError('this tree is broken on purpose')\n"
    listing = [["site/onnxruntime.py", look.sha(source), len(source), False]]
    identity = look.sha(protocol.canonical(listing))
    helper = start()
    helper.put(source)
    helper.ask("tree", {"id": identity, "files": listing})
    bound = made(
        files=release.files,
        golden=release.golden,
        artifacts=release.manifest["artifacts"][3:],
        runtimes={"onnxruntime": {"tree": identity, "paths": ["site"]}},
    )
    bound.stage(helper)
    assert "broken on purpose" in helper.refuse("load", dict(bound.named))["message"]
    assert list((root / "cache" / "pycache").rglob("onnxruntime.*.pyc"))
    (result,) = helper.ask("selftest", bound.named)["artifacts"]
    assert result["error"] == "ImportError: this tree is broken on purpose"
    assert [p.name for p in (root / "runtimes" / identity).rglob("*")] == ["site", "onnxruntime.py"]
    # After a self-test that failed nothing compiled is trusted: no digest says that it is right.
    assert not list((root / "cache" / "pycache").rglob("onnxruntime.*.pyc"))


def test_the_helper_kills_a_working_runner_when_the_host_is_gone(start: Any, release: Any) -> None:
    helper = start()
    release.stage(helper)
    plan = {"contestants": contestants("onnx"), "order": [0] * 1000, "block_seconds": 1.0}
    helper.send("bench", {"app": "cam", "release": release.id, "plan": plan})
    while not (children := _children(helper.process.pid)):
        time.sleep(0.01)
    time.sleep(0.5)
    began = time.monotonic()
    assert helper.close() == 0
    assert time.monotonic() - began < 5
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_libraries_that_a_tree_brings_are_loaded_first_in_whichever_order_works(tmp_path: Path) -> None:
    """A module's library asks for a second one by name, and no system folder has either."""
    tree = tmp_path / "tree"
    (tree / "_libraries").mkdir(parents=True)
    source = tmp_path / "code.c"

    def library(name: str, code: str, *links: Path) -> Path:
        source.write_text(code)
        out = tree / name
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{out.name}", "-o", out, source, *links]
        subprocess.run(command, check=True)
        return out

    second = library("_libraries/libz-second.so.1", "int second(void) { return 42; }")
    first = library(
        "_libraries/liba-first.so.1", "int second(void); int first(void) { return second(); }", second
    )
    library("module.so", "int first(void); int answer(void) { return first(); }", first)
    (tree / "_libraries" / "no-library").write_text("")
    code = (
        "import ctypes, sys; from edgefreeze.device import runner; tree = sys.argv[1]\n"
        "if sys.argv[2] == 'yes': runner.preload(['/nowhere', tree])\n"
        "print(ctypes.CDLL(tree + '/module.so').answer())"
    )
    root = str(Path(__file__).resolve().parents[2])
    for asked, status, out in (("yes", 0, "42\n"), ("no", 1, "")):
        done = subprocess.run(
            [sys.executable, "-c", code, tree, asked],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (status, out), done.stderr


def test_no_runtime_leaves_anything_in_the_user_s_home(
    start: Any, release: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    helper = start()
    release.stage(helper)
    tested = helper.ask("selftest", release.named)
    assert tested["passed"], tested
    assert [a["format"] for a in tested["artifacts"]] == FORMATS
    assert list(home.rglob("*")) == []

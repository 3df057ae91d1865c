"""What is hard to freeze: tables, state, decoders, large models; proved where the original never was."""

import json
import subprocess
import sys

import numpy as np
import pytest

from edgefreeze.worker import client

pytestmark = pytest.mark.tf

SCRIPT = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
import edgefreeze
answers = []
for path, calls in json.loads(sys.argv[1]):
    with edgefreeze.load_frozen(path) as model:
        answers.append([{k: v.astype("U").tolist() if v.dtype == object else v.tolist()
                         for k, v in model(call).items()} for call in calls])
replies.write(json.dumps(answers)); replies.flush(); os._exit(0)
"""

NODES = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
from tensorflow.core.framework import graph_pb2
answers = []
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        graph = graph_pb2.GraphDef.FromString(file.read())
    answers.append([[n.op, n.attr["shared_name"].s.decode() if "shared_name" in n.attr else ""]
                    for n in graph.node])
replies.write(json.dumps(answers)); replies.flush(); os._exit(0)
"""


def infer(*asked):
    """Outputs of (path, calls) pairs, in a process that knows the files and nothing else."""
    return ask(SCRIPT, json.dumps([[str(path), calls] for path, calls in asked]))


def ask(script, *arguments):
    """The JSON that a script writes in a process of its own, which alone imports TensorFlow."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, env=client.environment()
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "name",
    [
        "file", "several", "loop", "counted", "scratch", "wav", "images", "example", "raw", "wrapped", "csv", "gif", "sequence", "series",
        "tensor", "hoisted", "in_a_loop", "texts", "norms",
    ],
)  # fmt: skip
def test_it_is_frozen_and_equal_in_a_fresh_process(proved, name):
    (artifact,) = proved(name).artifacts
    assert (artifact.status, artifact.reason) == ("verified", None)
    assert artifact.parity.max_rel <= 1e-5


def test_look_ups_work_without_the_file_that_filled_the_table(proved, replies):
    out = replies[1]
    assert proved("file").artifacts[0].init_ops == ("init_all_tables",)
    words = ["fox", "the", "cat"]
    file, several, loop = (out / name / "model.pb" for name in ("file", "several", "loop"))
    first, second, third = infer(*((path, [{"text": words}]) for path in (file, several, loop)))
    assert first == [{"id": [3, 0, -1], "size": 4}]
    assert second[0]["vector"] == [[3.0, 4.0], [1.0, 2.0], [0.0, 0.0]]
    assert second[0]["dense"] == [30, 0, 0]
    assert second[0]["name"] == ["?", "no", "?"]
    assert second[0]["open"][:2] == [3, 0]
    assert 4 <= second[0]["open"][2] < 7
    assert third == [{"total": [12, 0, -4]}]


def test_a_tables_name_tells_its_content(replies):
    graphs = ask(NODES, *(replies[1] / name / "model.pb" for name in ("file", "several", "texts")))
    file, several, texts = ({name for op, name in nodes if "HashTable" in op} for nodes in graphs)
    assert [len(file), len(several), len(texts)] == [1, 5, 1]
    assert not texts & (file | several)
    assert all(len(name.rpartition("_")[2]) == 16 for name in file | several | texts)


def test_golden_words_are_those_that_the_tables_know(proved):
    assert proved("file").golden.method.startswith("keys of the model's tables")
    moved = float(proved("texts").golden.method.split("outputs move ")[1].split()[0])
    assert moved > 0.1


def test_other_formats_refuse_tables_by_name(replies):
    artifacts = replies[0]["lite"]["result"]["artifacts"]
    assert [a["reason"].partition(":")[0].partition(".")[0] for a in artifacts] == [
        "The model looks things up in a table, which TensorFlow Lite's built-in operations cannot",
        "The model looks things up in a table, which ONNX has no operation for",
    ]


def test_an_assignment_that_no_output_depends_on_is_stripped(proved):
    for name in ("counted", "scratch"):
        assert proved(name).artifacts[0].method.startswith("Assign stripped (1); convert_variables")
        assert proved(name).states == ()


def test_hoisted_state_is_fed_back(proved, replies):
    conversion = proved("hoisted")
    assert [(s.variable, s.input, s.output) for s in conversion.states] == [
        ("calls", "calls", "calls_out"),
        ("window", "window", "window_out"),
    ]
    assert conversion.states[0].initial == 0.0
    assert [t.tensor for t in conversion.artifacts[0].inputs] == ["x:0", "calls:0", "window:0"]
    calls, window = 0.0, np.zeros((4, 3), np.float32)
    for step in range(3):
        x = np.full((2, 3), step + 1.0, np.float32)
        given = {"x": x.tolist(), "calls": calls, "window": window.tolist()}
        ((found,),) = infer((replies[1] / "hoisted" / "model.pb", [given]))
        calls += 1.0
        window = np.concatenate([window[1:], x[:1]])
        window[0, 1] = 5.0
        window[1] += 1.0
        assert found["calls_out"] == calls
        assert np.array_equal(found["window_out"], window)
        assert np.allclose(found["y"], window.mean(0) + calls)
        assert np.array_equal(found["rows"], window[[0, 3]])


REFUSED = {
    "sliding": (
        "freeze-refused",
        "The model changes the variable 'calls', the variable 'window' whenever it is called, so two calls "
        "differ and it cannot be frozen.",
        "AssignAddVariableOp at ",
        "Export a signature without the assignment (training=False, no counters), or make the state inputs "
        "and outputs of the graph: --hoist-state",
    ),
    "grow": (
        "freeze-refused",
        "The model changes the table 'growing' whenever it is called, so two calls differ and it cannot be "
        "frozen.",
        "LookupTableInsertV2 at ",
        "--hoist-state",
    ),
    "huge": (
        "model-too-large",
        "The model's weights take 2400000004 bytes (2.40 GB), and a frozen graph holds at most 2147483647 "
        "(2.15 GB), protobuf's limit.",
        "2400000004 bytes",
        "edgefreeze build --format saved_model",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_what_stands_in_the_way(replies, name):
    code, message, found, then = REFUSED[name]
    error = replies[0][name]["error"]
    assert error["code"] == code
    assert error["message"].startswith(message)
    assert found in error["found"]
    assert error["expected"]
    assert then in error["next"]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("wav", "WAV of 800 samples"),
        ("images", "JPEG of 64×64"),
        ("example", "tf.Example with tags, a, jpeg, n (PNG of 64×64), integers 0..9"),
        ("raw", "784 raw uint8"),
        ("wrapped", "base64 of PNG of 64×64"),
        ("csv", "CSV with 3 fields"),
        ("gif", "GIF of 2 frames of 64×64"),
        (
            "sequence",
            "tf.SequenceExample of 3 steps with tags, scale, word[], point[], ids[], integers 0..9",
        ),
        (
            "series",
            "tf.SequenceExample of 3 steps with bias, at[], jpeg[] (JPEG of 64×64), integers 0..9",
        ),
        ("tensor", "serialized float32 of shape [16]"),
    ],
)
def test_a_decoder_gets_what_it_decodes(proved, name, method):
    assert proved(name).golden.method.startswith(method)


def test_batch_norms_go_into_the_weights(proved, replies):
    (artifact,) = proved("norms").artifacts
    effects = {p.name: p for p in artifact.passes}
    folded = effects["batch norm folding"]
    assert folded.kept
    assert folded.nodes[1] < folded.nodes[0]
    assert folded.ms[0] > 0
    path = replies[1] / "norms" / "model.pb"
    operations = [op for op, _ in ask(NODES, path)[0]]
    assert not {"Mul", "Sub", "Rsqrt"} & set(operations)
    # One addition is left for each batch norm; Grappler folds some multiplications by itself.
    assert operations.count("BiasAdd") >= 3
    assert operations.count("BiasAdd") + operations.count("AddV2") == 4
    assert (replies[1] / "again" / "model.pb").read_bytes() == path.read_bytes()

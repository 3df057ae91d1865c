"""Deployments with a say: the fastest artifact, what could not be proved, other sources."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]

QUICK = """
summary = "a quick one"
transport = "local"
[match]
machine = ["x86_64"]
[[formats]]
format = "tflite"
[bench]
samples = 40
seconds = 2
"""

MAKE = """
import sys
import tensorflow as tf

class Opaque(tf.Module):
    '''Runs on nothing that can be drawn.'''
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        with tf.control_dependencies([tf.debugging.assert_equal(tf.reduce_sum(x), 12345.0)]):
            return {"y": tf.identity(x) * 2.0}

opaque = Opaque()
tf.saved_model.save(opaque, sys.argv[1] + "/opaque", signatures=opaque.__call__)
with tf.Graph().as_default() as graph:
    image = tf.compat.v1.placeholder(tf.float32, [None, 3], name="image")
    hidden = tf.nn.relu(tf.matmul(image, [[1.0, -2.0], [0.5, 3.0], [-1.0, 1.0]]), name="hidden")
    tf.nn.softmax(hidden * 4.0, name="softmax")
tf.io.write_graph(graph, sys.argv[1], "old.pb", as_text=False)
"""


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    folder = tmp_path / "targets"
    folder.mkdir()
    (folder / "quick.toml").write_text(QUICK)
    return folder


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the SavedModel opaque, and old.pb, which has no signature."""
    folder = tmp_path_factory.mktemp("odd")
    done = subprocess.run([sys.executable, "-c", MAKE, str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder


def test_the_device_runs_the_artifact_that_its_duel_chose(
    small: Path, device: Path, edgefreeze_: Run, quick: Path, tmp_path: Path
) -> None:
    where = ("--targets", str(quick), "-t", "quick")
    result = edgefreeze_("deploy", small / "small_a", *where, "--app", "demo", "--format", "auto", "--json")
    assert result.status == 0, result.out
    document = result.json
    choice, duel = document["choice"], document["bench"]
    medians = {c["format"]: c["p50_ms"] for c in duel["contestants"] if not c["failed"]}
    assert {"tflite", "tflite:fp16", "tflite:dynamic"} == set(medians)
    level = {choice["artifact"], *(r["artifact"] for r in choice["runners_up"] if "no diff" in r["reason"])}
    assert min(medians, key=lambda k: medians[k]) in level
    assert len(choice["runners_up"]) == len(medians) - 1
    np.savez(tmp_path / "in.npz", image=np.zeros((1, 8, 8, 1), "f"))
    answer = edgefreeze_(
        "run", "--app", "demo", "-i", tmp_path / "in.npz", "-o", tmp_path / "out.npz", "--json"
    )
    assert answer.json["format"] == choice["artifact"]
    status = edgefreeze_("status", "--app", "demo", "--json").json
    assert status["apps"][0]["releases"][0]["preferred"] == choice["artifact"]


def test_auto_without_a_benchmark_makes_no_sense(device: Path, small: Path, edgefreeze_: Run) -> None:
    result = edgefreeze_("deploy", small / "small_a", "--format", "auto", "--no-bench", "--json")
    assert (result.status, result.json["error"]["code"]) == (2, "usage")


def test_what_could_not_be_proved_deploys_only_when_that_is_allowed(
    odd: Path, device: Path, edgefreeze_: Run, quick: Path
) -> None:
    ask = ("deploy", odd / "opaque", "--app", "demo", "--format", "frozen_pb", "--json")
    refused = edgefreeze_(*ask)
    assert (refused.status, refused.json["error"]["code"]) == (6, "unverified")
    assert "--allow-unverified" in refused.json["error"]["next"]
    assert not (device / "apps" / "demo" / "current").exists()

    allowed = edgefreeze_(*ask, "--allow-unverified")
    assert allowed.status == 0, allowed.out
    document = allowed.json
    assert document["active"] == document["release"]
    assert (document["unverified"], document["selftest"], document["bench"]) == (["frozen_pb"], [], None)
    history = edgefreeze_("history", "--app", "demo", "--json").json
    assert history["entries"][-1]["event"] == "activated"
    assert "unverified: frozen_pb" in history["entries"][-1]["detail"]


def test_a_graph_without_a_signature_is_deployed_by_its_names(
    odd: Path, device: Path, edgefreeze_: Run, tmp_path: Path
) -> None:
    result = edgefreeze_(
        "deploy", odd / "old.pb", "--app", "demo", "--outputs", "softmax", "--inputs", "image", "--format",
        "tflite", "--no-bench", "--json",
    )  # fmt: skip
    assert result.status == 0, result.out
    x = np.array([[1, 2, 3]], "f")
    np.savez(tmp_path / "in.npz", image=x)
    assert (
        edgefreeze_("run", "--app", "demo", "-i", tmp_path / "in.npz", "-o", tmp_path / "o.npz").status == 0
    )
    hidden = np.maximum(x @ np.array([[1, -2], [0.5, 3], [-1, 1]], "f"), 0) * 4
    expected = np.exp(hidden) / np.exp(hidden).sum()
    np.testing.assert_allclose(np.load(tmp_path / "o.npz")["softmax"], expected, rtol=1e-4, atol=1e-6)

"""The commands of the documentation, run as they stand, page by page.

The folder that they run in has what the pages speak of: saved_model/, samples.npz, a key, an edgefreeze.toml. Its boards
are this machine: `pi4` is a target of one's own of that name, and cam1 a device of the local transport. First
deployment is run with every `make test`, the other pages are slow.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import edgefreeze.cache
from edgefreeze.cli.main import run

from .pages import Command
from .test_commands import OURS, QUICK

IN_ORDER = (
    "first-deploy", "retrain", "report", "ci", "benchmark", "freezing", "inspect", "devices", "errors", "trust",
    "air-gapped", "README",
)  # fmt: skip
"""Pages whose commands run, one after the other on the same devices."""

ONLY_PARSED = {
    "deploy --host cam1 --no-tf --no-bench --eval digits_test.npz": "a name of the demo's; so is what it prints",
    "deploy --no-bench --no-tf --format tflite:fp16": "fails on purpose; tests/deploy/test_service.py does",
    "deploy saved_model/ --target door-camera": "the same as with another target's name",
    "deploy saved_model/ --target jetson-orin": "a stand-in's business: tests/deploy/test_tensorrt.py",
    "prepare": "fetches packages from an index: tests/deploy/test_prepare.py",
    "deploy saved_model/ --target pi4 --host cam1 --no-tf --wheels": "likewise",
    "device recover-at-boot": "writes a unit of systemd's: tests/device/test_boot.py",
    "device purge --host cam1": "asks a person: tests/test_devices.py",
    "devices discover": "looks at the network: tests/transport/test_mdns.py",
    "doctor --emulate": "needs another system's files: tests/doctor/test_emulate.py",
    "doctor --target pi4": "the same as with a device's name alone",
    "bisect model.h5": "two files by others that differ: tests/difference",
    "bisect model.tflite --on": "likewise",
    "freeze saved_model/ -o model.pb --hoist-state": "wants a model with state: tests/worker/freezing",
    "release unpack": "see commands.md",
    "series": "its file is the reader's: tests/deploy/test_series.py",
    "bench --host cam1 --fixed-rate 30": "half a minute at 30 calls a second: tests/deploy/test_bench.py",
    "bench saved_model/ --target pi4 --host cam1 --max-regress": "decides by the machine's load: tests/benchmark",
    "deploy -t pi4 --host cam1 --require speedup": "likewise",
    "deploy --host cam1 --max-regress": "likewise",
    "deploy --host cam1 --eval test.npz --max-accuracy-drop 0.5 --max-regress": "likewise",
    "deploy saved_model/ --target pi4 --host pi4": "the lab's board: tests/deploy/test_lab.py",
    "deploy --host cam2": "the same as cam1",
    "devices add": "needs an address: tests/test_devices.py",
    "devices remove": "leaves the pages after it without a board: tests/test_devices.py",
    "targets new": "needs a board: tests/test_targets.py",
}
"""By how a command begins, why it is parsed and not run. commands.md is parsed as a whole: its examples are the other
pages' commands in brief."""

ANY = {"doctor": {0, 1}, "compare": {0, 6}, "bench": {0, 6}}
"""Commands whose verdict is the machine's. All others must end with 0."""

MAKE = """
import sys
import numpy as np, tensorflow as tf
draw = np.random.default_rng(3)
class Model(tf.Module):
    def __init__(self):
        self.w = tf.Variable(draw.normal(size=(64, 10)).astype("f4"))
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")])
    def serve(self, image):
        return {"logits": tf.reshape(image, [-1, 64]) @ self.w}
model = Model()
tf.saved_model.save(model, "saved_model", signatures={"serving_default": model.serve})
images = draw.uniform(size=(1200, 8, 8, 1)).astype("f4")  # so many, to show a drop below 0.5 points
label = model.serve(tf.constant(images))["logits"].numpy().argmax(-1)
np.savez("samples.npz", image=images[:8])
np.savez("typical.npz", image=images[:64])
np.savez("test.npz", image=images, label=label)
weights = model.w.numpy()
graph = tf.Graph()
with graph.as_default():
    x = tf.compat.v1.placeholder(tf.float32, [None, 64], name="image")
    tf.nn.softmax(x @ tf.constant(weights), name="softmax")
open("old.pb", "wb").write(graph.as_graph_def().SerializeToString())
"""
TARGET = """summary = "this machine, in a board's place"
[match]
machine = ["x86_64"]
[[formats]]
format = "tflite"
[[formats]]
format = "onnx"
[bench]
samples = 20
seconds = 1.0
"""
CONFIG = """model = "saved_model"
app = "doorbell"
target = "pi4"
targets = "my-targets"
samples = "samples.npz"
[devices.cam1]
target = "pi4"
transport = "local"
root = "cam1"
"""


def reason(command: Command) -> str | None:
    """Why a command is parsed only."""
    text = " ".join(command.words[1:])
    return next((why for start, why in ONLY_PARSED.items() if text.startswith(start)), None)


def running(page: str) -> list[Command]:
    """The commands of a page that run."""
    return [c for c in OURS if c.block.page.stem == page and reason(c) is None and c not in QUICK]


def test_every_command_runs_or_says_why_not() -> None:
    parsed_as_a_whole = {"commands"}
    left = {
        str(c)
        for c in OURS
        if c.block.page.stem not in {*IN_ORDER, *parsed_as_a_whole} and reason(c) is None and c not in QUICK
    }
    assert left == set()
    texts = [" ".join(c.words[1:]) for c in OURS]
    assert [start for start in ONLY_PARSED if not any(text.startswith(start) for text in texts)] == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder, made once; what the pages do in it stays for the pages after them."""
    folder = tmp_path_factory.mktemp("world")
    done = subprocess.run([sys.executable, "-c", MAKE], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "my-targets").mkdir()
    (folder / "my-targets" / "pi4.toml").write_text(TARGET)
    (folder / "edgefreeze.toml").write_text(CONFIG)
    key = folder / "home" / ".ssh" / "id_ed25519"
    key.parent.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)


@pytest.fixture
def typed(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run a command line in the folder: exit status, and what it printed."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("HOME", str(world / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(world / "state"))
    monkeypatch.setenv("CI", "1")
    monkeypatch.setattr(edgefreeze.cache, "_root", lambda: world / "builds")

    def type_(*words: str) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(list(words))
        return status, out.getvalue() + err.getvalue()

    return type_


def told(typed: Callable[..., tuple[int, str]], *words: str) -> dict[str, Any]:
    """The JSON document of a command."""
    document: dict[str, Any] = json.loads(typed(*words, "--json")[1])
    return document


def as_typed(command: Command, typed: Callable[..., tuple[int, str]]) -> list[str]:
    """A command's words, with what only a reader knows filled in: an address, a release, a result, a fingerprint."""
    words = []
    for word in command.words[1:]:
        if word in ("pi@192.0.2.17", "pi@cam1"):
            word = "cam1"
        elif word.startswith("~"):
            word = str(Path(word).expanduser())
        elif word == "3f2a9c":
            (app,) = told(typed, "status", "--host", "cam1")["apps"]
            word = next(r["release"] for r in app["releases"] if r["release"] != app["release"])[:6]
        elif word == "3fa9":
            word = told(typed, "results", "list")["results"][0]["id"]
        elif word.startswith("SHA256:"):
            public = Path("home/.ssh/id_ed25519.pub")
            done = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True)
            word = done.stdout.split()[1]
        words.append(word)
    return words


SETUP: dict[str, list[list[str]]] = {
    "inspect": [["export", "saved_model", "--format", "tflite", "-o", "model.tflite"]],
    "benchmark": [["build", "saved_model", "-o", "release"]],
    "trust": [["device", "purge", "--host", "cam1", "--yes"]],
}
"""What a page takes for granted, beside an older release on cam1 than the one that it deploys."""
OLDER = ["deploy", "--host", "cam1", "--no-bench", "--format", "tflite"]


@pytest.mark.tf
@pytest.mark.parametrize(
    "page", [p if p == "first-deploy" else pytest.param(p, marks=pytest.mark.slow) for p in IN_ORDER]
)
def test_commands_of(page: str, typed: Callable[..., tuple[int, str]], world: Path) -> None:
    config = CONFIG.replace("doorbell", "demo") if page == "inspect" else CONFIG
    (world / "edgefreeze.toml").write_text(config)
    older = [] if page in ("trust", "freezing", "errors", "README") else [OLDER]
    for start in [*SETUP.get(page, []), *older]:
        assert typed(*start)[0] == 0, start
    failed = []
    for command in running(page):
        words = as_typed(command, typed)
        status, printed = typed(*words)
        if status not in ANY.get(words[0], {0}):
            failed.append(f"{command}: {status}\n{printed[-600:]}")
    assert failed == [], os.linesep.join(failed)

"""Models to build, and a command line with a cache of its own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.cli import main

MAKE = """
import sys
import keras, numpy as np, tensorflow as tf
from pathlib import Path
folder = Path(sys.argv[1])
keras.utils.set_random_seed(1)
draw = np.random.default_rng(0)
net = keras.Sequential([
    keras.Input((12, 12, 3), name="image"),
    keras.layers.Conv2D(8, 3, padding="same"), keras.layers.BatchNormalization(), keras.layers.ReLU(),
    keras.layers.Conv2D(16, 3, strides=2), keras.layers.ReLU(),
    keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, name="logits"),
])
net.layers[1].set_weights([draw.uniform(.5, 1.5, 8), draw.normal(size=8), draw.normal(size=8),
                           draw.uniform(.5, 2, 8)])
# Each image has colours of its own, and the logits are centred: so that several classes are right.
x = draw.random((120, 1, 1, 3), dtype=np.float32) ** 2 * draw.random((120, 12, 12, 3), dtype=np.float32)
kernel, _ = net.layers[-1].get_weights()
net.layers[-1].set_weights([kernel, -net.predict(x, verbose=0).mean(0)])
net.save(folder / "cnn.keras")
np.savez(folder / "typical.npz", image=x)
right = np.argmax(net.predict(x, verbose=0), -1)
np.savez(folder / "right.npz", image=x, label=right)
np.savez(folder / "wrong.npz", image=x[:, :6], label=right)
np.savez(folder / "nan.npz", image=np.full((8, 12, 12, 3), np.nan, "f"))

class Opaque(tf.Module):
    '''Runs on nothing that can be drawn.'''
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        with tf.control_dependencies([tf.debugging.assert_equal(tf.reduce_sum(x), 12345.0)]):
            return {"y": tf.identity(x) * 2.0}

opaque = Opaque()
tf.saved_model.save(opaque, str(folder / "opaque"), signatures=opaque.__call__)
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cnn.keras, typical.npz, right.npz, wrong.npz, nan.npz, and the SavedModel opaque."""
    folder = tmp_path_factory.mktemp("made")
    done = subprocess.run([sys.executable, "-c", MAKE, str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command with --json in this process: (exit status, its document)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            status = main.run([*map(str, arguments), "--json"])
        return status, json.loads(out.getvalue())

    return call

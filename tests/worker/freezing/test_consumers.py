"""Frozen graphs in programs that are not TensorFlow's Python: its C API, as C, C++, Go or Java use it, and
OpenCV. They feed and fetch what the command's document names."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.cli.main import run
from edgefreeze.worker.client import environment

pytestmark = pytest.mark.tf

HERE = Path(__file__).parent


def python(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def consumed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumed")
    python("make_consumed.py", folder)
    return folder


@pytest.fixture
def freeze(capsys, tmp_path, monkeypatch):
    """A function: the document of freezing a model, also in a file, and the outputs of the model itself."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(model, *options):
        status = run(["freeze", str(model), "-o", str(tmp_path / "model.pb"), "--json", *options])
        text = capsys.readouterr().out
        assert status == 0, text
        (tmp_path / "freeze.json").write_text(text)
        with np.load(model.with_suffix(".npz")) as file:
            return json.loads(text), dict(file)

    return call


@pytest.mark.parametrize(("model", "init_ops"), [("tables", ["init_all_tables"]), ("network.keras", [])])
def test_the_c_api_computes_the_same(consumed, freeze, tmp_path, model, init_ops):
    told, cases = freeze(consumed / model)
    assert told["init_ops"] == init_ops
    python(
        "c_api.py",
        tmp_path / "freeze.json",
        (consumed / model).with_suffix(".npz"),
        tmp_path / "found.npz",
    )
    with np.load(tmp_path / "found.npz") as found:
        assert {f"out|{k}" for k in found} == {k for k in cases if k.startswith("out|")}
        for key, value in found.items():
            np.testing.assert_allclose(value, cases[f"out|{key}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "level"),
    # It wants biases as constants, which folding makes of what Keras and tf.Module read and reshape.
    [("plain", "safe"), ("network.keras", "max")],
)
def test_opencv_computes_the_same(consumed, freeze, model, level):
    import cv2

    told, cases = freeze(consumed / model, "--optimize", level)
    net = cv2.dnn.readNetFromTensorflow(told["path"])
    picture, expected = cases["in|image"], cases["out|output_0"]
    # OpenCV has images channels first, and no names for nodes that only pass a tensor on.
    net.setInput(np.ascontiguousarray(picture.transpose(0, 3, 1, 2)), told["inputs"][0]["name"])
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(net.forward(), expected, rtol=1e-4, atol=1e-5)

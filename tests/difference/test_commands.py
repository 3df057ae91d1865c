"""verify and bisect from the command line, and on the published pair that truly differs."""

import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.cli import main
from edgefreeze.device.tensors import encode

pytestmark = pytest.mark.tf


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.run([str(a) for a in arguments])
    assert "Traceback" not in err.getvalue()
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def third_party():
    folder = os.environ.get("EDGEFREEZE_MODELS")
    if not folder:
        pytest.skip("EDGEFREEZE_MODELS is not set")
    return Path(folder)


def test_equal_across_formats(made, tmp_path):
    status, out, _ = run(
        "verify", made.file("branches", "model.tflite"), "--against", made.folder / "branches", "--json"
    )
    document = json.loads(out)
    assert (status, document["ok"], document["equal"]) == (0, True, True)
    (output,) = document["outputs"]
    assert output["max_rel"] < 1e-5
    assert output["cosine"] > 0.999999
    assert output["sqnr_db"] > 90
    assert set(output) >= {"name", "max_abs", "max_rel", "cosine", "top1", "worst"}


def test_artifacts_alone_on_samples(made, tmp_path):
    arrays = {
        name: np.random.default_rng(1).normal(size=(3, 12, 12, 3)).astype("f") for name in ("left", "right")
    }
    (tmp_path / "in.npz").write_bytes(encode(arrays))
    status, out, _ = run(
        "verify", made.file("branches", "model.onnx"), "--against", made.file("branches", "model.tflite"),
        "--samples", tmp_path / "in.npz", "--json",
    )  # fmt: skip
    document = json.loads(out)
    assert (status, document["equal"], document["cases"]) == (0, True, 3)


def test_models_of_other_inputs_are_not_compared(made):
    status, out, _ = run(
        "verify",
        made.file("recurrent", "model.onnx"),
        "--against",
        made.file("branches", "model.onnx"),
        "--json",
    )
    error = json.loads(out)["error"]
    assert (status, error["code"]) == (3, "not-comparable")
    assert error["next"]


@pytest.mark.parametrize("command", ["verify", "bisect"])
def test_what_is_not_there(command, tmp_path):
    extra = ["--against", tmp_path / "b"] if command == "verify" else [tmp_path / "b"]
    status, out, _ = run(command, tmp_path / "a", *extra, "--json")
    assert (status, json.loads(out)["error"]["code"]) == (3, "model-missing")


@pytest.mark.models
def test_the_published_pair_differs(third_party):
    pair = third_party / "ad01_upstream_fp32.tflite", third_party / "ad01.h5"
    status, out, _ = run("verify", pair[0], "--against", pair[1], "--json")
    document = json.loads(out)
    assert (status, document["equal"], document["error"]["code"]) == (6, False, "differs")
    (output,) = document["outputs"]
    assert output["max_rel"] > 1e-3
    assert output["worst"]["index"]
    assert "bisect" in document["error"]["next"]
    assert any("no name says so" in warning for warning in document["warnings"])


@pytest.mark.models
def test_the_published_pair_lost_its_biases(third_party, tmp_path):
    # The .tflite's biases are beta - mean * gamma / sqrt(variance + epsilon): without the Dense layers' own.
    status, out, _ = run(
        "bisect",
        third_party / "ad01.h5",
        third_party / "ad01_upstream_fp32.tflite",
        "-o",
        tmp_path / "out",
        "--json",
    )
    document = json.loads(out)
    assert (status, document["equal"]) == (0, False)
    parting = document["parting"]
    assert parting["node"] == "functional_1/dense_1/BiasAdd"
    assert parting["cause"]["how"] == "tried"
    assert parting["cause"]["kind"] == "a bias lost in folding"
    assert "is missing in" in parting["cause"]["sentence"]
    assert {Path(f).name for f in document["files"]} == {"values.npz", "a.pb", "b.json"}

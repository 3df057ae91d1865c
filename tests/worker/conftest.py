"""Models and worker runs that the tests of this folder share: each costs an import of TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgefreeze.types import Conversion
from edgefreeze.worker import client, prove

HERE = Path(__file__).parent
FORMATS = ("frozen_pb", "saved_model", "tflite", "onnx")


def request(model, out, formats=FORMATS, **more):
    """A convert request with the given formats in fp32."""
    wanted = [{"format": name, "precision": "fp32"} for name in formats]
    return {"op": "convert", "model": str(model), "out": str(out), "formats": wanted, **more}


def converted(result):
    """The result of the worker as types.Conversion."""
    return msgspec.convert(result, Conversion, strict=False)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder that models.py filled."""
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [sys.executable, str(HERE / "models.py"), str(folder)], capture_output=True, env=client.environment()
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder


@pytest.fixture(scope="session")
def run_many(tmp_path_factory):
    """A function that runs named requests in one process and returns the replies by name."""

    def run(requests):
        done = subprocess.run(
            [sys.executable, str(HERE / "many.py")],
            input=json.dumps(list(requests.values())).encode(),
            capture_output=True,
            env=client.environment(),
        )
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return dict(zip(requests, json.loads(done.stdout), strict=True))

    return run


@pytest.fixture(scope="session")
def refusals(models, run_many, tmp_path_factory):
    """Replies to what must be refused, by a short name."""
    out = tmp_path_factory.mktemp("refused")
    zoo, stateful = models / "zoo", models / "stateful"
    bad = {}
    arrays = {"x": np.zeros((4, 3), "f"), "y": np.zeros((4, 4), "f"), "spare": np.zeros((4, 1), "f")}
    variants = {
        "samples-key": {"x": arrays["x"], "yy": arrays["y"]},
        "samples-lacking": {"x": arrays["x"], "y": arrays["y"]},
        "samples-shape": {**arrays, "x": np.zeros((4, 5), "f")},
        "samples-dtype": {**arrays, "x": np.zeros((4, 3), "i8")},
        "samples-rows": {**arrays, "x": np.zeros((3, 3), "f")},
    }
    for name, content in variants.items():
        np.savez(out / f"{name}.npz", **content)
        bad[name] = request(zoo, out / name, samples=str(out / f"{name}.npz"))
    (out / "none.npz").write_bytes(b"no zip")
    bad["samples-file"] = request(zoo, out / "f", samples=str(out / "none.npz"))
    for signature in ("count", "noisy", "opaque", "cuont"):
        bad[signature] = request(stateful, out / signature, signature=signature)
    bad["choice"] = request(stateful, out / "choice")
    broken = (
        "no_signature",
        "cut_pb",
        "cut_variables",
        "garbled",
        "no_variables",
        "lambda.keras",
        "cut.keras",
    )
    for name in broken:
        bad[name] = request(models / name, out / name)
    bad["format"] = request(zoo, out / "format", formats=["tflight"])
    bad["precision"] = {
        **request(zoo, out / "precision"),
        "formats": [{"format": "tflite", "precision": "int3"}],
    }
    bad["level"] = request(zoo, out / "level", freeze={"optimize": "wild"})
    return run_many(bad)


def _proved(model, tmp_path_factory, **more):
    out = tmp_path_factory.mktemp("out")
    result = client.run(request(model, out, **more), log=out.with_suffix(".log"))
    return prove.prove(converted(result), out), out


@pytest.fixture(scope="session")
def zoo(models, tmp_path_factory):
    """(proved conversion, folder) of the model with hard names."""
    return _proved(models / "zoo", tmp_path_factory)


@pytest.fixture(scope="session")
def mixed(models, tmp_path_factory):
    """(proved conversion, folder) of the model with integers, booleans and strings."""
    return _proved(models / "mixed", tmp_path_factory)


@pytest.fixture(scope="session")
def mobilenet(models, tmp_path_factory):
    """(proved conversion, folder) of MobileNetV2 with an optimised graph."""
    return _proved(models / "mobilenet.keras", tmp_path_factory, freeze={"optimize": "safe"})


@pytest.fixture(scope="session")
def third_party():
    """The shared folder of models that others published."""
    folder = os.environ.get("EDGEFREEZE_MODELS")
    if not folder:
        pytest.skip("EDGEFREEZE_MODELS is not set")
    return Path(folder)

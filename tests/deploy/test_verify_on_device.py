"""verify --on: one side runs on a device, as it would there, and nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.building import Built

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(device: Path) -> Path:
    """This machine as a device of the inventory; its root."""
    Path("edgefreeze.toml").write_text('[devices.here]\ntarget = "x86"\ntransport = "local"\n')
    return device


def contents(root: Path) -> dict[str, int]:
    """What is in the store."""
    store = root / "store"
    return {p.name: p.stat().st_size for p in store.rglob("*") if p.is_file() and p.name != "lock"}


def test_what_runs_there_computes_what_the_model_computes(
    small: Path, here: Path, prebuilt: None, edgefreeze_: Run
) -> None:
    done = edgefreeze_("deploy", small / "small_a", "--app", "demo", "--format", "tflite", "--no-bench",
                       "--json")  # fmt: skip
    assert done.status == 0, done.out
    same = edgefreeze_("verify", "--on", "here", "--app", "demo", "--against", small / "small_a", "--json")
    assert same.status == 0, same.out
    document = same.json
    assert (document["equal"], document["device"]) == (True, "here")
    (output,) = document["outputs"]
    assert output["name"] == "logits"
    assert 0 <= output["max_rel"] < 1e-5
    other = edgefreeze_("verify", "--on", "here", "--against", small / "small_b", "--json")
    assert (other.status, other.json["error"]["code"]) == (6, "differs")
    assert other.json["outputs"][0]["max_rel"] > 0.01
    gone = edgefreeze_("verify", "--on", "here", "--app", "demo", "--format", "onnx", "--against",
                       small / "small_a", "--json")  # fmt: skip
    assert gone.json["error"]["code"] == "no-artifact"


def test_a_file_is_brought_and_is_gone_afterwards(
    small: Path, here: Path, releases: dict[str, Built], edgefreeze_: Run, tmp_path: Path
) -> None:
    file = releases["small_a"].release.folder / "model.tflite"
    assert file.is_file()
    np.savez(tmp_path / "in.npz", image=np.random.default_rng(2).random((3, 8, 8, 1), np.float32))
    result = edgefreeze_("verify", file, "--on", "here", "--against", small / "small_a", "--samples",
                         tmp_path / "in.npz", "--json")  # fmt: skip
    assert result.status == 0, result.out
    assert (result.json["equal"], result.json["cases"], result.json["device"]) == (True, 3, "here")
    assert contents(here) == {}
    assert not list((here / "store" / "tmp").glob("*"))
    assert edgefreeze_("status", "--json").json["apps"] == []


def test_an_artifact_of_a_release_folder(
    small: Path, here: Path, releases: dict[str, Built], edgefreeze_: Run
) -> None:
    folder = releases["small_a"].release.folder
    result = edgefreeze_(
        "verify", folder, "--format", "tflite", "--on", "here", "--against", folder, "--json"
    )
    assert (result.status, result.json["equal"]) == (0, True), result.out


def test_a_saved_model_runs_there_as_it_is(small: Path, here: Path, edgefreeze_: Run) -> None:
    result = edgefreeze_(
        "verify", small / "small_a", "--on", "here", "--against", small / "small_b", "--json"
    )
    assert (result.status, result.json["error"]["code"]) == (6, "differs"), result.out
    assert contents(here) == {}


@pytest.fixture(scope="module")
def built(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release folder as `edgefreeze build` makes it, with two artifacts of one format."""
    out = tmp_path_factory.mktemp("built")
    calls = np.random.default_rng(5).random((100, 8, 8, 1), np.float32)
    np.savez(out / "samples.npz", image=calls)
    formats = ["--format", "tflite", "--format", "tflite:int8", "--format", "onnx"]
    done = subprocess.run(
        [sys.executable, "-m", "edgefreeze", "build", str(small / "small_a"), "--target", "x86", *formats,
         "--calibration", str(out / "samples.npz"), "-o", str(out / "release"), "--json"],
        capture_output=True, text=True, check=False, cwd=out, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "release"


def test_a_release_of_two_precisions(small: Path, built: Path, edgefreeze_: Run) -> None:
    errors = {}
    for name in ("tflite", "tflite:int8", "onnx"):
        result = edgefreeze_("verify", built, "--format", name, "--against", small / "small_a", "--tolerance",
                             "0.2", "--json")  # fmt: skip
        assert result.status == 0, result.out
        errors[name] = result.json["outputs"][0]["max_rel"]
    assert errors["tflite"] < 1e-5
    assert errors["onnx"] < 1e-5
    assert errors["tflite:int8"] > 1e-4
    lacking = edgefreeze_(
        "verify", built, "--format", "tflite:fp16", "--against", small / "small_a", "--json"
    )
    assert lacking.json["error"]["code"] == "no-artifact"
    assert "tflite:int8" in lacking.json["error"]["expected"]


@pytest.mark.parametrize("format_name", ["tflite", "tflite:int8", "onnx"])
def test_one_artifact_here_and_there_does_not_part(
    built: Path, here: Path, edgefreeze_: Run, format_name: str
) -> None:
    result = edgefreeze_("bisect", built, "--format", format_name, "--on", "here", "--json")
    assert result.status == 0, result.out
    document = result.json
    assert (document["equal"], document["parting"]) == (True, None)
    assert document["compared"] >= 4
    assert contents(here) == {}


def test_a_frozen_model_here_and_there(small: Path, here: Path, edgefreeze_: Run) -> None:
    result = edgefreeze_("bisect", small / "small_a", "--on", "here", "--json")
    assert result.status == 0, result.out
    assert (result.json["parting"], result.json["a"].endswith("on here")) == (None, True)
    assert result.json["compared"] >= 5


def test_a_runtime_that_computes_wrongly_is_found_at_its_node(
    built: Path, here: Path, wrong_python: Path, edgefreeze_: Run
) -> None:
    Path("edgefreeze.toml").write_text(
        f'[devices.odd]\ntarget = "x86"\ntransport = "local"\npython = "{wrong_python}"\n'
    )
    result = edgefreeze_("bisect", built, "--format", "tflite", "--on", "odd", "--json")
    assert result.status == 0, result.out
    parting = result.json["parting"]
    assert result.json["equal"] is False
    assert parting["operation"] == "FULLY_CONNECTED"
    assert parting["cause"]["kind"] == "another kernel"
    assert {Path(f).name for f in result.json["files"]} == {"values.npz", "a.json", "b.json"}


def test_what_is_wrongly_asked(small: Path, here: Path, edgefreeze_: Run, tmp_path: Path) -> None:
    for arguments, code in (
        ([], "usage"),
        ([small / "small_a", "--target", "x86"], "usage"),
        ([small / "small_a", "--on", "here", "--app", "demo"], "usage"),
        (["--on", "here", "--app", "demo"], "no-app"),
        (["--on", "hre -x"], "device-unknown"),
        ([tmp_path / "absent.tflite", "--on", "here"], "model-missing"),
    ):
        result = edgefreeze_("verify", *arguments, "--against", small / "small_b", "--json")
        assert result.json["error"]["code"] == code, result.out

"""Runtimes on a device before there is a release: brought, proved by an inference, kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.ship import proof
from tests.lab_plugin import LabDevice

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


def test_this_machines_own_runtimes_infer(device: Path, edgefreeze_: Run) -> None:
    found = edgefreeze_(
        "prepare", "--format", "tflite", "--format", "onnx", "--format", "frozen_pb", "--json"
    )
    assert found.status == 0, found.out + found.err
    rows = {row["runtime"]: row for row in found.json["runtimes"]}
    assert set(rows) == {"litert", "onnxruntime", "tensorflow"}
    assert all(row["ok"] is True and row["own"] and row["bytes_sent"] == 0 for row in rows.values())
    assert not (device / "prepared.json").exists()


def test_nothing_is_left_without_tensorflow(device: Path, edgefreeze_: Run) -> None:
    found = edgefreeze_("prepare", "--format", "frozen_pb", "--no-tf", "--json")
    assert (found.status, found.json["error"]["code"]) == (3, "format-unknown")


def test_a_runtime_that_computes_something_else_is_no_runtime(
    device: Path, edgefreeze_: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "answer", lambda: np.asarray([[1.0, 2.0, 3.0]], np.float32))
    found = edgefreeze_("prepare", "--format", "tflite", "--json")
    assert (found.status, found.json["error"]["code"]) == (1, "runtime-failed")
    assert "it computes" in found.json["error"]["found"]


def test_a_board_is_prepared_once_and_a_deployment_sends_the_model_alone(
    small: Path, lab_x86: LabDevice, over_ssh: Callable[[LabDevice], str], edgefreeze_: Run
) -> None:
    host = over_ssh(lab_x86)
    lab_x86.sh("rm -rf ~/.edgefreeze")
    Path("edgefreeze.toml").write_text('target = "x86"\n')
    asked = ("prepare", "--host", host, "--format", "tflite", "--json")
    planned = edgefreeze_(*asked, "--dry-run").json
    assert planned["bytes_needed"] > 10_000_000
    assert (planned["bytes_sent"], planned["runtimes"][0]["ok"]) == (0, None)
    assert lab_x86.sh("ls ~/.edgefreeze/runtimes 2>/dev/null || true") == ""

    (runtime,) = edgefreeze_(*asked).json["runtimes"]
    assert (runtime["ok"], runtime["bytes_sent"]) == (True, planned["bytes_needed"])
    assert json.loads(lab_x86.sh("cat ~/.edgefreeze/prepared.json")) == {"litert": runtime["tree"]}
    lock = json.loads(Path("edgefreeze.lock").read_text())
    assert [e["requirement"][0].split(">")[0] for e in lock["runtimes"]] == ["ai-edge-litert"]
    assert edgefreeze_(*asked).json["bytes_sent"] == 0

    deployed = edgefreeze_(
        "deploy",
        small / "small_a",
        "--app",
        "cam",
        "--host",
        host,
        "--format",
        "tflite",
        "--no-bench",
        "--json",
    )
    assert deployed.status == 0, deployed.out + deployed.err
    assert deployed.json["bytes_sent"] < 100_000
    lab_x86.sh("rm -rf ~/.edgefreeze")


@pytest.mark.slow
def test_the_tiny_models_are_what_their_maker_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location("make_tiny", root / "make_tiny.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    kept = proof.TINY
    monkeypatch.setattr(maker, "TINY", tmp_path / "tiny")
    monkeypatch.chdir(root.parent)
    maker.main()
    assert (tmp_path / "tiny" / "models.json").read_text() == (kept / "models.json").read_text()
    assert {f.name for f in (tmp_path / "tiny").iterdir()} == {f.name for f in kept.iterdir()}
    shutil.rmtree(tmp_path / "tiny")

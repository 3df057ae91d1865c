"""The demo's model, which is trained, loses next to nothing in eight bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Run

pytestmark = pytest.mark.tf
MOST_LOST = 0.5


def test_int8_loses_at_most_half_a_point(run: Run, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "edgefreeze.demo.train", str(tmp_path)], capture_output=True, check=True
    )
    status, document = run(
        "build", tmp_path / "digits_savedmodel", "-t", "x86", "-o", tmp_path / "release",
        "--format", "tflite:int8", "--format", "tflite:int8-io", "--format", "onnx:int8",
        "--calibration", tmp_path / "digits_typical.npz", "--eval", tmp_path / "digits_test.npz",
        "--max-accuracy-drop", MOST_LOST,
    )  # fmt: skip
    assert status == 0, document
    artifacts = [a for a in document["artifacts"] if a["precision"] != "fp32"]  # type: ignore[attr-defined]
    assert [a["status"] for a in artifacts] == ["verified"] * 3, artifacts
    for found in document["accuracy"]:  # type: ignore[attr-defined]
        assert found["original"] >= 0.95
        assert 100 * (found["original"] - found["accuracy"]) <= MOST_LOST, found

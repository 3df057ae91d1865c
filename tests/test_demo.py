"""`make demo`, and what it says to type next."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.tf, pytest.mark.alone]


def test_the_demo_and_the_commands_that_it_ends_with(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "edgefreeze.demo", str(folder)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    # As the device computed it, beside the original's, of each artifact.
    for name in ("frozen_pb", "saved_model", "tflite", "onnx"):
        (row,) = re.findall(rf"^ {name} .* (\d+\.\d+)% +(\d+\.\d+)%", done.stdout, re.MULTILINE)
        assert all(float(share) >= 95 for share in row)
    assert "Latency on local" in done.stdout
    assert re.search(r"^ frozen_pb .*(faster|slower|no difference shown)", done.stdout, re.MULTILINE)
    assert re.search(r"^ saved_model .*baseline", done.stdout, re.MULTILINE)
    commands = re.findall(r"^  \S+/(edgefreeze (?:run|status).*?)  +\S", done.stdout, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        ran = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    assert np.load(folder / "answers.npz")["logits"].shape == (16, 10)

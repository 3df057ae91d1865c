"""Inspect on the models that others published: what it says is kept, and it is quick."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.inspection.shared import GOLDEN, MODELS, described

pytestmark = pytest.mark.models

QUICK_S = 1.5


@pytest.mark.parametrize("model", MODELS)
def test_it_says_what_it_said(third_party, model):
    assert described(third_party, model) == (GOLDEN / f"{model}.txt").read_text()


@pytest.mark.parametrize("model", ["kws_savedmodel", "ds_cnn_s.pb", "ad01_upstream_fp32.tflite"])
def test_the_whole_command_is_quick_and_loads_no_tensorflow(third_party, model):
    code = (
        "import sys\nfrom edgefreeze.cli import main\n"
        f"status = main.run(['inspect', {str(third_party / model)!r}, '--json'])\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'ai_edge_litert', 'paramiko'} & set(sys.modules)\n"
        "assert status == 0 and not heavy, heavy\n"
    )
    seconds = []
    for _ in range(3):
        before = os.times()
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        wall, after = time.monotonic() - started, os.times()
        # Of a machine that others use too, what the command itself took.
        busy = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(min(wall, busy))
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    assert min(seconds) < QUICK_S

"""The tiny models that show whether a runtime infers: each computes what it should here, and can be made anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.doctor import examine
from edgefreeze.doctor.models import EXPECTED, MODELS, Tiny
from edgefreeze.inventory import Device
from edgefreeze.progress import Silent
from edgefreeze.transport.client import Helper, connect

pytestmark = pytest.mark.tf


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    device = Device(
        name="here",
        target="x86",
        transport="local",
        host=None,
        python=sys.executable,
        root=str(tmp_path / "root"),
    )
    with connect(device) as found:
        yield found


def bound(tiny: Tiny, python: str = sys.executable) -> dict[str, object]:
    return {"python": python, "runtimes": {tiny.artifact["runtime"]: {"tree": None}}}


def test_the_answer_is_not_all_zeros_nor_all_passed_through() -> None:
    assert EXPECTED.shape == (1, 4)
    assert (EXPECTED == 0).sum() in (1, 2)


@pytest.mark.parametrize("runtime", MODELS)
def test_each_runtime_here_infers(helper: Helper, runtime: str) -> None:
    assert examine.infer(helper, MODELS[runtime], bound(MODELS[runtime]), Silent()) is None


def test_what_computes_something_else_does_not_infer(helper: Helper) -> None:
    tiny = MODELS["litert"]
    wrong = replace(tiny, expected=tiny.expected + np.float32(0.01))
    assert "is right" in str(examine.infer(helper, wrong, bound(tiny), Silent()))
    other = {**tiny.artifact, "outputs": [{**tiny.artifact["outputs"][0], "tensor": "no:0"}]}
    assert "no tensor" in str(examine.infer(helper, replace(tiny, artifact=other), bound(tiny), Silent()))


def test_a_runtime_that_can_be_imported_and_not_used(helper: Helper, tmp_path: Path) -> None:
    """As tflite-runtime beside NumPy 2: only an inference shows it."""
    home = tmp_path / "odd"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next((home / "lib").glob("python3.*/site-packages"))
    (packages / "numpy").symlink_to(Path(np.__file__).parent)
    if (Path(np.__file__).parents[1] / "numpy.libs").exists():
        (packages / "numpy.libs").symlink_to(Path(np.__file__).parents[1] / "numpy.libs")
    (packages / "ai_edge_litert").mkdir()
    (packages / "ai_edge_litert" / "__init__.py").write_text("")
    (packages / "ai_edge_litert" / "interpreter.py").write_text(
        "def Interpreter(**_):\n    raise SystemError('built for NumPy 1')\n"
    )
    tiny = MODELS["litert"]
    error = examine.infer(helper, tiny, bound(tiny, str(home / "bin" / "python")), Silent())
    assert "built for NumPy 1" in str(error)


@pytest.mark.slow
def test_the_files_can_be_made_anew_and_compute_the_same(helper: Helper, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    script = Path(__file__).with_name("make_models.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, script, made], check=True, env=environment, capture_output=True)
    for tiny in MODELS.values():
        again = replace(tiny, path=made / tiny.path.name)
        assert examine.infer(helper, again, bound(tiny), Silent()) is None

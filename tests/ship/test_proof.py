"""The tiny models that show whether a runtime infers: each computes what it should here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.progress import Silent
from edgefreeze.runtimes import Choice
from edgefreeze.ship import proof, session
from edgefreeze.ship.plan import RuntimePlan
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


def test_a_link_that_breaks_is_not_blamed_on_the_runtime(helper: Helper) -> None:
    facts = session.probe(helper)
    helper._stream.close()
    own = RuntimePlan(choice=Choice(runtime="litert", own="here", package=None), tree=None)
    with pytest.raises(Failure) as caught:
        proof.prove(helper, facts, own, Silent())
    assert caught.value.exit_status == 4


def prove(helper: Helper, runtime: str, python: str = sys.executable) -> proof.Proof:
    own = RuntimePlan(choice=Choice(runtime=runtime, own="here", package=None), tree=None)
    facts = replace(session.probe(helper), python_executable=python)
    return proof.prove(helper, facts, own, Silent())


def test_the_answer_is_not_all_zeros_nor_all_passed_through() -> None:
    assert proof.answer().shape == (1, 3)
    assert (proof.answer() == 0).sum() in (1, 2)


@pytest.mark.parametrize(
    "runtime", sorted(proof.models().keys() - {"tensorrt"})
)  # that one has no board here
def test_each_runtime_here_infers(helper: Helper, runtime: str) -> None:
    assert prove(helper, runtime).reason is None


def test_what_computes_something_else_does_not_infer(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    right = proof.answer()
    monkeypatch.setattr(proof, "answer", lambda: right + np.float32(0.01))
    assert "it computes" in str(prove(helper, "litert").reason)


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
    proved = prove(helper, "litert", str(home / "bin" / "python"))
    assert "built for NumPy 1" in str(proved.reason)

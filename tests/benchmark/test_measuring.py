"""What a device has kept of runs that were cut, fetched from a real helper; it is not to be trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgefreeze import measuring
from edgefreeze.benchmark import store
from edgefreeze.benchmark.result import About
from edgefreeze.inventory import Device
from edgefreeze.progress import Silent
from edgefreeze.transport import client
from edgefreeze.transport.client import Helper
from tests.benchmark.made import about, collected, plan_of

pytestmark = pytest.mark.process

RUN = "0123456789abcdef"


class Notes(Silent):
    """Keeps what would be said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The device's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "host"))
    found = tmp_path / "device"
    (found / "bench").mkdir(parents=True)
    (found / "bench" / "lock").touch()
    return found


@pytest.fixture
def helper(root: Path) -> Iterator[Helper]:
    here = Device(
        name="cam1", target="x86", transport="local", host=None, python=sys.executable, root=str(root)
    )
    with client.connect(here) as found:
        yield found


def leave(root: Path, known: About, run: str = RUN) -> Path:
    """A run that was cut, as the device's journal."""
    plan = plan_of("tflite")
    events = [{"kind": "head", "about": store.head(plan, known)}]
    events += [msgspec.to_builtins(e) for e in collected(plan, {"tflite": 4.0}).events]
    path = root / "bench" / f"{run}.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def kept() -> list[str]:
    """Files of results on the host."""
    return sorted(p.name for p in store.root().rglob("*") if p.is_file())


def test_what_was_cut_is_stored_here_and_removed_there(root: Path, helper: Helper) -> None:
    journal = leave(root, about())
    (found,) = measuring.collect(helper, "cam1", Notes())
    assert found.run == RUN
    assert kept() == [f"20261121T110800Z-{RUN}.json"]
    assert not journal.exists()


@pytest.mark.parametrize("run", ["/../../../../evil", "fedcba9876543210", None])
def test_a_journal_that_says_it_is_another_run_is_stored_nowhere(
    root: Path, helper: Helper, tmp_path: Path, run: str | None
) -> None:
    journal, progress = leave(root, about(run=run)), Notes()
    assert measuring.collect(helper, "cam1", progress) == []
    assert kept() == []
    assert not list(tmp_path.rglob("*evil*"))
    assert "run 01234567 cannot be read and is thrown away" in progress.said[0]
    assert not journal.exists()

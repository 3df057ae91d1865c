"""What a device has kept of runs that were cut, fetched from a real helper; it is not to be trusted."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgefreeze import measuring
from edgefreeze.benchmark import store
from edgefreeze.benchmark.result import About
from edgefreeze.errors import Failure
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


def unreadable(journal: Path) -> None:
    """As on a bad sector: the device cannot open it."""
    journal.unlink()
    journal.symlink_to(journal)


def endless(journal: Path) -> None:
    """More than the device reads of a journal."""
    with journal.open("r+b") as file:
        file.truncate((256 << 20) + 1)


@pytest.mark.parametrize("spoil", [unreadable, endless])
def test_a_journal_that_the_device_cannot_read_is_forgotten_and_hinders_nobody(
    root: Path, helper: Helper, spoil: Callable[[Path], None]
) -> None:
    bad, good, progress = leave(root, about()), leave(root, about(run="f" * 16), "f" * 16), Notes()
    spoil(bad)
    (found,) = measuring.collect(helper, "cam1", progress)
    assert found.run == "f" * 16
    assert any("run 01234567 cannot be read and is thrown away" in text for text in progress.said)
    assert not bad.is_symlink()
    assert not bad.exists()
    assert not good.exists()
    assert measuring.collect(helper, "cam1", Notes()) == []


def test_what_this_machine_cannot_store_stays_on_the_device(root: Path, helper: Helper) -> None:
    journal = leave(root, about())
    store.root().parent.mkdir(parents=True)
    store.root().touch()
    with pytest.raises(Failure) as caught:
        measuring.collect(helper, "cam1", Notes())
    assert caught.value.code == "bad-result"
    assert "cannot be written" in caught.value.message
    assert journal.exists()


def test_a_lost_connection_is_no_journal_that_cannot_be_read(root: Path, helper: Helper) -> None:
    journal, progress = leave(root, about()), Notes()
    pid = helper.request("ping")["pid"]
    asked = helper.request

    def until_read(op: str, *args: Any, **more: Any) -> dict[str, Any]:
        if op == "bench_read":
            os.kill(pid, signal.SIGKILL)
        return asked(op, *args, **more)

    helper.request = until_read  # type: ignore[method-assign]
    with pytest.raises(Failure) as caught:
        measuring.collect(helper, "cam1", progress)
    assert caught.value.code == "helper-died"
    assert progress.said == []
    assert journal.exists()

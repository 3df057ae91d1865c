"""Marks that a test has by what it uses, so that nobody has to write them; and that no test starts a process
without saying so. A plugin of pytest's."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

PROCESSES = {
    "alice", "install", "mallory", "program", "sshd", "start", "start_sshd", "world",
}  # fmt: skip
"""Fixtures that start a process, or make what is only there to be started."""
STARTED = {"tf", "sshd", "lab", "pi", "models", "browser", "slow", "process"}
"""Marks under which a process may be started: `make test-fast` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """process: by its fixtures. alone: whatever uses a board of the lab, of which there is one of each."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & PROCESSES:
            item.add_marker("process")
        if item.get_closest_marker("lab") or any(name.startswith("lab_") for name in fixtures):
            item.add_marker("alone")


class _Watch:
    """Processes that this one starts."""

    def __init__(self) -> None:
        self.started: list[str] = []
        sys.addaudithook(self.look)

    def look(self, event: str, args: tuple[Any, ...]) -> None:
        """Called for every event of the interpreter's."""
        if event == "subprocess.Popen":
            self.started.append(str(args[0]))


_watch = _Watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Forget what the tests before have started."""
    _watch.started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that started a process and says nothing of it."""
    yield
    if _watch.started and not any(mark.name in STARTED for mark in item.iter_markers()):
        pytest.fail(f"starts {_watch.started[0]}, and is not marked `process`", pytrace=False)

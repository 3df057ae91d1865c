"""Several commands over one connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.transport import client

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices to which a connection was made."""
    made: list[str] = []
    real = client._connected

    def counted(device, ask, early):  # type: ignore[no-untyped-def]
        made.append(device.name)
        return real(device, ask, early)

    monkeypatch.setattr(client, "_connected", counted)
    return made


def documents(text: str) -> Iterator[Any]:
    """JSON documents one after the other."""
    decoder = json.JSONDecoder()
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:]


@pytest.mark.usefixtures("prebuilt")
def test_a_series_shares_one_connection(
    small: Path, device: Path, edgefreeze_: Run, tmp_path: Path, connections: list[str]
) -> None:
    deploy = f"deploy {small / 'small_a'} --app demo --format tflite --no-bench --json"
    lines = tmp_path / "lines"
    lines.write_text(f"# first and again\n{deploy}\n\n{deploy}\nstatus --app demo --json  # what runs\n")
    done = edgefreeze_("series", lines)
    assert done.status == 0, done.err
    first, again, status = documents(done.out)
    assert connections == ["local"]
    assert first["bytes_sent"] > 0
    assert (again["bytes_sent"], again["active"]) == (0, first["release"])
    assert again["selftest"] == first["selftest"]
    assert again["previous"] is None
    assert set(again["seconds"]) == {
        "connect",
        "probe",
        "build",
        "runtimes",
        "plan",
    }  # all of it in one question
    assert status["release"] == first["release"]
    assert [line for line in done.err.splitlines() if line.startswith("$ ")][1] == f"$ edgefreeze {deploy}"


def test_the_first_that_fails_ends_it(
    device: Path, edgefreeze_: Run, tmp_path: Path, connections: list[str]
) -> None:
    lines = tmp_path / "lines"
    lines.write_text("rollback --app none --target x86\nstatus --target x86 --json\n")
    done = edgefreeze_("series", lines)
    assert done.status != 0
    assert "[no-previous]" in done.err
    assert done.out == ""
    on = edgefreeze_("series", lines, "--keep-going")
    assert on.status == done.status
    assert json.loads(on.out)["ok"] is True
    assert connections == ["local", "local"]


@pytest.mark.parametrize(("line", "words"), [("status 'x", "line 1"), ("series -", "a series in a series")])
def test_lines_that_make_no_command_are_named(
    edgefreeze_: Run, tmp_path: Path, line: str, words: str
) -> None:
    lines = tmp_path / "lines"
    lines.write_text(line + "\n")
    done = edgefreeze_("series", lines)
    assert done.status == 2
    assert words in done.err
    assert str(lines) in done.err

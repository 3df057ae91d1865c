"""How a helper starts: what is asked with the first words, and the bytecode that it leaves for the next start."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from edgefreeze.device import protocol
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.transport import client
from tests.device.conftest import find_python


def device(root: Path, python: str = sys.executable) -> Device:
    return Device(name="here", target="x86", transport="local", host=None, python=python, root=str(root))


def left_by(root: Path, python: str = sys.executable) -> tuple[Path, bool]:
    """The bytecode that a helper leaves, once it has left; and whether it ran from such."""
    with client.connect(device(root, python)) as helper:
        pid = helper.request("ping")["pid"]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    (kept,) = (p for p in (root / "helper").glob("*.pyz") if p.name.count(".") == 2)
    return kept, os.fsencode(kept) in command


@pytest.mark.parametrize("version", ["", "3.8", "3.9"])
def test_the_second_start_runs_the_bytecode_of_the_first(tmp_path: Path, version: str) -> None:
    python = find_python(version) if version else sys.executable
    if python is None:
        pytest.skip(f"no Python {version} here")
    kept, first = left_by(tmp_path, python)
    written = kept.stat().st_mtime_ns
    again, second = left_by(tmp_path, python)
    assert (first, second, again) == (False, True, kept)
    assert kept.stat().st_mtime_ns == written
    assert not list((tmp_path / "helper").glob("*.part"))


def test_damaged_bytecode_is_not_executed_but_written_anew(tmp_path: Path) -> None:
    kept, _ = left_by(tmp_path)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert left_by(tmp_path) == (kept, False)
    mended = kept.read_bytes()
    assert hashlib.sha256(mended[64:]).hexdigest().encode() == mended[:64]
    assert left_by(tmp_path) == (kept, True)


def test_runners_get_the_sources_which_any_python_reads(tmp_path: Path) -> None:
    kept, _ = left_by(tmp_path)
    with client.connect(device(tmp_path)) as helper:
        assert helper.greeting.version == kept.name[:12]
        # Another interpreter's facts are asked of the helper's own file.
        other = find_python("3.9") or sys.executable
        assert helper.request("probe", {"python": other})["python"].startswith("3.")


def test_what_was_asked_with_the_first_words_is_answered_once(tmp_path: Path) -> None:
    with client.connect(device(tmp_path), early=("ping", "probe")) as helper:
        sent: list[str] = []
        real = helper._write
        helper._write = lambda message, blob: sent.append(message["op"]) or real(message, blob)  # type: ignore
        assert helper.request("status")["apps"] == []  # whatever comes first
        assert helper.request("probe")["machine"] == os.uname().machine
        assert helper.request("ping")["protocol"] == protocol.PROTOCOL
        assert sent == ["status"]
        helper.request("ping")
        assert sent == ["status", "ping"]


def test_an_early_request_that_fails_says_so_to_whoever_asks(tmp_path: Path) -> None:
    with client.connect(device(tmp_path), early=("no-such-thing",)) as helper:
        assert helper.request("ping")["root"] == str(tmp_path)
        with pytest.raises(Failure) as raised:
            helper.request("no-such-thing")
    assert raised.value.code == "protocol"

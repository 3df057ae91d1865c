"""How a helper starts: what is asked with the first words, and the bytecode that it leaves for the next start."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgefreeze.device import protocol
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.transport import bootstrap, client
from edgefreeze.transport.client import Ask
from tests.device.conftest import find_python

pytestmark = pytest.mark.process


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


def test_a_helper_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_text(f'#!/bin/sh\nulimit -f 8\nexec {sys.executable} "$@"\n')
    small.chmod(0o755)
    root = tmp_path / "root"
    with pytest.raises(Failure) as raised, client.connect(device(root, str(small))):
        pass
    assert raised.value.code == "store-io"
    assert "File too large" in str(raised.value)
    assert not list((root / "helper").iterdir())


def test_a_first_answer_that_is_too_deep_is_no_helper(tmp_path: Path) -> None:
    """Of 4096 brackets, all that is read of a line, Python's parser makes a RecursionError."""
    odd = tmp_path / "odd"
    odd.write_text(f"#!/bin/sh\necho {bootstrap.MAGIC}\nhead -c 4096 /dev/zero | tr '\\0' '['\nexec cat\n")
    odd.chmod(0o755)
    with pytest.raises(Failure) as raised, client.connect(device(tmp_path / "root", str(odd))):
        pass
    assert raised.value.code == "helper-no-greeting"


def test_what_a_bootstrap_left_that_was_killed_goes_with_the_next_start(tmp_path: Path) -> None:
    left_by(tmp_path)
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, written = (tmp_path / f"helper/{'0' * 64}.pyz.{pid}.part" for pid in (ended.pid, os.getpid()))
    for file in (left, written):
        file.write_bytes(b"half")
    left_by(tmp_path)
    assert (left.exists(), written.exists()) == (False, True)  # somebody may be writing the other


def test_damaged_bytecode_is_not_executed_but_written_anew(tmp_path: Path) -> None:
    kept, _ = left_by(tmp_path)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert left_by(tmp_path) == (kept, False)
    mended = kept.read_bytes()
    assert hashlib.sha256(mended[64:]).hexdigest().encode() == mended[:64]
    assert left_by(tmp_path) == (kept, True)


def test_runners_get_the_sources_which_any_python_reads(tmp_path: Path) -> None:
    other = find_python("3.9")
    if other is None:
        pytest.skip("no Python 3.9 here")
    kept, _ = left_by(tmp_path)
    with client.connect(device(tmp_path)) as helper:
        assert helper.greeting.version == kept.name[:12]
        # Another interpreter's facts are asked of the helper's own file.
        assert helper.request("probe", {"python": other})["python"].startswith("3.9.")


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


def test_a_connection_is_held_open_for_whoever_comes_next(tmp_path: Path) -> None:
    here = device(tmp_path)
    with client.held_open():
        with client.connect(here) as helper:
            first = helper.request("ping")["pid"]
        with client.connect(here, early=("probe",)) as helper:
            assert helper.request("ping")["pid"] == first
            helper._broken = True  # as a lost link leaves it
        with client.connect(here) as helper:
            second = helper.request("ping")["pid"]
        assert Path(f"/proc/{second}").exists()
    with client.connect(here) as helper:
        third = helper.request("ping")["pid"]
    assert len({first, second, third}) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in (second, third))


def test_what_is_recent_is_not_asked_again_until_something_was_sent(tmp_path: Path) -> None:
    with client.connect(device(tmp_path)) as helper:
        facts = helper.recent("probe", 60.0)
        assert helper.recent("probe", 60.0) is facts
        assert helper.recent("probe", 0.0) is not facts
        facts = helper.recent("probe", 60.0)
        helper.put([], lambda count: None)
        assert helper.recent("probe", 60.0) is not facts


def test_linked_requests_are_done_in_an_unbroken_chain_only(tmp_path: Path) -> None:
    app = {"app": "cam", "who": "me", "mode": "write"}
    lacks = {"digests": [["0" * 64, 1]]}
    with client.connect(device(tmp_path)) as helper:
        opened, missing, ping = helper.requests(
            [
                Ask("open_app", app, {"active": None}),
                Ask("missing", lacks, {"missing": []}),
                Ask("ping", {}, linked=True),
            ]
        )
        assert opened is not None
        assert missing is not None
        assert (opened["active"], missing["missing"], ping) == (None, ["0" * 64], None)
        state = helper.state_sentence()
        switch = {"app": "cam", "release": "0" * 64}
        assert (
            helper.requests([Ask("ping", {}, {"pid": -1}), Ask("activate", switch, linked=True)])[1] is None
        )
        assert helper.state_sentence() == state  # what was skipped changes nothing that is known
        # A request that stands alone begins anew.
        assert helper.request("ping")["root"] == str(tmp_path)
        chain = [
            Ask("open_app", app, {"active": None}),
            Ask("ping", {}, linked=True),
            Ask("status", {}, linked=True),
        ]
        assert None not in helper.requests(chain)
        other = {**app, "app": "door"}
        with pytest.raises(Failure):
            helper.requests([Ask("confirm", {"app": "cam"}, {}), Ask("open_app", other, linked=True)])
        assert not (tmp_path / "apps" / "door").exists()  # nothing is done after what failed
        assert (
            helper.requests([Ask("ping", {}, {"pid": -1}), Ask("ping", {}, linked=True), Ask("ping", {})])[1]
            is None
        )

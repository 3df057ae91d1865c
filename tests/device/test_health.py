"""What the device collects for the doctor: programs of all kinds of temper, and the whole of it."""

import os
import sys
import time
from pathlib import Path

import pytest

from edgefreeze.device import health
from edgefreeze.doctor.case import Health
from edgefreeze.doctor.examine import health as checked
from edgefreeze.errors import Failure

from .conftest import Start

pytestmark = pytest.mark.process


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, code: str) -> None:
    file = folder / name
    file.write_text(f"#!{sys.executable} -I\nimport os, subprocess, sys, time\n{code}\n")
    file.chmod(0o755)


def test_what_a_program_prints(programs: Path) -> None:
    program(programs, "says", "print('out'); print('err', file=sys.stderr)")
    assert sorted((health.ask(("says",)) or "").split()) == ["err", "out"]
    program(programs, "silent", "")
    assert health.ask(("silent",)) is None
    assert health.ask(("edgefreeze-no-such-program",)) is None
    (programs / "broken").write_text("#!/no/such/interpreter\n")
    (programs / "broken").chmod(0o755)
    assert health.ask(("broken",)) is None


def test_one_that_never_ends_gives_its_first_line(programs: Path) -> None:
    program(programs, "stats", "while True:\n    print('RAM 1/2MB', flush=True)\n    time.sleep(0.05)")
    start = time.monotonic()
    assert (health.ask(("stats",), endless=True) or "").splitlines()[0] == "RAM 1/2MB"
    assert time.monotonic() - start < health.DEADLINE_S


def test_one_that_hangs_is_ended_with_its_children(programs: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program(
        programs,
        "hangs",
        f"child = subprocess.Popen(['sleep', '600'])\nopen({str(pid)!r}, 'w').write(str(child.pid))\n"
        "print('so far', flush=True)\ntime.sleep(600)",
    )
    start = time.monotonic()
    assert health.ask(("hangs",), deadline_s=1.0) == "so far\n"
    assert time.monotonic() - start < 3
    child = Path(f"/proc/{pid.read_text()}/stat")
    deadline = time.monotonic() + 5
    while child.exists() and " Z " not in child.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or " Z " in child.read_text()


def test_one_that_floods_is_cut(programs: Path) -> None:
    program(programs, "floods", "while True:\n    sys.stdout.write('x' * 65536)")
    assert len(health.ask(("floods",)) or "") == health.LIMIT


def test_the_whole_is_what_the_host_expects(start: Start, root: Path) -> None:
    answer = start().ask("health")
    assert set(answer) == set(Health.__dataclass_fields__)
    found = checked(answer, "here")
    assert found.root == str(root)
    assert found.writable
    assert found.page_bytes == os.sysconf("SC_PAGE_SIZE")
    assert "mounts" in found.texts
    assert abs((found.now or 0) - time.time()) < 60


def test_a_device_that_answers_nonsense_is_told_from_one_that_is_ill() -> None:
    with pytest.raises(Failure) as caught:
        checked({"texts": {"df": 3}}, "cam1")
    assert caught.value.code == "protocol"
    found = checked({"texts": {"df": "a\x1b[31mb\nc"}, "zones": {"x\x07": 1.0}, "root": "/r"}, "cam1")
    assert found.texts == {"df": "ab\nc"}
    assert found.zones == {"x": 1.0}
    assert found.policies == ()

"""A power cut on trial, and the unit that goes back at boot: what is written, what systemd makes of it, what it
does."""

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.device import unit

from .test_changeover import ask, script, switch, until, watchers

ODD = 'a $HOME b%h "c" \\d ; é'
WORDS = st.text(st.characters(codec="utf-8"), max_size=30).map(lambda text: "/" + text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / ODD
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)  # no systemd of whoever runs the tests is asked
    return home


@pytest.fixture
def root(home: Path) -> Path:
    return home / ".edgefreeze"


def units(home: Path) -> Path:
    return home / ".config/systemd/user"


def exec_start(file: Path) -> list[str]:
    """What systemd runs: words in quotes, `%%` and `$$` for one."""
    (line,) = [line for line in file.read_text().splitlines() if line.startswith("ExecStart=")]
    program, *rest = shlex.split(line.removeprefix("ExecStart="))
    return [
        program.replace("%%", "%"),
        *(word.replace("%%", "%").replace("$$", "$") for word in rest),
    ]


def test_the_unit_is_written_and_enabled(start: Any, home: Path, root: Path, program: Path) -> None:
    helper = start(root=root)
    assert helper.ask("status")["boot"]["unit"] is None
    found = helper.ask("recover_at_boot", {"keep": True})
    file = units(home) / "edgefreeze-recover.service"
    assert (found["unit"], found["enabled"], found["lacks"]) == (str(file), True, [])
    assert (found["changed"], found["told"]) == (True, False)
    link = units(home) / "default.target.wants/edgefreeze-recover.service"
    assert link.resolve() == file
    assert link.is_symlink()
    assert exec_start(file) == [
        sys.executable, "-I", str(root / "helper/recover.pyz"), "recover", "--root", str(root),
    ]  # fmt: skip
    assert (root / "helper/recover.pyz").read_bytes() == program.read_bytes()
    for path in (file, root / "helper/recover.pyz"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = helper.ask("recover_at_boot", {"keep": True})
    assert again["changed"] is False
    assert helper.ask("status")["boot"] == {
        k: v for k, v in again.items() if k not in ("changed", "told")
    }  # fmt: skip
    assert sorted(p.name for p in units(home).rglob("*")) == [
        "default.target.wants", "edgefreeze-recover.service", "edgefreeze-recover.service",
    ]  # fmt: skip


def test_systemd_takes_the_unit(start: Any, home: Path, root: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    start(root=root).ask("recover_at_boot", {"keep": True})
    file = units(home) / "edgefreeze-recover.service"
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(file.read_text().replace(sys.executable, sys.executable + "-is-not-there"))
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert "is not executable" in done.stderr  # so it has read the line


def test_after_a_reboot_on_trial_the_unit_goes_back(
    start: Any, made: Any, home: Path, root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one, two = start(root=root), made(content=b"one"), made(content=b"two")
    helper.ask("recover_at_boot", {"keep": True})
    one.stage(helper)
    switch(helper, one)
    two.stage(helper)
    slow = script(tmp_path / "slow", "sleep 100\n")
    helper.send("activate", ask(two, restart=[slow], restart_timeout_s=50))
    until(lambda: look.current(root) == two.id)
    for pid in watchers(root):
        os.kill(pid, signal.SIGKILL)
    os.kill(helper.process.pid, signal.SIGKILL)
    helper.process.wait()
    assert look.current(root) == two.id
    argv = exec_start(units(home) / "edgefreeze-recover.service")
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd="/", timeout=60)
    assert f"cam: went back from the trial of {two.id}" in done.stdout
    assert look.current(root) == one.id
    assert subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout == b""


def test_an_app_that_cannot_be_put_right_does_not_keep_the_others(
    start: Any, made: Any, home: Path, root: Path, look: Any, tmp_path: Path
) -> None:
    helper, one, two = start(root=root), made(content=b"one"), made(content=b"two")
    helper.ask("recover_at_boot", {"keep": True})
    one.stage(helper)
    switch(helper, one)
    two.stage(helper)
    helper.ask("activate", dict(two.named, allow_unverified=True, trial=True))
    helper.process.kill()
    helper.process.wait()
    (root / "apps/aaa").mkdir()
    (root / "apps/aaa/lock").symlink_to("/dev/null")
    argv = exec_start(units(home) / "edgefreeze-recover.service")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "aaa: " in done.stdout
    assert look.current(root) == one.id


def test_the_unit_runs_the_helper_that_last_changed_an_app(
    start: Any, made: Any, home: Path, root: Path, program: Path
) -> None:
    start(root=root).ask("recover_at_boot", {"keep": True})
    copy = root / "helper/recover.pyz"
    copy.write_bytes(b"an older helper")
    start(root=root).ask("status")
    assert copy.read_bytes() == b"an older helper"  # looking changes nothing
    made().stage(start(root=root))
    assert copy.read_bytes() == program.read_bytes()
    copy.unlink()
    start(root=root).ask("open_app", {"app": "dog", "who": "me", "mode": "write"})
    assert not copy.exists()  # what nobody asked for is not put there
    assert start(root=root).ask("status")["boot"]["lacks"] == [str(copy)]


def test_what_stands_in_the_unit_and_is_gone_is_told(start: Any, home: Path, root: Path) -> None:
    helper = start(root=root)
    helper.ask("recover_at_boot", {"keep": True})
    file = units(home) / "edgefreeze-recover.service"
    whole = file.read_text()
    file.write_text(whole.replace(sys.executable, "/usr/bin/python2.1"))
    assert helper.ask("status")["boot"]["lacks"] == ["/usr/bin/python2.1"]
    file.write_text("[Service]\n")
    assert helper.ask("status")["boot"]["lacks"] == ["ExecStart="]
    (units(home) / "default.target.wants/edgefreeze-recover.service").unlink()
    assert helper.ask("status")["boot"]["enabled"] is False
    found = helper.ask("recover_at_boot", {"keep": True})
    assert (found["changed"], found["enabled"], found["lacks"]) == (True, True, [])
    assert file.read_text() == whole


def test_a_root_folder_elsewhere_has_a_unit_of_its_own(start: Any, home: Path, tmp_path: Path) -> None:
    one = start(root=home / ".edgefreeze").ask("recover_at_boot", {"keep": True})
    two = start(root=tmp_path / "card").ask("recover_at_boot", {"keep": True})
    assert one["unit"] != two["unit"]
    assert exec_start(Path(two["unit"]))[-1] == str(tmp_path / "card")
    start(root=tmp_path / "card").ask("purge", {"who": "me"})
    assert sorted(p.name for p in units(home).glob("*.service")) == ["edgefreeze-recover.service"]


def test_a_purge_takes_the_unit_along(start: Any, home: Path, root: Path) -> None:
    helper = start(root=root)
    helper.ask("recover_at_boot", {"keep": True})
    helper.ask("purge", {"who": "me"})
    assert helper.close() == 0
    assert list(home.iterdir()) == []


def test_it_is_removed_and_what_is_others_stays(start: Any, home: Path, root: Path) -> None:
    units(home).mkdir(parents=True)
    (units(home) / "doorbell.service").write_text("[Service]\n")
    helper = start(root=root)
    helper.ask("recover_at_boot", {"keep": True})
    found = helper.ask("recover_at_boot", {"keep": False})
    assert (found["unit"], found["enabled"], found["changed"]) == (None, False, True)
    assert [p.name for p in units(home).iterdir()] == ["doorbell.service"]
    assert not (root / "helper/recover.pyz").exists()
    assert helper.ask("recover_at_boot", {"keep": False})["changed"] is False


def test_a_configuration_that_lies_elsewhere_is_followed(
    start: Any, home: Path, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "dotfiles").mkdir()
    (home / ".config").symlink_to(tmp_path / "dotfiles")
    assert start(root=root).ask("recover_at_boot", {"keep": True})["enabled"] is True
    assert (tmp_path / "dotfiles/systemd/user/edgefreeze-recover.service").is_file()


def test_a_path_that_no_unit_can_hold(start: Any, home: Path, tmp_path: Path) -> None:
    helper = start(root=tmp_path / "two\nlines")
    error = helper.refuse("recover_at_boot", {"keep": True})
    assert error["code"] == "store-io"
    assert "such characters" in error["message"]
    assert list(home.iterdir()) == []
    with pytest.raises(ValueError, match="no program"):
        unit.text(["/opt/$x/python3"])


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_what_is_written_is_what_is_read(words: list[str]) -> None:
    try:
        text = unit.text(words)
    except ValueError:
        assert "$" in words[0] or not all(word.isprintable() for word in words)
        return
    assert unit.command(text) == words

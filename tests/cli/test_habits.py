"""Completion in real shells; output in a pipe, on a narrow terminal, without colours."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgefreeze.benchmark import store
from edgefreeze.cli import main
from tests.benchmark.made import made

pytestmark = pytest.mark.process

TARGETS = {"pi3", "pi4", "pi5", "pi-32"}
ASK = {
    # What each shell is asked: what could come after "edgefreeze dep" and "edgefreeze deploy -t pi".
    "bash": """
source "$SCRIPT"
complete -p edgefreeze > /dev/null || exit 3
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _edgefreeze_completion edgefreeze; echo "${COMPREPLY[@]}"; }
try edgefreeze dep
try edgefreeze deploy -t pi
try edgefreeze deploy --cold
""",
    "zsh": """
compdef() { :; }  # what compinit would bring; the functions that would show it print it here
_describe() { print -- ${${(P)3}%%:*}; }
compadd() { print -- ${(P)argv[-1]}; }
source "$SCRIPT"
try() { words=("$@"); CURRENT=$#; _edgefreeze_completion; }
try edgefreeze dep
try edgefreeze deploy -t pi
try edgefreeze deploy --cold
""",
    "fish": """
source "$SCRIPT"
complete -C "edgefreeze dep" | string replace -r "\\t.*" "" | string join " "
complete -C "edgefreeze deploy -t pi" | string replace -r "\\t.*" "" | string join " "
complete -C "edgefreeze deploy --cold" | string replace -r "\\t.*" "" | string join " "
true
""",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which there is an edgefreeze."""
    program = tmp_path / "bin" / "edgefreeze"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgefreeze "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_targets(
    shell: str, tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"the shell {shell} is not installed")
    script = tmp_path / "completions" / f"edgefreeze.{shell}"
    assert main.run(["completion", shell, "-o", str(script)]) == 0
    assert capsys.readouterr().out == ""
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "SCRIPT": str(script)}
    done = subprocess.run(
        [shell, "-c", ASK[shell]], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    commands, targets, options = (line.split() for line in done.stdout.splitlines() if line.strip())
    assert commands == ["deploy"]
    assert set(targets) >= TARGETS
    assert all(name.startswith("pi") for name in targets)
    assert options == ["--cold-starts"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also on a machine that has none of the three."""
    assert main.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_EDGEFREEZE_COMPLETE={shell}_complete" in script
    assert main.run(["completion", "tcsh"]) == 2


def shown(*arguments: str, terminal: bool, **environment: str) -> str:
    """What the command prints, to a terminal of its own or into a pipe."""
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", **environment}
    command = [sys.executable, "-m", "edgefreeze", *arguments]
    if not terminal:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True,
                              check=False).stdout  # fmt: skip
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is gone
                break
            if not part:
                break
            parts.append(part)
        process.wait()
    os.close(ours)
    return b"".join(parts).decode()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A result of a benchmark."""
    path = tmp_path_factory.mktemp("results") / "result.json"
    path.write_text(store.encode(made(saved_model=10.0, tflite=4.0, onnx=5.0)))
    return str(path)


@pytest.mark.parametrize("arguments", [("results", "show", "RESULT"), ("deplyo",)])
def test_a_terminal_has_colours_and_a_pipe_or_no_color_has_none(
    arguments: tuple[str, ...], stored: str
) -> None:
    arguments = tuple(word.replace("RESULT", stored) for word in arguments)
    escapes = re.compile(r"\x1b\[[0-9;]*m")
    coloured = shown(*arguments, terminal=True)
    assert escapes.search(coloured)
    plain = shown(*arguments, terminal=True, NO_COLOR="1")
    # Bold and dim are no colours, and rich keeps them; text is the same.
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38)(?:;\d+)*m", plain)
    piped = shown(*arguments, terminal=False)
    assert "\x1b" not in piped
    assert escapes.sub("", coloured).split() == escapes.sub("", plain).split()


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_narrow_terminal_breaks_lines_and_loses_nothing(stored: str, columns: int) -> None:
    """A table's words are never cut: where they do not fit beside each other, a row is a few lines."""
    words = set(shown("results", "show", stored, terminal=False, COLUMNS="400").split())
    assert {"saved_model", "4.122", "(0.39–0.40)", "SavedModel", "120.0", "baseline"} <= words
    narrow = shown("results", "show", stored, terminal=False, COLUMNS=str(columns))
    # The head of the first column is not repeated where each row is a few lines.
    assert {word for word in words - {"artifact"} if not set(word) <= set("─")} <= set(narrow.split())
    assert max(len(line) for line in narrow.splitlines() if "interleaved" not in line) <= max(columns, 53)


def test_help_and_errors_are_whole_on_a_narrow_terminal() -> None:
    help_text = shown("--help", terminal=False, COLUMNS="40")
    assert max(map(len, help_text.splitlines())) <= 50, "click's least width"
    assert all(re.search(rf"^  {name}\b", help_text, re.MULTILINE) for name in main.COMMANDS)
    assert "Did you mean 'deploy'?" in shown("deplyo", terminal=False, COLUMNS="40")


def test_a_pipe_gets_whole_lines(stored: str) -> None:
    rows = shown("results", "show", stored, terminal=False).splitlines()
    (row,) = [line for line in rows if line.lstrip().startswith("tflite")]
    assert {"3.988", "4.122", "0.40", "(0.39–0.40)", "faster"} <= set(row.split())
    assert "…" not in "".join(rows)


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("edgefreeze trust add KEY.pub", "edgefreeze trust add KEY.pub --host cam1"),
        ("edgefreeze status", "edgefreeze status --host cam1"),
        ("edgefreeze status --host cam2", "edgefreeze status --host cam2"),
        ("edgefreeze devices remove x, or another name", "edgefreeze devices remove x, or another name"),
        ("the same command again", "the same command again"),
        ("edgefreeze nonsense", "edgefreeze nonsense"),
    ],
)
def test_the_next_command_is_for_the_device_that_this_one_was_for(text: str, completed: str) -> None:
    assert main._to_host(text, "cam1") == completed


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["targets", "show", "nope"], "targets show"),
        (["devices"], "devices"),
        (["devices", "list"], "devices"),
        (["devices", "add", "x", "y"], "devices add"),
        (["status", "--host", "x"], "status"),
        (["bogus"], ""),
        (["results", "bogus"], "results"),
    ],
)
def test_an_error_names_the_command_as_its_document_does(arguments: list[str], name: str) -> None:
    assert main._named(arguments) == name


def test_an_error_is_told_on_stderr_beside_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["targets", "show", "nope", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["command"] == "targets show"
    assert "[target-unknown]" in err


def edgefreeze_in(shell: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m edgefreeze"
    script = shell.replace("edgefreeze", command, 1)
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.process
def test_an_output_that_takes_nothing_is_no_defect() -> None:
    closed = edgefreeze_in("edgefreeze targets list >&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    full = edgefreeze_in("edgefreeze targets list --json >/dev/full")
    assert full.returncode == 1
    assert "No space left on device  [host-io]" in full.stderr
    assert "Traceback" not in full.stderr
    gone = edgefreeze_in("edgefreeze targets schema | true; exit ${PIPESTATUS[0]}")
    assert (gone.returncode in (0, 130), gone.stderr) == (True, "")
    table = edgefreeze_in("edgefreeze devices 2>&1 | true; exit ${PIPESTATUS[0]}")
    assert table.returncode in (0, 130)

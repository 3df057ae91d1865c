"""Every command line in the documentation is one that edgefreeze, make or the lab would take."""

from __future__ import annotations

import contextlib
import importlib
import re
from pathlib import Path

import click
import pytest

from edgefreeze.cli.main import cli, run

from .pages import ROOT, Command, commands

OTHERS = {"dot", "apt", "mmdebstrap", "echo", "export", "pip", "python3", "ssh", "ssh-copy-id"}
"""Programs that are not ours: their lines are not checked further."""
OFFLINE = {
    ("init",),
    ("targets", "list"),
    ("targets", "show"),
    ("targets", "check"),
    ("--help",),
    ("--version",),
}


def edgefreeze(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The arguments of an edgefreeze command, None of another program's."""
    return words[1:] if Path(words[0]).name == "edgefreeze" else None


ALL = commands()
OURS = [c for c in ALL if edgefreeze(c.words) is not None]
QUICK = [
    c
    for c in OURS
    if any(c.words[1 : 1 + len(start)] == start for start in OFFLINE) or c.words[-1] in ("--help", "-h")
]


def parse(arguments: tuple[str, ...]) -> None:
    """Parse as click would, without running anything. Raises click.UsageError."""
    command: click.Command = cli
    context: click.Context | None = None
    rest, name = list(arguments), "edgefreeze"
    with contextlib.suppress(click.exceptions.Exit):  # --help and --version end the parsing
        while isinstance(command, click.Group):
            context = command.make_context(name, rest, parent=context)
            if command.invoke_without_command and not [*context._protected_args, *context.args]:
                return
            found, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert inner is not None
            command, name = inner, str(found)
        command.make_context(name, rest, parent=context)


def test_there_are_commands_to_check() -> None:
    assert len(OURS) > 30
    assert len(QUICK) > 4
    assert any(c.output for c in OURS)


@pytest.mark.parametrize("command", OURS, ids=str)
def test_edgefreeze_takes_it(command: Command) -> None:
    arguments = edgefreeze(command.words)
    assert arguments is not None
    parse(arguments)


@pytest.mark.parametrize(
    "arguments", [("deploi",), ("deploy", "--hots", "x"), ("freeze", "m"), ("targets", "lst")]
)
def test_what_it_does_not_take_is_noticed(arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        parse(arguments)


@pytest.mark.parametrize("command", QUICK, ids=str)
def test_what_needs_no_device_runs(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And prints what the page shows, where it shows something."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "my-targets").mkdir()
    board = (ROOT / "targets" / "pi4.toml").read_text(encoding="utf-8")
    (tmp_path / "my-targets" / "door-camera.toml").write_text(board, encoding="utf-8")
    arguments = edgefreeze(command.words)
    assert arguments is not None
    assert run(list(arguments)) == 0
    printed = capsys.readouterr().out.splitlines()
    if command.output:
        assert [line.rstrip() for line in printed] == [line.rstrip() for line in command.output]


@pytest.mark.parametrize("command", [c for c in ALL if edgefreeze(c.words) is None], ids=str)
def test_other_commands_are_there(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = command.words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets), command
    elif program in ("python", ".venv/bin/python"):
        if arguments[0] != "-m":
            assert (ROOT / arguments[0]).is_file(), command
    elif program == "docker/lab":
        monkeypatch.syspath_prepend(str(ROOT / "docker"))
        importlib.import_module("labkit.cli")._parser().parse_args(arguments)
    elif program.startswith(("./", ".ci/")):
        assert (ROOT / program).is_file(), command
    else:
        assert Path(program).name in OTHERS, command


def test_every_option_of_every_command_is_on_its_page() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = dict(
        re.findall(r"^## (edgefreeze [a-z -]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    )

    def check(group: click.Group, path: str) -> int:
        context, count = click.Context(group), 0
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                count += check(command, f"{path} {name}")
                continue
            section = sections[f"{path} {name}"]
            for parameter in command.params:
                for option in parameter.opts if isinstance(parameter, click.Option) else ():
                    assert f"`{option}`" in section, f"{path} {name} {option}"
                    count += 1
        return count

    assert check(cli, "edgefreeze") > 50

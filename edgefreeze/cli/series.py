"""edgefreeze series: several commands in one process, over one connection to each device."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from edgefreeze.cli import main
from edgefreeze.errors import Failure


@click.command(
    "series",
    epilog="Example:  printf 'deploy m/ --host cam1 --no-bench\\nstatus --host cam1\\n' | edgefreeze series",
)
@click.argument("file", type=click.Path(allow_dash=True), default="-")
@click.option("--keep-going", is_flag=True, help="Go on after a command that fails.")
def command(file: str, keep_going: bool) -> int:
    """Run the commands of FILE, or of stdin, a line each and without the word edgefreeze.

    A connection stays open between them: each but the first costs no log-in, and nobody else can change an
    app that one of them has changed until all are done. Lines that are empty or begin with # are passed over.
    Words are split as a shell would, and nothing is expanded. The first command that fails ends the series,
    and its exit status is the whole's. --json belongs to a line's own command.
    """
    from edgefreeze.transport.client import held_open

    status = 0
    with held_open():
        for number, line in enumerate(_lines(file), 1):
            status = _one(line, f"{file}, line {number}") or status
            if status and not keep_going:
                break
    return status


def _lines(file: str) -> Iterable[str]:
    if file == "-":
        return sys.stdin
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure("usage", f"{file} cannot be read: {error}", expected="a file of commands") from None


def _one(line: str, where: str) -> int:
    """Run a line's command; its exit status."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise Failure("usage", f"{where}: {error}", expected="a command", found=line.strip()) from None
    if not words:
        return 0
    if words[0] == "series":
        raise Failure("usage", f"{where}: a series in a series")
    click.echo(f"$ edgefreeze {shlex.join(words)}", err=True)
    return main.run(words)

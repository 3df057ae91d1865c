"""How results and errors are shown: data to stdout, everything else to stderr, JSON where asked for."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from edgefreeze import errors, logs
from edgefreeze.errors import Failure
from edgefreeze.text import clean

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
_OF_FILES = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}
"""Errors that only files have, and that do not always say which."""


def forget_stdout() -> None:
    """Keep the interpreter from complaining, when it ends, of an output that takes no more."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def document(command: str, fields: Mapping[str, object]) -> None:
    """Print a --json document of a command that succeeded."""
    _print({"schema": SCHEMA, "command": command, "ok": True, **fields})


def _print(value: dict[str, Any]) -> None:
    import msgspec

    # JSON has no NaN and no infinity; msgspec writes null for them, json what not every reader takes.
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console(*, stderr: bool = False) -> Console:
    """A rich console that heeds NO_COLOR, pipes and narrow terminals."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            """As for what click prints; rich's own would end with status 1."""
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    # In a pipe rich would take 80 columns and break lines that a script or a log wants whole.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Piped(stderr=stderr, highlight=False, soft_wrap=not stream.isatty(), width=width)


def fail(
    error: BaseException,
    *,
    command: str,
    as_json: bool,
    debug: bool,
    complete: Callable[[str], str] = lambda text: text,
) -> int:
    """Show an error; returns the exit status. complete: puts into the next command what belongs to it."""
    if isinstance(error, BrokenPipeError):
        forget_stdout()
        return errors.INTERRUPTED  # whoever read it has seen enough, and is told no more
    failure = _as_failure(error)
    if failure is None:
        return 0
    failure.next = complete(failure.next) if failure.next else None
    log = _logged(failure, error)
    if as_json:
        head = {"schema": SCHEMA, "command": command, "ok": False}
        try:
            _print({**head, **failure.fields, "error": failure.as_json(), "log": log})
        except OSError:  # what failed may be just this
            forget_stdout()
    # The log of a CI job, where the document goes into a file, says what failed all the same.
    click.echo(text_of(failure, log), err=True)
    if debug:
        if failure.detail:
            click.echo(clean_lines(failure.detail), err=True)
        if failure.code not in ("usage", "interrupted"):
            traceback.print_exception(error, file=sys.stderr)
    return failure.exit_status


def _logged(failure: Failure, error: BaseException) -> str | None:
    """Keep the error in the run's log; the log's path. None where the run had not begun to do anything, but
    for a defect of edgefreeze."""
    log = logs.current
    if log.path is None and failure.code != "internal":
        return None
    log.line(f"error: {failure.message}  [{failure.code}]")
    for name in ("expected", "found", "device_state", "detail"):
        for line in str(getattr(failure, name) or "").splitlines():
            log.line(f"{name}: {line}")
    if failure.code == "internal":
        for line in "".join(traceback.format_exception(error)).splitlines():
            log.line(line)
    return None if log.path is None else str(log.path)


def _as_failure(error: BaseException) -> Failure | None:
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.exceptions.Exit):
        return None if error.exit_code == 0 else Failure("usage", f"exit {error.exit_code}")
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Failure("usage", "a command is missing", next="edgefreeze --help")
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "edgefreeze"
        return Failure("usage", error.format_message(), next=f"{where} --help")
    if isinstance(error, click.ClickException):
        return Failure("usage", error.format_message())
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Failure(
            "interrupted",
            "interrupted",
            device_state=getattr(error, "device_state", None),
            retry_safe=True,
            next="the same command again",
        )
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_FILES):
        what = "what is written" if error.filename is None else clean(os.fsdecode(error.filename), 500)
        return Failure(
            "host-io",
            f"{what}: {clean(error.strerror or str(error), 200)}",
            found=f"{type(error).__name__}, in a file of this machine",
            retry_safe=True,
        )
    subprocess = sys.modules.get("subprocess")  # who waited for a program has imported it
    if subprocess is not None and isinstance(error, subprocess.TimeoutExpired):
        program = error.cmd if isinstance(error.cmd, str) else error.cmd[0]
        return Failure(
            "host-program",
            f"{clean(os.fsdecode(program), 200)} did not end within {error.timeout:g} s",
            retry_safe=True,
        )
    return Failure(
        "internal",
        f"a defect of edgefreeze: {type(error).__name__}: {clean(str(error), 500)}",
        next="the same command with --debug, and report what it prints",
    )


def text_of(failure: Failure, log: str | None = None) -> str:
    """An error for a terminal: what failed, then what was expected and found, and what to type next."""
    from click import style as styled

    def style(text: str, **how: Any) -> str:
        # click takes colours out where the output is no terminal, and does not know NO_COLOR.
        return text if os.environ.get("NO_COLOR") else styled(text, **how)

    lines = [
        style("error", fg="red", bold=True)
        + f": {clean(failure.message, 1500)}  "
        + style(f"[{failure.code}]", dim=True)
    ]
    retry = {True: "safe to try again", False: "not before the cause is mended", None: None}[
        failure.retry_safe
    ]
    rows = (
        ("expected", failure.expected),
        ("found", failure.found),
        ("device", failure.device_state),
        ("retry", retry),
        ("cure", None if failure.next else errors.CODES[failure.code].cure),
        ("next", failure.next),
        ("log", log),
    )
    for label, value in rows:
        if value:
            first, *more = clean_lines(value).splitlines() or [""]
            lines.append(f"  {label:<9} {first}")
            lines += [f"            {line}" for line in more]
    return "\n".join(lines)


def clean_lines(text: str) -> str:
    """Text of several lines, each fit for a terminal."""
    return "\n".join(clean(line, 1000) for line in text.splitlines())

"""The entrance: which commands there are, how errors become text or JSON, and the exit status.

Commands are imported when they are called, so that --help answers in a blink.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
from typing import Any

import click

from edgefreeze import __version__

COMMANDS = {
    "init": "Write an edgefreeze.toml to start from.",
    "doctor": "What is wrong with a device, before it costs a trip.",
    "deploy": "Freeze, prove, ship, prove again, measure, and make active.",
    "prepare": "Bring the runtimes to a board, before the day in the field.",
    "build": "Make a proved release for a kind of board, without a device.",
    "freeze": "Freeze a model into one .pb and prove it equal.",
    "export": "Convert a model to one format and prove it equal.",
    "inspect": "What is in a model, and what it would become on a board.",
    "verify": "Whether two models, artifacts or releases compute the same.",
    "bisect": "The first node at which two models part.",
    "devices": "The devices of edgefreeze.toml: which answer, and what they run.",
    "device": "One device as a whole: take everything off it.",
    "bench": "Measure a model, a release or what runs on a device, without changing it.",
    "compare": "Results of two releases, devices or dates beside each other.",
    "results": "Results that were kept, with every raw sample.",
    "status": "What a device runs.",
    "run": "Infer on the device with the active release.",
    "rollback": "Return a device to the release before.",
    "pin": "Keep a release on a device, whatever comes after it.",
    "unpin": "Let a pinned release go with the others.",
    "history": "What happened on a device, oldest first.",
    "trust": "Whose releases a device takes.",
    "release": "A release as one file, for a USB stick.",
    "series": "Several commands over one connection.",
    "targets": "The kinds of boards that are known.",
    "completion": "A script that completes commands and options in bash, zsh or fish.",
    "bug-report": "Facts for a report of a defect, without names, addresses and paths.",
}
"""Every command with its short help: the list must not cost an import."""


class NobodyReadsError(Exception):
    """Whoever read the output went away. Not a BrokenPipeError, of which click makes exit status 1."""


class Lazy(click.Group):
    """A group whose commands stand in files of this folder, under their names."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises NobodyReadsError."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise NobodyReadsError from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a deployment, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's file."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgefreeze.cli.{name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with the nearest command where there is none of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from edgefreeze.errors import nearest

            near = nearest(args[0], list(COMMANDS))
            hint = f" Did you mean '{near}'?" if near else ""
            raise click.UsageError(f"There is no command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without importing any of it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _versions(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    """edgefreeze's version, and those of what is installed of its stack, without importing any of it."""
    if not wanted or ctx.resilient_parsing:
        return
    from edgefreeze import stack

    click.echo(f"edgefreeze, version {__version__}")
    for package, version in stack.versions().items():
        click.echo(f"  {package} {version}")
    ctx.exit()


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example:  edgefreeze deploy saved_model/ --target pi4 --host pi@cam1",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_versions,
    help="Show the versions of edgefreeze and of what it works with, and exit.",
)
def cli() -> None:
    """Deploy a trained TensorFlow model to an edge board, and prove it there.

    The model is frozen for the board, compared with the original, shipped over SSH, compared again on the
    board, measured there against the SavedModel, and made active; or the board is left as it was.
    """


def _named(arguments: list[str]) -> str:
    """The command's whole name, as in its --json document: "devices add"."""
    first = next((i for i, a in enumerate(arguments) if a in COMMANDS), None)
    if first is None:
        return ""
    name = arguments[first]
    with contextlib.suppress(Exception):  # a command that cannot be imported fails where it is run
        group = cli.get_command(click.Context(cli), name)
        if isinstance(group, click.Group):
            inner = next((a for a in arguments[first + 1 :] if a in group.commands), "")
            return f"{name} {inner}".rstrip() if (name, inner) != ("devices", "list") else name
    return name


def _host(arguments: list[str]) -> str | None:
    """What --host was given."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == "--host":
            return following
        if argument.startswith("--host="):
            return argument.partition("=")[2]
    return None


def _to_host(text: str, host: str) -> str:
    """A next command for the device that this one was for: without --host it would be another's."""
    words = text.split()
    if words[:1] != ["edgefreeze"] or "--host" in words:
        return text
    found: click.Command | None = cli
    for word in words[1:3]:
        inner = found.get_command(click.Context(found), word) if isinstance(found, click.Group) else None
        found = inner or found
    takes = found is not None and any("--host" in param.opts for param in found.params)
    return f"{text} --host {shlex.quote(host)}" if takes else text


def _flush() -> None:
    """What is printed is out, or that is an error as any other."""
    try:
        sys.stdout.flush()
    except OSError:
        from edgefreeze.cli import output

        output.forget_stdout()
        raise


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status. Everything that goes wrong ends here."""
    from edgefreeze import logs
    from edgefreeze.cli import output

    # Known before click has parsed anything, so that a usage error is JSON too where JSON was asked for.
    rest = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json, debug = "--json" in rest, "--debug" in rest
    command = _named(rest)
    log = logs.begin(command.partition(" ")[0], arguments)
    status = 1
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - as long as the process
    try:
        result: Any = cli.main(args=arguments, prog_name="edgefreeze", standalone_mode=False)
        status = result if isinstance(result, int) else 0
        _flush()
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if isinstance(error, NobodyReadsError):
            error = BrokenPipeError()
        host = _host(rest)
        status = output.fail(
            error,
            command=command,
            as_json=as_json,
            debug=debug,
            complete=lambda text: _to_host(text, host) if host else text,
        )
    finally:
        log.end(status)
    return status

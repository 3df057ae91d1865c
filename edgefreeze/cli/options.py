"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgefreeze import inventory, project, targets

F = TypeVar("F", bound=Callable[..., Any])


class Rate(click.ParamType[int]):
    """Bytes a second: "800", "200k", "1.5M"; decimal units."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Raises click.BadParameter below 1 kB a second, over which no deployment ends."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(?:[bB](?:/s)?)?", str(value).strip())
        if not match:
            self.fail(f"{value!r} is no rate, such as 200k or 1.5M", param, ctx)
        number = int(float(match[1]) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()])
        if number < 1000:
            self.fail(f"{value!r} is less than 1 kB a second", param, ctx)
        return number


rate_option = click.option(
    "--limit-rate", "rate", type=Rate(), help="Send at most so much a second: 200k, 1.5M (bytes)."
)


def output_options(function: F) -> F:
    """--json, --quiet, --debug."""
    function = click.option("--debug", is_flag=True, help="Show tracebacks and the far side's logs.")(
        function
    )
    function = click.option("-q", "--quiet", is_flag=True, help="No progress, only the result.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")(
        function
    )


def _target_option(function: F) -> F:
    return click.option(
        "-t",
        "--target",
        metavar="TARGET",
        help="The kind of board (edgefreeze targets list). Default: edgefreeze.toml's, or x86.",
        shell_complete=_complete_target,
    )(function)


def counts(most: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...]]:
    """A callback for a list of whole numbers from 1 on, such as 1,2,4: each once, in the order given."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
        parts = [] if value is None else [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and 1 <= int(part) <= most for part in parts):
            raise click.BadParameter(
                f"{value!r} is no list of numbers from 1 to {most}, such as 1,2,4", ctx, param
            )
        return tuple(dict.fromkeys(int(part) for part in parts))

    return callback


def names_callback(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Names given once each, or several joined by commas."""
    return tuple(name.strip() for given in value for name in given.split(",") if name.strip())


_SIDES = (
    click.option("--signature", metavar="NAME", help="The signature of both, where they have several."),
    click.option("--format", "format_name", metavar="FORMAT", help="Which artifact of a release folder."),
    click.option(
        "--outputs",
        metavar="NAME,…",
        multiple=True,
        callback=names_callback,
        help="Outputs of a graph that names none: node or node:i.",
    ),
    click.option(
        "--inputs",
        metavar="NAME,…",
        multiple=True,
        callback=names_callback,
        help="Inputs of a graph that names none: node or node:i.",
    ),
    click.option("--trust", is_flag=True, help="Let code run that a model brings (Lambda layers, pickles)."),
)


def side_options(function: F) -> F:
    """What two models that are compared are: --signature, --format, --outputs, --inputs, --trust."""
    for option in reversed(_SIDES):
        function = option(function)
    return function


def device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--target, --host, --targets; the command gets them resolved, as `where`."""

    @_target_option
    @click.option(
        "--host", metavar="HOST", help="A device of edgefreeze.toml, an ssh alias, user@host or host:port."
    )
    @targets_option
    @functools.wraps(function)
    def call(
        *args: Any, target: str | None, host: str | None, targets_folder: Path | None, **kwargs: Any
    ) -> Any:
        return function(*args, where=project.where(inventory.load(), target, host, targets_folder), **kwargs)

    return call


def on_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--on, --target, --targets of a command that may do its work on a device; it gets the device resolved,
    as `on`, or None where none is asked for."""

    @click.option(
        "--on",
        "host",
        metavar="HOST",
        help="Run A on this device: one of edgefreeze.toml, an ssh alias, user@host or host:port.",
    )
    @_target_option
    @targets_option
    @functools.wraps(function)
    def call(
        *args: Any, host: str | None, target: str | None, targets_folder: Path | None, **kwargs: Any
    ) -> Any:
        return function(*args, on=project.place(inventory.load(), target, host, targets_folder), **kwargs)

    return call


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--target, --targets where no device is asked for; the command gets `config` and `target`."""

    @_target_option
    @targets_option
    @functools.wraps(function)
    def call(*args: Any, target: str | None, targets_folder: Path | None, **kwargs: Any) -> Any:
        config = inventory.load()
        found = project.target(config, target, targets_folder)
        return function(*args, config=config, target=found, **kwargs)

    return call


def targets_option(function: F) -> F:
    """--targets."""
    return click.option(
        "--targets",
        "targets_folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="A folder with targets of your own.",
    )(function)


def app_option(function: F) -> F:
    """--app."""
    return click.option("-a", "--app", metavar="NAME", help="The application. Default: edgefreeze.toml's.")(
        function
    )


def wheels_option(function: F) -> F:
    """--wheels."""
    return click.option(
        "--wheels",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Put runtimes together from the packages (.whl, .deb) in DIR, without a network.",
    )(function)


def sign_option(function: F) -> F:
    """--sign."""
    return click.option(
        "--sign",
        metavar="KEY",
        type=click.Path(path_type=Path),
        help="Sign the release with this SSH key. Default: edgefreeze.toml's; without one, unsigned.",
    )(function)


def _complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in targets.names() if name.startswith(incomplete)]


def may_ask() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and not os.environ.get("CI")


def ask(prompt: str) -> str | None:
    """Ask for a secret on the terminal; None where there is nobody to ask."""
    if not may_ask():
        return None
    import getpass

    return getpass.getpass(prompt)

"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgefreeze import inventory, targets
from edgefreeze.errors import Failure
from edgefreeze.inventory import Config, Device, Service
from edgefreeze.targets import Target

if TYPE_CHECKING:
    from edgefreeze.runtimes import Sources

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TARGET = "x86"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What --target, --host, --targets and edgefreeze.toml lead to."""

    config: Config
    target: Target
    device: Device
    folders: tuple[Path, ...] = ()
    """Where targets were looked for, before those that edgefreeze brings."""

    @property
    def service(self) -> Service | None:
        """How the application there is told of a switch: as the device's entry says, else edgefreeze.toml's
        [service], else the target's."""
        listed = self.config.devices.get(self.device.name)
        return (listed and listed.service) or self.config.service or self.target.service


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
        config = inventory.load()
        found, device = resolve(config, target, host, targets_folder)
        places = folders(config, targets_folder)
        return function(
            *args, where=Where(config=config, target=found, device=device, folders=places), **kwargs
        )

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
        where = None
        if host is not None:
            config = inventory.load()
            found, device = resolve(config, target, host, targets_folder)
            where = Where(config=config, target=found, device=device)
        elif target is not None:
            raise Failure("usage", "--target says what kind of board the device of --on is", next="--on HOST")
        return function(*args, on=where, **kwargs)

    return call


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--target, --targets where no device is asked for; the command gets `config` and `target`."""

    @_target_option
    @targets_option
    @functools.wraps(function)
    def call(*args: Any, target: str | None, targets_folder: Path | None, **kwargs: Any) -> Any:
        config = inventory.load()
        name = target or config.target or DEFAULT_TARGET
        found = targets.load(name, folders(config, targets_folder))
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


def sources(config: Config, wheels: Path | None = None, *, upgrade: bool = False) -> Sources:
    """Where the runtimes' packages come from, by edgefreeze.toml and the options. Raises Failure
    config-value where a folder is not there."""
    from edgefreeze.runtimes import Sources, lock

    folder = wheels or (config.path(config.wheels) if config.wheels else None)
    if folder is not None and not folder.is_dir():
        raise Failure("config-value", f"{folder}: no such folder of packages", found=str(folder))
    project = Path(config.folder) / inventory.FILE
    return Sources(
        wheels=folder,
        lock=project.with_name(lock.FILE) if project.exists() else None,
        upgrade=upgrade,
        mirror=config.debian_mirror,
    )


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


def folders(config: Config, extra: Path | None) -> tuple[Path, ...]:
    """Where targets are looked for. Raises Failure config-value where the folder is not there."""
    if extra is not None and not extra.is_dir():
        raise Failure("config-value", f"--targets {extra}: no such folder", found=str(extra))
    return (*((extra,) if extra else ()), *config.target_folders)


def resolve(
    config: Config, target: str | None, host: str | None, targets_folder: Path | None
) -> tuple[Target, Device]:
    """The target and the device that the options and edgefreeze.toml lead to."""
    entry = config.devices.get(host) if host else None
    only = next(iter(config.devices.values())) if len(config.devices) == 1 and host is None else None
    name = (
        target
        or (entry.target if entry else None)
        or config.target
        or (only.target if only else DEFAULT_TARGET)
    )
    found = targets.load(name, folders(config, targets_folder))
    device = inventory.choose(config, name, found.transport, host)
    listed = config.devices.get(device.name)
    if listed and listed.overrides:
        place = f"{inventory.FILE}: devices.{device.name}"
        found = targets.overridden(found, listed.overrides, place)
    if entry and target and entry.target != target:
        raise Failure(
            "device-mismatch",
            f"device '{host}' is a {entry.target} in {inventory.FILE}, not a {target}",
            expected=entry.target,
            found=target,
            next=f"the same command with --target {entry.target}",
        )
    # The board's own interpreter, where the target or the inventory names one, runs helper and models alike.
    return found, replace(device, python=device.python or found.python)


def may_ask() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and not os.environ.get("CI")


def ask(prompt: str) -> str | None:
    """Ask for a secret on the terminal; None where there is nobody to ask."""
    if not may_ask():
        return None
    import getpass

    return getpass.getpass(prompt)


def app_name(given: str | None, config: Config, model: Path | None = None) -> str:
    """The app's name: given, edgefreeze.toml's, or made of the model's. Raises Failure name-invalid."""
    if given:
        return inventory.check_name(given, "--app")
    if config.app:
        return config.app
    if model is None:
        raise Failure("usage", "which app?", expected="--app NAME, or app = … in edgefreeze.toml")
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in model.resolve().stem).strip("-")
    return inventory.check_name(name[:64] or "model", "the app, named after the model")

"""What was not said, at the command line or in Python, is edgefreeze.toml's: model, target, device, app and
where packages come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgefreeze import inventory, targets
from edgefreeze.errors import Failure
from edgefreeze.inventory import Config, Device, Service
from edgefreeze.targets import Target

if TYPE_CHECKING:
    from edgefreeze.conversion import Options
    from edgefreeze.runtimes import Sources

DEFAULT_TARGET = "x86"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What is to be worked on: what was said, and edgefreeze.toml, lead to it."""

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


def folders(config: Config, extra: Path | None) -> tuple[Path, ...]:
    """Where targets are looked for. Raises Failure config-value where the folder is not there."""
    if extra is not None and not extra.is_dir():
        raise Failure("config-value", f"--targets {extra}: no such folder", found=str(extra))
    return (*((extra,) if extra else ()), *config.target_folders)


def target(config: Config, wanted: str | Target | None, extra: Path | None) -> Target:
    """The target that is asked for, else edgefreeze.toml's, else this machine's. Raises Failure
    target-unknown, config-*."""
    if isinstance(wanted, Target):
        return wanted
    return targets.load(wanted or config.target or DEFAULT_TARGET, folders(config, extra))


def where(
    config: Config, wanted: str | Target | None, host: str | Device | None, extra: Path | None = None
) -> Where:
    """The device and its target. host: a device of edgefreeze.toml, an SSH destination, or one made
    elsewhere; extra: a folder of targets of one's own.

    Raises Failure: target-unknown, device-unknown, device-ambiguous, device-mismatch, config-*.
    """
    found, device = _resolved(config, wanted, host, extra)
    return Where(config=config, target=found, device=device, folders=folders(config, extra))


def place(
    config: Config, wanted: str | Target | None, host: str | Device | None, extra: Path | None = None
) -> Where | None:
    """The device of a job that may be done on one, None where none is named. Raises Failure as where();
    usage for a target without a device."""
    if host is not None:
        return where(config, wanted, host, extra)
    if wanted is not None:
        raise Failure("usage", "--target says what kind of board the device of --on is", next="--on HOST")
    return None


def _resolved(
    config: Config, wanted: str | Target | None, host: str | Device | None, extra: Path | None
) -> tuple[Target, Device]:
    entry = config.devices.get(host) if isinstance(host, str) else None
    only = next(iter(config.devices.values())) if len(config.devices) == 1 and host is None else None
    own = host.target if isinstance(host, Device) else entry.target if entry else None
    found = target(config, wanted or own or config.target or (only.target if only else None), extra)
    device = host if isinstance(host, Device) else inventory.choose(config, found.name, found.transport, host)
    listed = config.devices.get(device.name)
    if listed and listed.overrides:
        place = f"{inventory.FILE}: devices.{device.name}"
        found = targets.overridden(found, listed.overrides, place)
    if own and own != found.name:
        listing = f" in {inventory.FILE}" if entry else ""
        raise Failure(
            "device-mismatch",
            f"the target of device '{device.name}' is {own}{listing}, not {found.name}",
            expected=own,
            found=found.name,
            next=f"the same command with --target {own}",
        )
    return found, with_python(device, found)


def with_python(device: Device, target: Target) -> Device:
    """The device with the board's own interpreter, which runs helper and models alike: the inventory's, else
    the target's."""
    return replace(device, python=device.python or target.python)


def sources(config: Config, wheels: Path | None = None, *, upgrade: bool = False) -> Sources:
    """Where the runtimes' packages come from, by edgefreeze.toml and the options. Raises Failure
    config-value where a folder is not there."""
    from edgefreeze.runtimes import Sources, lock

    folder = wheels or (config.path(config.wheels) if config.wheels else None)
    if folder is not None and not folder.is_dir():
        raise Failure("config-value", f"{folder}: no such folder of packages", found=str(folder))
    return Sources(
        wheels=folder,
        lock=Path(config.folder) / lock.FILE if config.found else None,
        upgrade=upgrade,
        mirror=config.debian_mirror,
    )


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


def from_config(config: Config, model: Path | None, options: Options, command: str) -> tuple[Path, Options]:
    """The model, named or edgefreeze.toml's, and the options with what edgefreeze.toml says where nothing was
    said. Raises Failure model-missing."""
    if model is None:
        if config.model is None:
            raise Failure(
                "model-missing",
                "no model was named",
                expected=f"edgefreeze {command} MODEL, or model = … in edgefreeze.toml",
                next="edgefreeze init",
            )
        model = config.path(config.model)
    if options.samples is None and config.samples:
        options = replace(options, samples=config.path(config.samples))
    if options.calibration is None and config.calibration:
        options = replace(options, calibration=config.path(config.calibration))
    return model, replace(options, signature=options.signature or config.signature)

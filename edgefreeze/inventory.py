"""The user's own file, edgefreeze.toml: model, app, defaults, devices. Secrets are never in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgefreeze import toml
from edgefreeze.device.protocol import NAME
from edgefreeze.errors import Failure, nearest

FILE = "edgefreeze.toml"
Seconds = Annotated[float, msgspec.Meta(ge=0.05, le=86_400)]
_INTERPRETER = re.compile(r"[A-Za-z0-9_./~+-]{1,255}")
_DESTINATION = re.compile(r"(?:[A-Za-z0-9_.+-]+@)?[A-Za-z0-9_.:\[\]%-]{1,255}")


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[service]` table: how the application on the device is told of a switch, and how it shows that it
    is well. Commands are argument lists, and no shell reads them."""

    restart: tuple[str, ...] = ()
    """Run after each switch, such as ["systemctl", "--user", "restart", "doorbell"]."""
    restart_timeout_s: Seconds = 30.0
    """Seconds that it may take."""
    health: tuple[str, ...] = ()
    """Run until it ends with status 0 often enough; or health_url."""
    health_url: str | None = None
    """Asked, on the device, until it answers with a 2xx status often enough."""
    successes: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    """Successes in a row that are enough."""
    period_s: Seconds = 1.0
    """Seconds between two checks."""
    deadline_s: Seconds = 60.0
    """Seconds after which the device goes back to the release before."""


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A `[devices.NAME]` table."""

    target: str
    """The kind of board that it is."""
    host: str | None = None
    """An SSH destination or an alias of ~/.ssh/config. Without it the device's name is one."""
    transport: str = "ssh"
    """ "ssh", or "local": this machine, as a device of its own."""
    python: str | None = None
    """The interpreter there, for a board that has a fitting TensorFlow of its own."""
    root: str | None = None
    """edgefreeze's folder there; default ~/.edgefreeze."""
    service: Service | None = None
    """The application's own service on this device, in place of [service]."""
    freeze: dict[str, Any] = {}
    """Keys of the target's [freeze] that are otherwise for this device."""
    bench: dict[str, Any] = {}
    """Likewise of the target's [bench]: threads = 2."""
    limits: dict[str, Any] = {}
    """Likewise of the target's [limits]."""
    runtimes: dict[str, Any] = {}
    """Likewise of the target's [runtimes]."""

    @property
    def overrides(self) -> dict[str, dict[str, Any]]:
        """What is said here of the target's tables, by table."""
        tables = {
            "freeze": self.freeze,
            "bench": self.bench,
            "limits": self.limits,
            "runtimes": self.runtimes,
        }
        return {name: table for name, table in tables.items() if table}


class Signing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[signing]` table: releases are signed with the engineer's own SSH key."""

    key: str
    """The key: a private key's file, or the .pub of one that ssh-agent or a security key has."""


class ConfigFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What edgefreeze.toml may hold."""

    model: str | None = None
    """What `deploy` deploys when no MODEL is given: a SavedModel folder or a .keras file."""
    app: str | None = None
    """The application's name, which is its folder's on a device."""
    target: str | None = None
    """The kind of board when no --target is given."""
    samples: str | None = None
    """Inputs to prove with: an .npz, .npy, folder of files or JSON lines."""
    calibration: str | None = None
    """Typical inputs for integer precisions: an .npz, .npy or folder of images."""
    signature: str | None = None
    """The SavedModel's signature."""
    targets: str | None = None
    """A folder with targets of one's own."""
    wheels: str | None = None
    """A folder of wheels and .deb files from which runtimes are put together, without a network."""
    debian_mirror: str | None = None
    """A mirror of Debian's, for boards whose packages come from there; default: this machine's own apt's."""
    signing: Signing | None = None
    """With which key releases are signed."""
    service: Service | None = None
    """The application's own service on the devices."""
    devices: dict[str, DeviceEntry] = {}
    """The devices, by name: one [devices.NAME] table each."""


class Config(ConfigFile, frozen=True, kw_only=True):
    """edgefreeze.toml and the folder it lies in, where its relative paths start."""

    folder: str
    found: bool = False
    """Whether there is such a file in the folder."""

    def path(self, value: str) -> Path:
        """A path of the file, from the file's folder."""
        return Path(self.folder) / Path(value).expanduser()

    @property
    def signing_key(self) -> Path | None:
        """The key to sign with, None to leave releases unsigned."""
        return self.path(self.signing.key) if self.signing else None

    @property
    def target_folders(self) -> tuple[Path, ...]:
        """Folders of targets of one's own."""
        return (self.path(self.targets),) if self.targets else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device to talk to: how, where, and as what kind of board."""

    name: str
    target: str
    transport: str
    host: str | None
    python: str | None
    root: str | None


def load(folder: Path | None = None) -> Config:
    """Read edgefreeze.toml of a folder (default: the working directory); an empty Config where there is
    none. Raises Failure config-*, name-invalid."""
    folder = folder or Path.cwd()
    file = folder / FILE
    if not file.exists():
        return Config(folder=str(folder))
    config = Config(**msgspec.structs.asdict(toml.read(file, ConfigFile)), folder=str(folder), found=True)
    for name, entry in config.devices.items():
        check_name(name, f"{file}: device")
        if entry.transport not in ("ssh", "local"):
            raise Failure(
                "config-value",
                f"{file}: devices.{name}.transport",
                expected="ssh or local",
                found=entry.transport,
            )
        check_interpreter(entry.python, f"{file}: devices.{name}.python")
        if entry.host is not None:
            check_destination(entry.host, f"{file}: devices.{name}.host")
        if entry.service is not None:
            check_service(entry.service, f"{file}: devices.{name}")
    for key in ("model", "samples", "calibration", "targets", "wheels"):
        _check_path(getattr(config, key), f"{file}: {key}")
    if config.signing is not None:
        _check_path(config.signing.key, f"{file}: signing.key")
    if config.app is not None:
        check_name(config.app, f"{file}: app")
    if config.service is not None:
        check_service(config.service, str(file))
    return config


def check_name(name: str, what: str) -> str:
    """The name, if a folder on a board may have it. Raises Failure name-invalid."""
    if not NAME.fullmatch(name):
        raise Failure(
            "name-invalid",
            f"{what}: '{name}' cannot be a name",
            expected="letters, digits, '.', '_', '-', at most 64, starting with a letter or digit",
            found=name,
        )
    return name


def _check_path(value: str | None, where: str) -> None:
    """Raises Failure config-value for what no path can be: a home folder of nobody's, a NUL in it."""
    try:
        if value is not None:
            Path(value).expanduser().exists()
    except (RuntimeError, ValueError) as error:
        raise Failure("config-value", f"{where}: no path: {error}", expected="a path", found=value) from None
    except OSError:
        return  # too long, or not to be looked into: whoever opens it says so


def check_service(service: Service, where: str) -> None:
    """Raises Failure config-value where the health check's address is none, or an argument cannot be one."""
    for key, words in (("restart", service.restart), ("health", service.health)):
        if len(words) > 100 or any(not 0 < len(word) <= 4096 or "\0" in word for word in words):
            raise Failure(
                "config-value",
                f"{where}: service.{key}",
                expected="at most 100 arguments, none of them empty",
                found=repr(words)[:500],
            )
    url = service.health_url
    if url is not None and not re.fullmatch(r"https?://\S{1,1900}", url):
        raise Failure("config-value", f"{where}: service.health_url", expected="http://…", found=url)


def check_destination(host: str, where: str) -> str:
    """The host, if ssh could take it as one: no option, no space, and no password, which belongs into no
    file of ours. Raises Failure config-value, which does not repeat it."""
    if not _DESTINATION.fullmatch(host) or host.startswith("-"):
        raise Failure(
            "config-value",
            f"{where}: no SSH destination",
            expected="an ssh alias, user@host or host:port, without a password",
        )
    return host


def check_interpreter(python: str | None, what: str) -> None:
    """Raises Failure config-value where a path of an interpreter could be read as anything else: it is
    the one value that stands in the command that starts the helper."""
    if python is not None and (not _INTERPRETER.fullmatch(python) or python.startswith("-")):
        raise Failure(
            "config-value", f"{what}: not a plain path", expected="such as /usr/bin/python3", found=python
        )


def choose(config: Config, target: str, target_transport: str, host: str | None) -> Device:
    """The device that a command goes to.

    --host names a device of the inventory if there is one of that name, else it is an SSH destination.
    Without it: the one device of that target, or this machine where the target's transport is local.
    Raises Failure device-ambiguous, device-unknown.
    """
    if host is not None:
        if host in config.devices:
            return _device(host, config.devices[host])
        if not _DESTINATION.fullmatch(host) or host.startswith("-"):
            near = nearest(host, list(config.devices))
            raise Failure(
                "device-unknown",
                f"'{host}' is no device of {FILE} and no SSH destination",
                expected="a device's name, an ssh alias, user@host or host:port",
                found=host,
                next=f"--host {near}" if near else None,
            )
        return Device(name=host, target=target, transport="ssh", host=host, python=None, root=None)
    fitting = [name for name, entry in config.devices.items() if entry.target == target]
    if len(fitting) == 1:
        return _device(fitting[0], config.devices[fitting[0]])
    if fitting:
        raise Failure(
            "device-ambiguous",
            f"{len(fitting)} devices have the target '{target}': {', '.join(sorted(fitting))}",
            expected="one of them",
            next=f"the same command with --host {sorted(fitting)[0]}",
        )
    if target_transport == "local":
        return Device(name="local", target=target, transport="local", host=None, python=None, root=None)
    raise Failure(
        "device-unknown",
        f"no device of the target '{target}' is known",
        expected=f'a [devices.NAME] table with target = "{target}" in {FILE}, or --host',
        next="the same command with --host user@address",
    )


def _device(name: str, entry: DeviceEntry) -> Device:
    return Device(
        name=name,
        target=entry.target,
        transport=entry.transport,
        host=entry.host or name,
        python=entry.python,
        root=entry.root,
    )


def local_root() -> Path:
    """The root of the local device: a folder of its own, never the ~/.edgefreeze of somebody's board."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "edgefreeze" / "local-device"


def cache_root() -> Path:
    """Where the host keeps what can be made again."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "edgefreeze"


def state_root() -> Path:
    """Where the host keeps logs and results."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "edgefreeze"

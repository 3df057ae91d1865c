"""The user's devices: listed, added to edgefreeze.toml, removed from it, found in ~/.ssh/config; made to
recover at boot; and taken out of service. Fields are those of the --json documents."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgefreeze import documents, inventory, operate, project, sightings, toml
from edgefreeze.deployment import who
from edgefreeze.errors import Failure, nearest
from edgefreeze.inventory import Config, Device
from edgefreeze.operate import text
from edgefreeze.transport import mdns, ssh_aliases, ssh_config
from edgefreeze.transport.client import connect
from edgefreeze.transport.mdns import Found

Ask = Callable[[str], str | None]
_AT_ONCE = 8
_HEAD = "# edgefreeze: your devices. No secrets here.\n"


def listing(config: Config, *, contact: bool) -> documents.Devices:
    """Every device of edgefreeze.toml: what it is, whether it answers, when it last did, what it runs.

    contact: ask them all, at the same time; otherwise only what is known from before. Nobody is asked for a
    password.
    """
    found = [inventory.choose(config, entry.target, "ssh", name) for name, entry in config.devices.items()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = pool.map(lambda device: _state(config, device), found) if contact else None
        states = list(asked) if asked else ["not asked"] * len(found)
    known = sightings.read()
    rows: list[documents.Listed] = []
    for device, state in zip(found, states, strict=True):
        sighting = known.get(device.name)
        rows.append(
            {
                "name": device.name,
                "target": device.target,
                "host": device.host if device.transport == "ssh" else None,
                "transport": device.transport,
                "state": state,
                "last_seen": sighting.seen if sighting else None,
                "apps": sighting.apps if sighting else {},
            }
        )
    return {"devices": rows}


def _state(config: Config, device: Device) -> str:
    """ "reachable", or the code of what stands in the way."""
    try:
        reached = project.with_python(device, project.target(config, device.target, None))
        operate.status(reached, None, lambda prompt: None)
    except Failure as failure:
        return failure.code
    return "reachable"


# --- edgefreeze.toml


def add(folder: Path, name: str, host: str, target: str) -> documents.DeviceAdded:
    """Write a device into edgefreeze.toml, which is made where it is not there. Raises Failure config-*,
    name-invalid; the file is then as it was."""
    file = folder / inventory.FILE
    before = file.read_text(encoding="utf-8") if file.exists() else _HEAD
    after = with_device(before, name, host, target, str(file))
    _write(file, after)
    return {"path": str(file.resolve()), "name": name, "host": host, "target": target}


def remove(folder: Path, name: str) -> documents.DeviceRemoved:
    """Take a device out of edgefreeze.toml. What is on the device stays. Raises Failure device-unknown."""
    file = folder / inventory.FILE
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    after = without_device(before, name, str(file))
    _write(file, after)
    sightings.forget(name)
    return {"path": str(file.resolve()), "name": name}


def with_device(content: str, name: str, host: str, target: str, where: str) -> str:
    """The content of edgefreeze.toml with a further device. Raises Failure config-*, name-invalid. Pure."""
    inventory.check_name(name, "NAME")
    inventory.check_destination(host, "HOST")
    if name in _devices(content, where):
        raise Failure(
            "config-exists",
            f"{where} has a device '{name}' already",
            found=name,
            next=f"edgefreeze devices remove {name}, or another name",
        )
    table = f"[devices.{_key(name)}]\ntarget = {json.dumps(target)}\nhost = {json.dumps(host)}\n"
    after = content.rstrip("\n") + "\n\n" + table
    toml.parse(after, where, inventory.ConfigFile)
    return after.lstrip("\n")


def without_device(content: str, name: str, where: str) -> str:
    """The content of edgefreeze.toml without a device's tables; all else stays as it is written.

    Raises Failure device-unknown, or config-value where the file has it in a form that is not understood.
    Pure.
    """
    known = _devices(content, where)
    if name not in known:
        near = nearest(name, list(known))
        raise Failure(
            "device-unknown",
            f"{where} has no device '{name}'" + (f"; did you mean '{near}'?" if near else ""),
            expected="one of " + (", ".join(known) or "none: it has no devices"),
            found=name,
        )
    kept: list[str] = []
    inside = False
    for line in content.splitlines(keepends=True):
        header = re.match(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}", line)
        if header:
            parts = [part.strip(" \"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", header[1])]
            inside = parts[:2] == ["devices", name]
        if not inside:
            kept.append(line)
    after = "".join(kept).rstrip("\n") + "\n"
    if name in _devices(after, where):
        raise Failure(
            "config-value",
            f"{where}: device '{name}' is not in a table of its own",
            expected=f"[devices.{name}]",
            next=f"take it out of {where} by hand",
        )
    return after


def _devices(content: str, where: str) -> dict[str, Any]:
    found = toml.loads(content, where).get("devices", {})
    return found if isinstance(found, dict) else {}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _write(file: Path, content: str) -> None:
    part = file.with_name(file.name + ".part")
    part.write_text(content, encoding="utf-8")
    part.replace(file)


# --- ~/.ssh/config


def discover(config: Config, *, network: bool) -> documents.Discovered:
    """The hosts that ~/.ssh/config has names for, where each is, and which device of edgefreeze.toml it is;
    with `network`, those too that offer SSH by multicast DNS.

    Raises Failure ssh-missing.
    """
    listed = {entry.host or name: name for name, entry in config.devices.items()}
    rows: list[documents.Host] = []
    for alias in ssh_aliases.aliases():
        try:
            host = ssh_config.resolve(alias)
        except Failure as failure:
            if failure.code == "ssh-missing":
                raise
            continue
        rows.append(
            {
                "alias": alias,
                "address": f"{host.user}@{host.hostname} port {host.port}",
                "jump": host.proxy is not None,
                "device": listed.get(alias),
                "add": None if alias in listed else f"edgefreeze devices add {_word(alias)} --target TARGET",
            }
        )
    if network:
        rows += [_heard(entry, listed) for entry in mdns.browse()]
    return {"hosts": rows}


def _heard(entry: Found, listed: dict[str, str]) -> documents.Host:
    host = entry.host if entry.port == 22 else f"{entry.host}:{entry.port}"
    return {
        "alias": entry.name,
        "address": f"{entry.address} port {entry.port}",
        "jump": False,
        "device": listed.get(host),
        "add": None
        if host in listed
        else f"edgefreeze devices add {_word(entry.name, host)} --target TARGET",
    }


def _word(alias: str, host: str | None = None) -> str:
    """NAME HOST for `devices add`: the alias for both, if it can be a name."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", alias).strip("-._") or "NAME"
    return f"{name[:64]} {shlex.quote(host or alias)}"


# --- at boot


def recover_at_boot(device: Device, keep: bool, ask: Ask) -> documents.RecoversAtBoot:
    """Have a device go back at boot from a trial that was cut, by a unit of its user's systemd; or no longer.

    Raises Failure store-io, disk-space.
    """
    with connect(device, ask) as helper:
        found = helper.request("recover_at_boot", {"keep": keep})
    return {
        "device": device.name,
        "changed": found.get("changed") is True,
        "told": found.get("told") is True,
        "boot": operate.boot_fields(found),
    }


# --- out of service


def there(device: Device, ask: Ask) -> dict[str, Any]:
    """What a purge would remove: apps and bytes, as `status` has them."""
    found = operate.status(device, None, ask)
    return {"apps": [app["app"] for app in found["apps"]], "bytes": found["store_bytes"]}


def purge(device: Device, ask: Ask) -> documents.Purged:
    """Remove everything of ours from a device. Raises Failure locked, store-io."""
    with connect(device, ask) as helper:
        found = helper.request("purge", {"who": who()})
        root = helper.greeting.root
    sightings.saw(device.name, {})
    apps, foreign = found.get("apps"), found.get("foreign")
    return {
        "device": device.name,
        "root": root,
        "apps": [text(name, 64) for name in apps] if isinstance(apps, list) else [],
        "files": operate.count(found.get("files")),
        "bytes": operate.count(found.get("bytes")),
        "foreign": [text(name, 255) for name in foreign] if isinstance(foreign, list) else [],
    }

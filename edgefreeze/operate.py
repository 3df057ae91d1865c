"""Operations on a device that has releases: status, history, rollback, inference. Each opens a connection,
asks, and gives plain fields, which are also the --json document of its command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze import sightings
from edgefreeze.deployment import who
from edgefreeze.device import tensors
from edgefreeze.device.protocol import SHA256
from edgefreeze.documents import Boot, Pinned, Run
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.text import clean
from edgefreeze.transport.client import Helper, connect

Ask = Callable[[str], str | None]


def status(device: Device, app: str | None, ask: Ask) -> dict[str, Any]:
    """Apps on a device with active and previous release. Raises Failure no-app where `app` is not there."""
    with connect(device, ask) as helper:
        found = helper.request("status", {"app": app} if app else {})
        apps = [_app(helper, entry) for entry in entries(helper, found, "apps")]
    if app is None:
        sightings.saw(device.name, {str(entry["app"]): entry["release"] for entry in apps})
    one = apps[0] if len(apps) == 1 else None
    return {
        "device": device.name,
        "release": one["release"] if one else None,
        "previous": one["previous"] if one else None,
        "apps": apps,
        "store_bytes": count(found.get("store_bytes")),
        "disk_free_bytes": count(found.get("disk_free_bytes")),
        "boot": boot_fields(found.get("boot")),
    }


def boot_fields(found: Any) -> Boot:
    """What a device says of the unit that goes back from a trial at boot, fit for a terminal."""
    said = found if isinstance(found, dict) else {}
    lacks = said.get("lacks")
    return {
        "unit": text(said.get("unit"), 1000),
        "enabled": said.get("enabled") is True,
        "lacks": [text(path, 1000) for path in lacks] if isinstance(lacks, list) else [],
        "booted": said.get("booted") is True,
        "user": text(said.get("user"), 64),
        "lingers": said.get("lingers") is True,
    }


def _app(helper: Helper, entry: dict[str, Any]) -> dict[str, Any]:
    releases = [
        {
            "release": text(r.get("id"), 64),
            "created": text(r.get("created"), 40),
            "target": text(r.get("target"), 64),
            "formats": [text(f, 40) for f in r.get("formats", []) if isinstance(f, str)],
            "preferred": _key(r.get("preferred")),
            "bytes": count(r.get("bytes")),
            "signed": text(r.get("signed"), 300),
            "pinned": r.get("pinned") is True,
        }
        for r in entries(helper, entry, "releases")
    ]
    return {
        "app": text(entry.get("app"), 64),
        "release": text(entry.get("active"), 64),
        "previous": text(entry.get("previous"), 64),
        "phase": text(entry.get("phase"), 20),
        "releases": releases,
    }


def history(device: Device, app: str | None, ask: Ask) -> dict[str, Any]:
    """The log of an app on a device, oldest first."""
    with connect(device, ask) as helper:
        name = only_app(helper, app)
        log = events(entries(helper, helper.request("history", {"app": name}), "entries"))
        current = helper.request("status", {"app": name})
        state = _app(helper, entries(helper, current, "apps")[0])
    return {
        "device": device.name,
        "app": name,
        "release": state["release"],
        "previous": state["previous"],
        "entries": log,
    }


def events(found: list[dict[str, Any]]) -> list[Any]:
    """Entries of a device's history, fit for a terminal."""
    return [
        {
            "time": text(e.get("time"), 40),
            "event": text(e.get("event"), 40),
            "release": text(e.get("release"), 64),
            "previous": text(e.get("previous"), 64),
            "who": text(e.get("who"), 120),
            "detail": text(e.get("detail"), 300),
        }
        for e in found
    ]


def rollback(device: Device, app: str | None, to: str | None, ask: Ask) -> dict[str, Any]:
    """Switch back to the previous release, or to one that is still there (`to`: its id or first digits).

    Raises Failure no-previous, no-release.
    """
    with connect(device, ask) as helper:
        name = only_app(helper, app)
        before = helper.request("open_app", {"app": name, "who": who(), "mode": "write"})
        args: dict[str, Any] = {"app": name}
        if to:
            args["to"] = _full_id(helper, name, to)
        after = helper.request("rollback", args)
    return {
        "device": device.name,
        "app": name,
        "release": text(after.get("active"), 64),
        "previous": text(before.get("active"), 64),
        "bytes_sent": 0,
    }


def pin(device: Device, app: str | None, release: str, keep: bool, ask: Ask) -> Pinned:
    """Keep a release on a device however many come after it, or no longer; `release`: its id or first digits.

    Raises Failure no-release, locked.
    """
    with connect(device, ask) as helper:
        name = only_app(helper, app)
        helper.request("open_app", {"app": name, "who": who(), "mode": "write"})
        identity = _full_id(helper, name, release)
        done = helper.request("pin", {"app": name, "release": identity, "keep": keep})
    return {
        "device": device.name,
        "app": name,
        "release": identity,
        "pinned": keep,
        "changed": done.get("changed") is True,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """An inference on a device: what ran there, and its outputs by name."""

    device: str
    app: str
    release: str | None
    format: str | None
    outputs: tensors.Tensors


def infer(
    device: Device, app: str | None, arrays: tensors.Tensors, format_name: str | None, ask: Ask
) -> Inferred:
    """Run the active release on the device on inputs by name.

    Raises Failure: the device's runtime-failed, no-app, no-release.
    """
    with connect(device, ask) as helper:
        name = only_app(helper, app)
        args: dict[str, Any] = {"app": name, "threads": 1}
        if format_name:
            args["format"] = format_name
        answer = helper.request("infer", args, blob=tensors.encode(arrays))
    try:
        outputs = tensors.decode(answer["blob"])
    except (KeyError, ValueError) as error:
        raise Failure("protocol", f"{device.name}: what came back is no .npz: {error}") from None
    return Inferred(
        device=device.name,
        app=name,
        release=text(answer.get("release"), 64),
        format=text(answer.get("format"), 40),
        outputs={clean(key, 200): array for key, array in outputs.items()},
    )


def infer_file(
    device: Device, app: str | None, source: Path, result: Path, format_name: str | None, ask: Ask
) -> Run:
    """`infer` with an .npz of inputs in, an .npz of outputs out. Raises Failure samples-bad too."""
    found = infer(device, app, read_inputs(source), format_name, ask)
    part = result.with_name(result.name + ".part")
    try:
        part.write_bytes(tensors.encode(found.outputs))
        os.replace(part, result)  # noqa: PTH105 - atomic, or not at all
    except OSError as error:
        raise Failure(
            "config-value", f"{result} cannot be written: {error.strerror}", found=str(result)
        ) from None
    return {
        "device": found.device,
        "app": found.app,
        "release": found.release,
        "format": found.format,
        "path": str(result),
        "outputs": {key: list(array.shape) for key, array in found.outputs.items()},
    }


def read_inputs(source: Path) -> tensors.Tensors:
    """Inputs by name. Raises Failure samples-bad."""
    try:
        return tensors.decode(source.read_bytes())
    except (OSError, ValueError) as error:
        raise Failure(
            "samples-bad", f"{source}: {error}", expected="an .npz with the signature's inputs"
        ) from None


def only_app(helper: Helper, app: str | None) -> str:
    """The app named, or the only one on the device. Raises Failure no-app, usage."""
    if app:
        return app
    found = [
        a["app"] for a in (_app(helper, e) for e in entries(helper, helper.request("status", {}), "apps"))
    ]
    if len(found) == 1 and found[0]:
        return str(found[0])
    if not found:
        raise Failure("no-app", f"{helper.where} has no app yet", next="edgefreeze deploy MODEL --host HOST")
    raise Failure(
        "usage", f"{helper.where} has several apps: {', '.join(map(str, found))}", next="--app NAME"
    )


def app_entry(helper: Helper, app: str) -> dict[str, Any] | None:
    """What the device says of an app, cleaned; None where it has none of that name."""
    found = [_app(helper, e) for e in entries(helper, helper.request("status", {}), "apps")]
    return next((a for a in found if a["app"] == app), None)


def _full_id(helper: Helper, app: str, start: str) -> str:
    if SHA256.fullmatch(start):
        return start
    known = _app(helper, entries(helper, helper.request("status", {"app": app}), "apps")[0])["releases"]
    fitting = [r["release"] for r in known if str(r["release"]).startswith(start)]
    if len(fitting) == 1:
        return str(fitting[0])
    raise Failure(
        "no-release",
        f"{helper.where}: {len(fitting) or 'no'} releases of {app} start with '{clean(start, 64)}'",
        expected=", ".join(str(r["release"])[:12] for r in known) or "a release",
        device_state=helper.state_sentence(),
        next="edgefreeze status",
    )


def entries(helper: Helper, found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects in a device's answer. Raises Failure protocol."""
    rows = found.get(key)
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise Failure("protocol", f"{helper.where}: '{key}' of the device's answer makes no sense")
    return rows[:10_000]


def text(value: Any, limit: int) -> str | None:
    """Text of a device's answer, fit for a terminal; None where it is none."""
    return clean(value, limit) if isinstance(value, str) else None


def _key(value: Any) -> str | None:
    """An artifact's name as a person has it: what the device says, without a precision that is none."""
    name = text(value, 130)
    return name.removesuffix(":fp32") if name else None


def count(value: Any) -> int | None:
    """A number of a device's answer; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None

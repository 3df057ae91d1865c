"""Results on the host: kept by app and device, read back by version, and the samples of a run as they come.

results/<app>/<device>/<time>-<run>.json    a result
results/<app>/<device>/<time>-<run>.part    a run that is under way, or whose host was killed: its events
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgefreeze import inventory
from edgefreeze.benchmark.plan import DuelPlan
from edgefreeze.benchmark.result import SCHEMA, About, Collector, DuelResult
from edgefreeze.device.protocol import RUN
from edgefreeze.errors import Failure
from edgefreeze.text import clean

Document = dict[str, Any]


def _from_1(found: Document) -> Document:
    """Schema 1 had neither p95 nor findings, and one number of threads for all contestants."""
    for contestant in found.get("contestants", []):
        contestant["threads"] = found.get("threads", 1)
    for comparison in found.get("comparisons", []):
        comparison["threads"] = found.get("threads", 1)
    return {**found, "schema": 2}


UPGRADES: dict[int, Callable[[Document], Document]] = {1: _from_1}
"""Schema to what makes the next one of a document of it."""


def decode(text: str | bytes, where: str) -> DuelResult:
    """A result from its JSON, of this version or an older one; a --json document of `bench` or `deploy` too.

    Raises Failure bad-result.
    """
    try:
        found = json.loads(text)
        if found.get("command") == "deploy":
            found = found["bench"]
        elif found.get("command") == "bench":
            found = {**found, "schema": found["result_schema"]}
        found = _cleaned(found)
        schema = found["schema"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Failure(
            "bad-result", f"{where} is no result of a benchmark", expected="what edgefreeze bench wrote"
        ) from None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise Failure(
            "bad-result",
            f"{where} was written by a newer edgefreeze",
            expected=f"schema {SCHEMA} or older",
            found=clean(str(schema), 40),
            next="pip install --upgrade edgefreeze",
        )
    while schema < SCHEMA:
        if schema not in UPGRADES:
            raise Failure("bad-result", f"{where}: no such schema", found=clean(str(schema), 40))
        try:
            found = UPGRADES[schema](found)
        except (TypeError, AttributeError, KeyError):
            raise Failure("bad-result", f"{where} is damaged", expected=f"schema {schema}") from None
        schema = found["schema"]
    try:
        return msgspec.convert(found, DuelResult, strict=False)
    except msgspec.ValidationError as error:
        raise Failure(
            "bad-result", f"{where} is damaged: {clean(str(error), 200)}", expected=f"schema {SCHEMA}"
        ) from None


def _cleaned(value: Any) -> Any:
    """JSON whose texts are fit for a terminal: results are passed on by people, and journals by devices."""
    if isinstance(value, str):
        return clean(value, 4000)
    if isinstance(value, dict):
        return {clean(str(key), 300): _cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list) and not all(isinstance(inner, int) for inner in value):
        return [_cleaned(inner) for inner in value]
    return value


def encode(result: DuelResult) -> str:
    """A result as JSON."""
    return json.dumps(msgspec.to_builtins(result), separators=(",", ":")) + "\n"


def read(path: Path) -> DuelResult:
    """A result's file, or the events of a run that was cut. Raises Failure bad-result."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Failure("bad-result", f"{path} cannot be read: {error.strerror}", found=str(path)) from None
    return recovered(data, str(path)) if path.suffix == ".part" else decode(data, str(path))


# --- where they are kept


def root() -> Path:
    """The folder of all results."""
    return inventory.state_root() / "results"


def _plain(name: str) -> str:
    """A device's or an app's name as a folder's; pi@10.0.0.2:2222 is none."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_"


def place(about: About | DuelResult) -> Path:
    """Where a run's result goes. Raises Failure bad-result where the run's name is none."""
    if RUN.fullmatch(about.run or "") is None:
        raise Failure(
            "bad-result",
            "a run whose name is none",
            expected="8 to 64 hexadecimal digits",
            found=clean(about.run or "", 80),
        )
    stamp = re.sub(r"[^0-9TZ]", "", about.started or "")
    folder = root() / _plain(about.app or "_") / _plain(about.device)
    return folder / f"{stamp}-{about.run}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A stored result, in a line."""

    id: str
    """The run's first digits are enough wherever a result is asked for."""
    path: str
    app: str | None
    device: str
    release: str
    started: str | None
    emulated: bool
    complete: bool
    contestants: tuple[str, ...]


def listed(app: str | None = None, device: str | None = None) -> list[Kept]:
    """All stored results, oldest first; those that cannot be read are left out."""
    found = []
    for path in root().glob("*/*/*"):
        if path.suffix not in (".json", ".part") or (path.suffix == ".part" and _twin(path).exists()):
            continue
        try:
            result = read(path)
        except Failure:
            continue
        if (app is None or result.app == app) and (device is None or result.device == device):
            found.append(
                Kept(
                    id=result.run or path.stem,
                    path=str(path),
                    app=result.app,
                    device=result.device,
                    release=result.release,
                    started=result.started,
                    emulated=result.emulated,
                    complete=result.complete,
                    contestants=tuple(dict.fromkeys(c.format for c in result.contestants)),
                )
            )
    return sorted(found, key=lambda k: (k.started or "", k.id))


def find(name: str) -> DuelResult:
    """A result by its file, by the first digits of its run, or "latest". Raises Failure bad-result."""
    path = Path(name)
    if path.is_file():
        return read(path)
    known = listed()
    fitting = known[-1:] if name == "latest" else [k for k in known if k.id.startswith(name)]
    if len(fitting) != 1:
        raise Failure(
            "bad-result",
            f"{len(fitting) or 'no'} results start with '{clean(name, 80)}'",
            expected="a file, the first digits of one result's id, or latest",
            next="edgefreeze results list",
        )
    return read(Path(fitting[0].path))


def keep(result: DuelResult, path: Path) -> None:
    """Store a result whole or not at all; its events are not needed any more. It is on the disk afterwards:
    the device forgets its own next. Raises Failure bad-result."""
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(encode(result))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - atomic
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        path.with_suffix(".part").unlink(missing_ok=True)
    except OSError as error:
        raise Failure("bad-result", f"{path} cannot be written: {error.strerror}", found=str(path)) from None


def _twin(path: Path) -> Path:
    return path.with_suffix(".json")


# --- as they come


class Stream:
    """A run's events on the host's disk, each as it comes."""

    def __init__(self, path: Path, plan: DuelPlan, about: About) -> None:
        """Raises Failure bad-result where nothing can be written."""
        self.path = path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise Failure(
                "bad-result", f"{self.path} cannot be written: {error.strerror}", found=str(self.path)
            ) from None
        self.event({"kind": "head", "plan": plan.as_args(), "about": head(plan, about)})

    def event(self, event: Document) -> None:
        """Keep an event."""
        self._file.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """The file stays."""
        self._file.close()


def head(plan: DuelPlan, about: About) -> Document:
    """What a journal needs beside the events to become a result."""
    return {"plan": msgspec.to_builtins(plan), "about": msgspec.to_builtins(about)}


def recovered(data: bytes, where: str, *, device: str | None = None, run: str | None = None) -> DuelResult:
    """A result from a journal, as far as it goes. device: as whom we know the device that it lay on; run: the
    one that was asked for.

    Raises Failure bad-result, protocol.
    """
    lines = [_line(line) for line in data.splitlines()]
    try:
        told = lines[0]["about"]
        plan = msgspec.convert(told["plan"], DuelPlan, strict=False)
        about = msgspec.convert(told["about"], About, strict=False)
    except (IndexError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise Failure("bad-result", f"{where} is no run: {clean(str(error), 200)}") from None
    if run is not None and about.run != run:  # it becomes a file's name
        raise Failure(
            "protocol", f"{where} says that it is another", expected=run, found=clean(about.run or "", 80)
        )
    collector = Collector(plan=plan)
    for line in lines[1:]:
        if line:
            collector.add(line)
    complete = any(line.get("kind") == "end" for line in lines)
    return collector.result(replace(about, device=device or about.device), complete=complete)


def _line(text: bytes) -> Document:
    """One line, cleaned; {} for one that was cut off."""
    try:
        found = _cleaned(json.loads(text))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""Targets: facts about a kind of board, one TOML each. No code asks which board it is; it asks a Target.

Search order: the folders given (--targets DIR, `targets = DIR` in edgefreeze.toml), then those that
edgefreeze brings. A target may extend another by one level (edgefreeze/inheritance.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from edgefreeze import formats, inheritance, inventory, toml
from edgefreeze.device.protocol import NAME
from edgefreeze.errors import Failure, nearest
from edgefreeze.inventory import Service
from edgefreeze.types import DeviceFacts

Positive = Annotated[int, msgspec.Meta(ge=1)]
Tolerance = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the probe must see. `machine` is required to fit; the others, where the probe finds
    something else, are warnings: boards come in carriers and revisions."""

    machine: tuple[str, ...]
    """Of the interpreter's own ABI: "x86_64", "aarch64", "armv7l"."""
    board: tuple[str, ...] = ()
    """Texts one of which the board's own name contains."""
    cpu: tuple[str, ...] = ()
    """Texts one of which the CPU's model name contains."""
    features: tuple[str, ...] = ()
    """Features that the CPU must have, as /proc/cpuinfo names them."""
    python: str | None = None
    """Versions of the board's Python, as pip writes a rule: ">=3.9,<3.14"."""
    glibc: str | None = None
    """Versions of the board's C library, likewise."""


class Freeze(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the model is frozen for this board."""

    optimize: Literal["none", "safe", "max"] = "none"
    """ "safe": Grappler's pruning, constant folding and dependency clean-up; "max": batch norms folded into
    the weights and debug nodes stripped as well. The result is compared again."""
    lower_control_flow: bool = False
    """Passed to convert_variables_to_constants_v2. False keeps While and If as functional operations."""
    batch: Positive | None = None
    """Fixes the batch dimension where the model leaves it open."""


class Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One form in which the model is shipped; the first that was verified is the one that `run` uses."""

    format: formats.Name
    """What is written; edgefreeze/runtimes/runtimes.toml says which runtime it needs on the board."""
    precision: str | None = None
    """Of the weights and the arithmetic, see edgefreeze/formats.py; None: the format's own, float32."""
    tolerance: Tolerance | None = None
    """Largest error that passes, relative to the range of the original's output; None: the precision's."""
    opset: Annotated[int, msgspec.Meta(ge=7, le=18)] | None = None
    """ONNX only. tf2onnx writes 18 at most."""

    @classmethod
    def of(cls, text: str) -> Format:
        """A format by its name alone: "tflite", "tflite:int8". Raises Failure format-unknown."""
        name, precision = formats.parse(text)
        return msgspec.convert({"format": name, "precision": precision}, cls)

    @property
    def resolved(self) -> str:
        """The precision, also where the file names none."""
        return self.precision or formats.default(self.format)

    @property
    def key(self) -> str:
        """Its name: "tflite", "tflite:int8"."""
        return formats.key(self.format, self.resolved)

    @property
    def facts(self) -> formats.Precision:
        """What is known of it."""
        return formats.FORMATS[self.format][self.resolved]

    @property
    def allowed(self) -> float:
        """The tolerance, also where the file names none."""
        return self.facts.tolerance if self.tolerance is None else self.tolerance


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Defaults of the duel on the board."""

    threads: Positive = 1
    """Threads that every contestant may use; the self-test and --eval run with as many."""
    samples: Positive = 200
    """Inferences of each contestant in steady state, unless `seconds` are over before."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 20.0
    """At most this long for each contestant in steady state."""
    cpus: tuple[Annotated[int, msgspec.Meta(ge=0, le=4095)], ...] = ()
    """Processors that the contestants may use, all of them the same; none: as many as the user there may."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must be left on the board, and what a model's process may take."""

    keep_free_mb: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Megabytes that a deployment must leave free on the board's disk."""
    keep_releases: Positive = 3
    """Releases kept after a deployment, the last activated first; active and previous always stay."""
    memory_mb: Positive | None = None
    """Megabytes that a model's process may take at its peak: `--format auto` chooses none that takes more."""

    @property
    def memory_bytes(self) -> int | None:
        """memory_mb in bytes."""
        return None if self.memory_mb is None else self.memory_mb * 10**6


class Advice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """In which state the board gives its best; `edgefreeze doctor` tells where it is in another."""

    governor: str | None = None
    """The CPU frequency governor to measure and run with."""
    power_modes: tuple[str, ...] = ()
    """Names of power modes, as `nvpmodel -q` gives them, that do not hold the board back."""
    power_mode_command: str | None = None
    """What a person types on the board to set such a mode."""
    clocks_command: str | None = None
    """What a person types on the board to hold its clocks at their highest while it measures."""
    max_temperature_c: Annotated[float, msgspec.Meta(gt=0, le=150)] = 75.0
    """Degrees Celsius from which the board soon slows itself down."""


class Emulate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the board is emulated, for `edgefreeze doctor --emulate`."""

    cpu: str | None = None
    """The board's CPU as QEMU names it: "cortex-a72"."""


class TargetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a target's TOML may hold."""

    summary: str
    """One line for `edgefreeze targets list`."""
    match: Match
    """What the board must be."""
    formats: tuple[Format, ...]
    """The forms in which the model is shipped, the preferred one first. At least one."""
    extends: str | None = None
    """Another target, which must not extend a third: what this file does not say is taken from there."""
    transport: Literal["local", "ssh"] = "ssh"
    """Where `deploy` goes when no device is named: this machine, or it asks for a host."""
    gpu: bool = False
    """Whether the board has a GPU that inference should use: what ran on the CPU there is said."""
    python: str | None = None
    """The interpreter on the board. Without it python3 there, and this one on the local transport."""
    freeze: Freeze = Freeze()
    bench: Bench = Bench()
    limits: Limits = Limits()
    advice: Advice = Advice()
    emulate: Emulate = Emulate()
    runtimes: dict[Literal["tensorflow", "litert", "onnxruntime"], str] = {}
    """Version rules that narrow those of edgefreeze/runtimes/runtimes.toml, such as "==2.17.*"; with a
    package's name before it, that package alone: "tflite-runtime==2.14.*"."""
    service: Service | None = None
    """How an application on such a board is told of a switch, where edgefreeze.toml says nothing: the same
    keys as there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which a board is not what a target describes; `fatal`: nothing for the one runs on the
    other. `what`: architecture, board, cpu, cpu-features, python, libc."""

    what: str
    text: str
    fatal: bool = False


class Target(TargetFile, frozen=True, kw_only=True):
    """A kind of board: its file's content, and the file."""

    name: str
    path: str

    def differences(self, facts: DeviceFacts) -> tuple[Difference, ...]:
        """In what the probed board is not what this target describes."""
        found = []
        if facts.machine not in self.match.machine:
            wanted = " or ".join(self.match.machine)
            text = f"architecture {facts.machine}; target '{self.name}' is for {wanted}"
            found.append(Difference(what="architecture", text=text, fatal=True))
        for what, name, seen, texts in (
            ("board", "board", facts.board, self.match.board),
            ("cpu", "CPU", facts.cpu_model, self.match.cpu),
        ):
            if texts and seen and not any(text.lower() in seen.lower() for text in texts):
                text = f"the {name} is '{seen}'; target '{self.name}' expects {' or '.join(texts)}"
                found.append(Difference(what=what, text=text))
        lacking = set(self.match.features) - set(facts.cpu_features)
        if facts.cpu_features and lacking:
            text = f"the CPU has no {', '.join(sorted(lacking))}, as target '{self.name}' expects"
            found.append(Difference(what="cpu-features", text=text))
        glibc = facts.libc.removeprefix("glibc ") if facts.libc.startswith("glibc ") else None
        for what, name, version, rule in (
            ("python", "Python", facts.python, self.match.python),
            ("libc", "glibc", glibc, self.match.glibc),
        ):
            if rule and version and not _within(version, rule):
                text = f"{name} is {version}; target '{self.name}' expects {rule}"
                found.append(Difference(what=what, text=text))
        return tuple(found)

    def mismatches(self, facts: DeviceFacts) -> tuple[str | None, tuple[str, ...]]:
        """(fatal, warnings): whether the probed board is what this target describes."""
        found = self.differences(facts)
        fatal = next((entry.text for entry in found if entry.fatal), None)
        return fatal, tuple(entry.text for entry in found if not entry.fatal)


def _within(version: str, rule: str) -> bool:
    """Whether a version fits a rule; one that makes no sense fits none."""
    try:
        return SpecifierSet(rule).contains(version, prereleases=True)
    except InvalidVersion:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A target, and where each of its values comes from: `origins` maps "match.machine" to the name of the
    target whose file says it; a key that no file says has its default."""

    target: Target
    origins: dict[str, str]


def built_in() -> Path:
    """The folder of the targets that edgefreeze brings: in the wheel, or in a checkout."""
    here = Path(__file__).resolve().parent
    packed = here / "_targets"
    return packed if packed.is_dir() else here.parent / "targets"


def names(folders: tuple[Path, ...] = ()) -> dict[str, Path]:
    """Every target's name and file; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in (*folders, built_in()):
        for file in sorted(folder.glob("*.toml")):
            if NAME.fullmatch(file.stem):
                found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def load(name: str, folders: tuple[Path, ...] = ()) -> Target:
    """Read a target by name. Raises Failure target-unknown (with the nearest name) or config-*."""
    return resolve(name, folders).target


def resolve(name: str, folders: tuple[Path, ...] = ()) -> Resolved:
    """As load(), with where each value comes from."""
    known = names(folders)
    if name not in known:
        near = nearest(name, list(known))
        raise Failure(
            "target-unknown",
            f"there is no target '{name}'" + (f"; did you mean '{near}'?" if near else ""),
            expected="one of " + ", ".join(known),
            found=name,
            next=f"edgefreeze targets show {near}" if near else "edgefreeze targets list",
        )
    return read(known[name], folders)


def read(file: Path, folders: tuple[Path, ...] = ()) -> Resolved:
    """Read one target's file; the one that it extends is looked for beside it, in the folders and among
    those that edgefreeze brings. Raises Failure config-*."""
    text, data = toml.table(file)
    merged = inheritance.merge(file, data, (file.parent, *folders, built_in()))
    target = check(toml.decode(merged.data, text, str(file), TargetFile), str(file))
    named = Target(**msgspec.structs.asdict(target), name=file.stem, path=str(file))
    return Resolved(target=named, origins=merged.origins)


def overridden(target: Target, changes: dict[str, dict[str, Any]], where: str) -> Target:
    """The target with what one device's entry in edgefreeze.toml says otherwise: tables `freeze`, `bench`,
    `limits`, `runtimes`. Raises Failure config-*; `where` names the entry in errors."""
    plain: dict[str, Any] = msgspec.to_builtins(target)
    data = {key: plain[key] for key in msgspec.structs.asdict(target) if key not in ("name", "path")}
    for key, table in changes.items():
        data[key] = {**data[key], **table}
    changed = check(toml.decode(data, "", where, TargetFile), where)
    return Target(**msgspec.structs.asdict(changed), name=target.name, path=target.path)


def check(target: TargetFile, where: str) -> TargetFile:
    """The target, if it can be meant so. Raises Failure config-value, format-unknown."""
    if not target.formats:
        raise Failure("config-value", f"{where}: no [[formats]]", expected="at least one", found="none")
    _check_formats(target.formats, where)
    inventory.check_interpreter(target.python, f"{where}: python")
    if target.service is not None:
        inventory.check_service(target.service, where)
    if not target.match.machine:
        raise Failure("config-value", f"{where}: match.machine is empty", expected="an architecture")
    rules = {"match.python": target.match.python, "match.glibc": target.match.glibc}
    rules |= {f"runtimes.{name}": rule for name, rule in target.runtimes.items()}
    for key, rule in rules.items():
        try:
            _, versions = named_rule(rule) if key.startswith("runtimes.") else (None, rule)
            SpecifierSet(versions or "")
        except InvalidSpecifier:
            raise Failure(
                "config-value", f"{where}: {key}: no version rule", expected="such as >=3.9,<3.14", found=rule
            ) from None
    return target


def named_rule(rule: str | None) -> tuple[str | None, str]:
    """A value of [runtimes] as the package that it names, if it names one, and its version rule."""
    found = re.match(r"\s*([A-Za-z][A-Za-z0-9._-]*)\s*(?=[<>=!~])", rule or "")
    return (found[1], (rule or "")[found.end() :]) if found else (None, rule or "")


def _check_formats(wanted: tuple[Format, ...], where: str) -> None:
    """Raises Failure config-value for a precision that a format has not, and for one that is there twice."""
    seen: set[str] = set()
    for entry in wanted:
        try:
            formats.require_precision(entry.format, entry.resolved)
        except Failure as failure:
            raise Failure(
                "config-value",
                f"{where}: formats: {failure.message}",
                expected=failure.expected,
                found=failure.found,
            ) from None
        if entry.opset is not None and entry.format != "onnx":
            raise Failure("config-value", f"{where}: opset is ONNX's", expected="none", found=entry.key)
        if entry.key in seen:
            raise Failure(
                "config-value",
                f"{where}: formats: {entry.key} is there twice",
                expected="each format once a precision",
            )
        seen.add(entry.key)

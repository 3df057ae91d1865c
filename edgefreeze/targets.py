"""Targets: facts about a kind of board, one TOML each. No code asks which board it is; it asks a Target.

Search order: the folders given (--targets DIR, `targets = DIR` in edgefreeze.toml), then those that
edgefreeze brings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgefreeze import formats, inventory, toml
from edgefreeze.device.protocol import NAME
from edgefreeze.errors import Failure, nearest

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

    format: Literal["frozen_pb", "saved_model", "tflite", "onnx", "tensorrt"]
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


class TargetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a target's TOML may hold."""

    summary: str
    """One line for `edgefreeze targets list`."""
    match: Match
    """What the board must be."""
    formats: tuple[Format, ...]
    """The forms in which the model is shipped, the preferred one first. At least one."""
    transport: Literal["local", "ssh"] = "ssh"
    """Where `deploy` goes when no device is named: this machine, or it asks for a host."""
    python: str | None = None
    """The interpreter on the board. Without it python3 there, and this one on the local transport."""
    freeze: Freeze = Freeze()
    bench: Bench = Bench()
    limits: Limits = Limits()
    runtimes: dict[Literal["tensorflow", "litert", "onnxruntime"], str] = {}
    """Version rules that narrow those of edgefreeze/runtimes/runtimes.toml, such as "==2.17.*"."""


class Target(TargetFile, frozen=True, kw_only=True):
    """A kind of board: its file's content, and the file."""

    name: str
    path: str

    def mismatches(
        self, machine: str, board: str | None, cpu: str | None
    ) -> tuple[str | None, tuple[str, ...]]:
        """(fatal, warnings): whether the probed board is what this target describes."""
        fatal = None
        if machine not in self.match.machine:
            fatal = f"architecture {machine}; target '{self.name}' is for {' or '.join(self.match.machine)}"
        warnings = [
            f"the {what} is '{seen}'; target '{self.name}' expects {' or '.join(wanted)}"
            for what, seen, wanted in (("board", board, self.match.board), ("CPU", cpu, self.match.cpu))
            if wanted and seen and not any(text.lower() in seen.lower() for text in wanted)
        ]
        return fatal, tuple(warnings)


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
    return read(known[name])


def read(file: Path) -> Target:
    """Read one target's file. Raises Failure config-*."""
    target = toml.read(file, TargetFile)
    if not target.formats:
        raise Failure("config-value", f"{file}: no [[formats]]", expected="at least one", found="none")
    _check_formats(target.formats, file)
    inventory.check_interpreter(target.python, f"{file}: python")
    if not target.match.machine:
        raise Failure("config-value", f"{file}: match.machine is empty", expected="an architecture")
    return Target(**msgspec.structs.asdict(target), name=file.stem, path=str(file))


def _check_formats(wanted: tuple[Format, ...], file: Path) -> None:
    """Raises Failure config-value for a precision that a format has not, and for one that is there twice."""
    seen: set[str] = set()
    for entry in wanted:
        try:
            formats.require_precision(entry.format, entry.resolved)
        except Failure as failure:
            raise Failure(
                "config-value", f"{file}: {failure.message}", expected=failure.expected, found=failure.found
            ) from None
        if entry.opset is not None and entry.format != "onnx":
            raise Failure("config-value", f"{file}: opset is ONNX's", expected="none", found=entry.key)
        if entry.key in seen:
            raise Failure(
                "config-value", f"{file}: {entry.key} is there twice", expected="each format once a precision"
            )
        seen.add(entry.key)

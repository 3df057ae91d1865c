"""Targets: facts about a kind of board, one TOML each. No code asks which board it is; it asks a Target.

Search order: the folders given (--targets DIR, `targets = DIR` in edgefreeze.toml), then those that
edgefreeze brings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgefreeze import inventory, toml
from edgefreeze.device.protocol import NAME
from edgefreeze.errors import Failure, nearest

FORMATS = ("frozen_pb", "saved_model", "tflite", "onnx")
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

    format: Literal["frozen_pb", "saved_model", "tflite", "onnx"]
    """What is written; edgefreeze/runtimes.toml says which runtime it needs on the board."""
    precision: Literal["fp32"] = "fp32"
    """Of the weights and the arithmetic. fp32 is the only one so far."""
    tolerance: Tolerance = 1e-4
    """Largest error that passes, relative to the range of the original's output."""
    opset: Annotated[int, msgspec.Meta(ge=7, le=18)] | None = None
    """ONNX only. tf2onnx writes 18 at most."""


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Defaults of the duel on the board."""

    threads: Positive = 1
    """Threads that every contestant may use; the self-test and --eval run with as many."""
    samples: Positive = 200
    """Inferences of each contestant in steady state, unless `seconds` are over before."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 20.0
    """At most this long for each contestant in steady state."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must be left on the board."""

    keep_free_mb: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Megabytes that a deployment must leave free on the board's disk."""
    keep_releases: Positive = 3
    """Releases kept after a deployment, the last activated first; active and previous always stay."""


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
    """Version rules that narrow those of edgefreeze/runtimes.toml, such as "==2.17.*"."""


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
    inventory.check_interpreter(target.python, f"{file}: python")
    if not target.match.machine:
        raise Failure("config-value", f"{file}: match.machine is empty", expected="an architecture")
    return Target(**msgspec.structs.asdict(target), name=file.stem, path=str(file))

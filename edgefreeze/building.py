"""A model and a target in, a proved release out, on the host. TensorFlow runs in the worker only."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edgefreeze import accuracy, calibration, conversion, formats
from edgefreeze.accuracy import Accuracy, Evaluation
from edgefreeze.conversion import Options
from edgefreeze.errors import Failure, out_of_range
from edgefreeze.progress import Progress
from edgefreeze.release.manifest import Release, assemble
from edgefreeze.runtimes import table
from edgefreeze.shown import Shown
from edgefreeze.targets import Format, Target
from edgefreeze.types import Artifact, Conversion
from edgefreeze.worker import sources
from edgefreeze.worker.formats import require_options

AUTO = "auto"
STRICT = Format(format="frozen_pb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be built of a model, beside how to load it.

    formats: "format" or "format:precision" each, "auto" for all that could be fastest; empty: the target's.
    opset: of ONNX, instead of the target's. evaluation: inputs with true classes; max_accuracy_drop: how many
    points of accuracy (0.5: from 99.0 % to 98.5 %) an artifact may lose on them. allow_unverified: what could
    not be proved goes into the release too, as such. cache: False converts anew whatever is known.
    """

    formats: tuple[str, ...] = ()
    no_tf: bool = False
    opset: int | None = None
    evaluation: Path | None = None
    max_accuracy_drop: float | None = None
    allow_unverified: bool = False
    cache: bool = True

    def __post_init__(self) -> None:
        """Raise Failure usage for a value that cannot be."""
        if self.max_accuracy_drop is not None and not 0 <= self.max_accuracy_drop <= 100:
            raise out_of_range("max_accuracy_drop", self.max_accuracy_drop, "0 to 100 points")

    @property
    def auto(self) -> bool:
        """Whether the device's benchmark chooses."""
        return AUTO in self.formats


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Built(Shown):
    """What a build made: the release, and all that the worker said of it, refusals included."""

    release: Release
    conversion: Conversion
    accuracy: tuple[Accuracy, ...]
    evaluation: Evaluation | None
    cached: bool
    seconds: dict[str, float]


def wanted_formats(target: Target, wish: Wish, options: Options, progress: Progress) -> tuple[Format, ...]:
    """The formats to make: the wish's, or the target's. Looks at all that can be seen without the model.

    Raises Failure format-unknown, format-unfit (nothing runs it on such a board), opset-unknown,
    calibration-missing, calibration-bad.
    """
    if options.calibration is not None:
        calibration.check(options.calibration)
    if wish.max_accuracy_drop is not None and wish.evaluation is None:
        raise Failure(
            "usage", "--max-accuracy-drop needs data to compute accuracy on", next="add --eval FILE"
        )
    known = {entry.key: entry for entry in target.formats}
    given = _expand(target, wish, calibrated=options.calibration is not None)
    wanted = tuple(known[k] if (k := Format.of(name).key) in known else Format.of(name) for name in given)
    wanted = tuple(dict.fromkeys(wanted)) if wanted else target.formats
    for entry in wanted:
        _require_fit(entry, target)
    if options.calibration is None:
        lacking = tuple(entry for entry in wanted if entry.facts.calibrated)
        if lacking and wish.formats:
            raise calibration.missing(lacking[0].key)
        for entry in lacking:
            progress.note(f"{entry.key} is left out: it needs --calibration data")
        wanted = tuple(entry for entry in wanted if entry not in lacking)
    if wish.no_tf:
        wanted = tuple(e for e in wanted if not needs_tensorflow(e.format))
    if not wanted:
        raise Failure(
            "format-unknown",
            f"nothing is left of the formats of target '{target.name}'"
            + (" without TensorFlow" if wish.no_tf else ""),
            expected="a format that runs without TensorFlow" if wish.no_tf else "a format",
            found=", ".join(entry.key for entry in target.formats),
            next="add --format tflite",
        )
    if wish.opset is not None:
        wanted = tuple(
            msgspec.structs.replace(e, opset=wish.opset) if e.format == "onnx" else e for e in wanted
        )
    for entry in wanted:
        require_options(entry.format, entry.resolved, {"opset": entry.opset})
    return wanted


def _expand(target: Target, wish: Wish, *, calibrated: bool) -> tuple[str, ...]:
    """The wish's formats, "auto" replaced by what could be fastest on such a board."""
    if not wish.auto:
        return wish.formats
    candidates = [entry.key for entry in target.formats]
    for name in dict.fromkeys(entry.format for entry in target.formats):
        candidates += [
            formats.key(name, precision)
            for precision, facts in formats.FORMATS[name].items()
            if facts.contends and (calibrated or not facts.calibrated)
        ]
    found = [k for k in candidates if calibrated or not Format.of(k).facts.calibrated]
    return tuple(dict.fromkeys([*(name for name in wish.formats if name != AUTO), *found]))


def _require_fit(entry: Format, target: Target) -> None:
    runtime = table().of_format(entry.format)
    able = sorted({machine for row in table().packages(runtime) for machine in row.machine})
    if not set(able) & set(target.match.machine):
        raise Failure(
            "format-unfit",
            f"{entry.key} cannot run on target '{target.name}': there is no {runtime} for "
            + " or ".join(target.match.machine),
            expected=f"one of {', '.join(able)}",
            found=", ".join(target.match.machine),
            next=f"--format {target.formats[0].key}",
        )


def needs_tensorflow(format_name: str) -> bool:
    """Whether a format needs TensorFlow on the device."""
    return table().of_format(format_name) == "tensorflow"


def build(
    model: Path,
    target: Target,
    *,
    app: str,
    out: Path,
    progress: Progress,
    wanted: tuple[Format, ...] | None = None,
    options: Options | None = None,
    wish: Wish | None = None,
) -> Built:
    """Freeze, convert and prove a model for a target, into the folder `out`.

    wanted: of wanted_formats. Raises Failure: the model's and the freezing's refusals, parity-failed where
    the frozen graph differs, unverified where nothing could be verified, samples-bad.
    """
    wanted, options, wish = wanted or target.formats, options or Options(), wish or Wish()
    sources.find(model)
    evaluation = accuracy.open_data(wish.evaluation) if wish.evaluation else None
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    made, cached = conversion.convert(
        model,
        out,
        # The frozen graph is made in any case: everything else is derived from it, and it is the proof.
        wanted if any(f.key == STRICT.key for f in wanted) else (*wanted, STRICT),
        target.freeze,
        options,
        progress,
        log="worker",
        cached=wish.cache,
    )
    seconds = {"convert": time.monotonic() - started}
    accuracies: tuple[Accuracy, ...] = ()
    if evaluation is not None:
        started = time.monotonic()
        progress.step("evaluate", "computing accuracy on this machine")
        evaluation = accuracy.reference(model, evaluation, options)
        made, accuracies = accuracy.on_host(made, out, evaluation, wish.max_accuracy_drop)
        seconds["evaluate"] = time.monotonic() - started
    keys = tuple(f.key for f in wanted)
    for artifact in made.artifacts:
        if artifact.key in keys and artifact.status != "verified":
            progress.note(f"{artifact.key} {artifact.status}: {artifact.reason}")
        for note in artifact.notes:
            progress.note(f"{artifact.key}: {note}")
    try:
        release = assemble(
            app=app,
            target=target,
            conversion=made,
            folder=out,
            formats=keys,
            allow_unverified=wish.allow_unverified,
        )
    except Failure as failure:
        failure.fields = {
            "release": None, "cached": cached, "artifacts": [described(a) for a in made.artifacts]
        }  # fmt: skip
        raise
    return Built(
        release=release,
        conversion=made,
        accuracy=accuracies,
        evaluation=evaluation,
        cached=cached,
        seconds=seconds,
    )


def build_into(
    model: Path, target: Target, *, app: str, out: Path, progress: Progress, wanted: tuple[Format, ...],
    options: Options, wish: Wish,
) -> Built:  # fmt: skip
    """`build` into a folder that becomes the release, whole or not at all; an older release there gives way.

    Raises as `build`; config-exists where the folder holds something else.
    """
    if out.exists() and not (out / "manifest.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise Failure(
            "config-exists",
            f"{out} is there already, and is no release",
            expected="a new folder, an empty one, or an earlier release",
            next="the same command with another -o",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch) / "release"
        built = build(
            model, target, app=app, out=folder, progress=progress, wanted=wanted, options=options, wish=wish
        )
        _leave_only(built.release, folder)
        if out.exists():
            out.rename(Path(scratch) / "old")
        folder.rename(out)
    return replace(built, release=built.release.at(out))


def _leave_only(release: Release, folder: Path) -> None:
    """Take away what was made and is not released."""
    kept = {c.source for c in release.contents} | {folder / "manifest.json", folder / "envelope.json"}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path not in kept:
            path.unlink()
    for path in folder.iterdir():
        if path.is_dir() and not any(p.is_file() for p in path.rglob("*")):
            shutil.rmtree(path)


def described(artifact: Artifact) -> dict[str, object]:
    """An artifact as --json shows it."""
    fields: dict[str, object] = msgspec.to_builtins(artifact)
    return fields

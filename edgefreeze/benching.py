"""A benchmark of its own: what is active on a device, a release folder, or a model, measured there and never
made active. A release that comes for this goes when the connection ends, unless the device had it before."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgefreeze import accuracy, building, measuring, operate, runtimes
from edgefreeze.accuracy import Accuracy, Evaluation
from edgefreeze.benchmark import gates, store
from edgefreeze.benchmark.gates import Gate, Judgement
from edgefreeze.benchmark.plan import Effort, entrants_of, require_time
from edgefreeze.benchmark.result import About, DuelResult
from edgefreeze.building import Wish
from edgefreeze.conversion import Options
from edgefreeze.deployment import Ask, signed_for, weights, who
from edgefreeze.errors import Failure
from edgefreeze.inventory import Device
from edgefreeze.progress import Progress
from edgefreeze.release import manifest, signing
from edgefreeze.release.manifest import Release
from edgefreeze.ship import admission, provision, session
from edgefreeze.ship.plan import RuntimePlan, check_space
from edgefreeze.shown import Shown
from edgefreeze.targets import Format, Target
from edgefreeze.text import short
from edgefreeze.transport.client import Helper, connect
from edgefreeze.types import DeviceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure, where, and how."""

    source: Path | None
    """A model or a release folder; None: what is active on the device."""
    app: str | None
    target: Target
    device: Device
    options: Options = field(default_factory=Options)
    wish: Wish = field(default_factory=Wish)
    effort: Effort = field(default_factory=Effort)
    gates: tuple[Gate, ...] = ()
    allow_emulated: bool = False
    profile: bool = False
    governor: str | None = None
    """To set on the device meanwhile."""
    sign: Path | None = None
    sources: runtimes.Sources = field(default_factory=runtimes.Sources)
    """Where the runtimes' packages come from."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Measurement(Shown):
    """What was measured, and what the gates say of it."""

    result: DuelResult
    gates: tuple[Judgement, ...]
    runs: str
    """The artifact that runs, or would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """A release on the device, ready to be measured."""

    app: str
    release: str
    artifacts: tuple[str, ...]
    runs: str
    active: tuple[str, str] | None
    """(release, artifact) that runs there, where it is another one."""
    runtime_bytes: dict[str, int | None] = field(default_factory=dict)
    evaluate: Callable[[Evaluation], tuple[Accuracy, ...]] | None = None
    evaluation: Evaluation | None = None


def bench(request: Request, progress: Progress, ask: Ask = lambda prompt: None) -> Measurement:
    """Measure. The device runs afterwards what it ran before.

    Raises Failure: gate-emulated, what building and sending raise, locked, and what the transport raises; a
    gate that does not pass is in the outcome.
    """
    require_time(request.effort, request.target.bench)
    progress.step("connect", f"connecting to {request.device.name}")
    with connect(request.device, ask, session.FIRST) as helper:
        progress.step("probe", "looking at the device")
        facts = session.probe(helper)
        for warning in session.require_board(request.target, facts, request.device.name):
            progress.note(f"{request.device.name}: {warning}")
        gates.require_real(request.gates, facts, helper.where, allowed=request.allow_emulated)
        measuring.require_cpus(request.effort, request.target.bench, facts, helper.where)
        measuring.collect(helper, request.device.name, progress)
        with _there(request, helper, facts, progress) as there:
            return _measure(request, helper, facts, there, progress)


def _measure(
    request: Request, helper: Helper, facts: DeviceFacts, there: _There, progress: Progress
) -> Measurement:
    against = there.active if gates.against_active(request.gates) else None
    entrants = entrants_of(there.artifacts, against, variants=True)
    about = About(
        release=there.release,
        device=request.device.name,
        facts=facts,
        app=there.app,
        target=request.target.name,
        gpu=request.target.gpu,
        runtimes=there.runtime_bytes,
    )
    with _governed(helper, request.governor, progress):
        result = measuring.measure(
            helper, entrants, about, request.target.bench, progress, effort=request.effort
        )
    if request.profile:
        threads = result.threads
        own = tuple(e for e in entrants if e.release is None and e.xnnpack)
        cpus = request.effort.cpus or request.target.bench.cpus
        operations = measuring.profile(helper, own, about, threads, progress, cpus=cpus)
        result = replace(result, operations=operations)
        store.keep(result, store.place(result))
    drops: tuple[Accuracy, ...] = ()
    if there.evaluation is not None and there.evaluate is not None:
        progress.step("evaluate", "computing accuracy on the device")
        drops = there.evaluate(there.evaluation)
    return Measurement(
        result=result, gates=gates.judge(request.gates, there.runs, result, drops), runs=there.runs
    )


@contextlib.contextmanager
def _governed(helper: Helper, governor: str | None, progress: Progress) -> Iterator[None]:
    if governor is None:
        yield
        return
    done = helper.request("governor", {"governor": governor})
    before = ", ".join(sorted({str(v) for v in done.get("before", {}).values()})) or "unknown"
    progress.note(f"governor {governor} while measuring (was {before})")
    try:
        yield
    finally:
        with contextlib.suppress(Failure):  # a connection that is gone has restored it
            helper.request("governor", {"governor": None})


# --- what is measured


@contextlib.contextmanager
def _there(request: Request, helper: Helper, facts: DeviceFacts, progress: Progress) -> Iterator[_There]:
    if request.source is None:
        yield _active(request, helper)
        return
    with tempfile.TemporaryDirectory(prefix="edgefreeze-bench-") as scratch:
        there = _staged(request, helper, facts, Path(scratch), progress)
        try:
            yield there
        finally:
            # The device does it by itself when the connection ends; so it is done when the command is.
            with contextlib.suppress(Failure):
                helper.request("drop_passing", {"app": there.app})


def _active(request: Request, helper: Helper) -> _There:
    if request.wish.formats and request.wish.auto:
        raise Failure("usage", "--format auto is for building", expected="formats of the release")
    app = operate.only_app(helper, request.app)
    found = operate.app_entry(helper, app)
    runs = session.running(helper, app)
    if found is None or runs is None:
        raise Failure(
            "no-release",
            f"{helper.where}: no release of {app} is active",
            device_state=helper.state_sentence(),
            next="edgefreeze deploy MODEL, or edgefreeze bench MODEL",
        )
    release, artifact = runs
    formats = next(r["formats"] for r in found["releases"] if r["release"] == release)
    wanted = tuple(Format.of(name).key for name in request.wish.formats)
    absent = [name for name in wanted if name not in formats]
    if absent:
        raise Failure(
            "no-artifact",
            f"{helper.where}: the active release of {app} has no {absent[0]}",
            expected=", ".join(formats),
            found=absent[0],
            device_state=helper.state_sentence(),
        )
    chosen = wanted or tuple(formats)
    return _There(
        app=app, release=release, artifacts=chosen, runs=artifact if artifact in chosen else chosen[0],
        active=None,
    )  # fmt: skip


def _staged(
    request: Request, helper: Helper, facts: DeviceFacts, scratch: Path, progress: Progress
) -> _There:
    release, evaluation = _release(request, facts, scratch, progress)
    app = release.manifest["app"]
    wanted = tuple(Format.of(a.key) for a in release.provable)
    if not wanted:
        raise Failure("unverified", "nothing in the release was proved, so nothing of it is measured")
    choices = provision.choose(wanted, request.target, facts, progress)
    able = {f.key for f in wanted if runtimes.table().of_format(f.format) in choices}
    plans = provision.plans(
        replace(release, artifacts=tuple(a for a in release.artifacts if a.key in able)),
        choices, facts, progress, request.sources,
    )  # fmt: skip
    active = session.running(helper, app)
    if active is not None and active[0] == release.id:
        active = None
    bring(request, helper, release, plans, facts, progress)
    asked = {Format.of(name).key for name in request.wish.formats if name != building.AUTO}
    keys = tuple(a.key for a in release.provable if a.key in able and (not asked or a.key in asked))
    if not keys:
        raise Failure("no-artifact", f"the release has none of {', '.join(sorted(asked))}")
    return _There(
        app=app,
        release=release.id,
        artifacts=keys,
        runs=release.primary.key if release.primary.key in keys else keys[0],
        active=active,
        runtime_bytes=weights(release, plans),
        evaluation=evaluation,
        evaluate=lambda data: accuracy.on_device(helper, release, data, threads=request.target.bench.threads),
    )


def _release(
    request: Request, facts: DeviceFacts, scratch: Path, progress: Progress
) -> tuple[Release, Evaluation | None]:
    source = request.source
    assert source is not None
    if (source / "manifest.json").is_file():
        return manifest.load(source), None
    app = request.app
    assert app is not None, "the command names it"
    formats = building.wanted_formats(request.target, request.wish, request.options, progress)
    choices = provision.choose(formats, request.target, facts, progress)
    formats = tuple(f for f in formats if runtimes.table().of_format(f.format) in choices)
    built = building.build(
        source, request.target, app=app, out=scratch / "release", progress=progress, wanted=formats,
        options=request.options, wish=request.wish,
    )  # fmt: skip
    return built.release, built.evaluation


def bring(
    request: Request,
    helper: Helper,
    release: Release,
    plans: tuple[RuntimePlan, ...],
    facts: DeviceFacts,
    progress: Progress,
) -> None:
    """Stage the release for as long as the connection lasts. Raises Failure as a deployment does."""
    ship = session.ask_missing(helper, release, plans)
    check_space(ship, facts, request.target.limits.keep_free_mb, helper.where)
    _, trust = session.open_app(helper, release.manifest["app"], who())
    if request.sign is not None:
        release = signed_for(trust, release, request.sign, plans)
        ship = replace(ship, release=release)
    admission.require_welcome(trust, signing.signer(release), helper.where, helper.state_sentence())
    session.send(helper, ship, progress, passing=True)
    session.stage(helper, ship, facts, runtimes.table().runner, progress, passing=True)


def failure(outcome: Measurement, where: str) -> Failure | None:
    """gate-failed where a gate did not pass, with all that was measured; else None."""
    failure = gates.failure(outcome.gates, f"{where}: release {short(outcome.result.release)}")
    if failure is not None:
        failure.fields = fields(outcome)
    return failure


def fields(outcome: Measurement) -> dict[str, Any]:
    """The fields of bench's --json document."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(outcome.result)
    return {
        "result_schema": found.pop("schema"),
        **found,
        "runs": outcome.runs,
        "gates": msgspec.to_builtins(outcome.gates),
        "batches": [],
    }

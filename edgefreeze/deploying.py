"""The main job: model, target and device in; an active, proved, measured release out, or the device as it
was.

deploy() reads like the order of things. Each step stands in its own room: the device's facts
(ship/session), packages (runtimes), the model (building), the plan (ship/plan), the duel (measuring), the
gates (benchmark/gates).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from edgefreeze import accuracy, measuring, runtimes
from edgefreeze.accuracy import Accuracy
from edgefreeze.benchmark import choice, gates, quality
from edgefreeze.benchmark.plan import entrants_of, require_time
from edgefreeze.benchmark.result import About, DuelResult
from edgefreeze.building import Built, build, wanted_formats
from edgefreeze.deployment import (
    Ask,
    Clock,
    Deployment,
    Request,
    begun,
    proved_there,
    signed_for,
    unverified_of,
    weights,
    who,
)
from edgefreeze.errors import Failure
from edgefreeze.progress import Progress
from edgefreeze.release import signing
from edgefreeze.release.manifest import Release
from edgefreeze.ship import admission, provision, renewal, session
from edgefreeze.ship.plan import RuntimePlan, ShipPlan, check_space
from edgefreeze.ship.session import AppState, SelfTest
from edgefreeze.text import short, size
from edgefreeze.transport.client import Helper, connect
from edgefreeze.types import DeviceFacts
from edgefreeze.worker import sources


def deploy(request: Request, progress: Progress, ask: Ask = lambda prompt: None) -> Deployment:
    """Deploy. Raises Failure; the device then runs a whole, verified release or what it ran before."""
    clock = Clock()
    target, device = request.target, request.device
    # What the user gave is looked at before anything costs time.
    if request.wish.auto and not request.bench:
        raise Failure("usage", "--format auto lets the benchmark choose, and --no-bench leaves it out")
    if request.gates and not request.bench and not all(g.metric == "accuracy_drop" for g in request.gates):
        option = "--max-regress" if all(g.metric == "regress" for g in request.gates) else "--require"
        raise Failure("usage", f"{option} needs the benchmark, and --no-bench leaves it out")
    if gates.of_accuracy(request.gates) and request.wish.evaluation is None:
        raise Failure("usage", "accuracy_drop needs data to compute accuracy on", next="add --eval FILE")
    if request.bench:
        require_time(request.effort, target.bench)
    formats = wanted_formats(target, request.wish, request.options, progress)
    sources.find(request.model)
    if request.sign is not None:
        signing.require_key(request.sign)
    if request.wish.evaluation is not None:
        accuracy.open_data(request.wish.evaluation)
    with clock("connect"):
        progress.step("connect", f"connecting to {device.name}")
        helper = connect(device, ask, session.FIRST)
    with helper:
        with clock("probe"):
            progress.step("probe", "looking at the device")
            facts = session.probe(helper)
            for warning in session.require_board(target, facts, device.name):
                progress.note(f"{device.name}: {warning}")
            gates.require_real(request.gates, facts, helper.where, allowed=request.allow_emulated)
            if request.bench:
                measuring.require_cpus(request.effort, target.bench, facts, helper.where)
            choices = provision.choose(formats, target, facts, progress)
        formats = tuple(f for f in formats if runtimes.table().of_format(f.format) in choices)
        with _scratch() as out:
            with clock("build"):
                built = build(
                    request.model,
                    target,
                    app=request.app,
                    out=out,
                    progress=progress,
                    wanted=formats,
                    options=request.options,
                    wish=request.wish,
                )
            with clock("runtimes"):
                plans = provision.plans(built.release, choices, facts, progress, request.sources)
            outcome = deliver(request, helper, built, plans, facts, progress, clock)
    outcome.seconds = clock.seconds
    return outcome


def deliver(
    request: Request,
    helper: Helper,
    built: Built,
    plans: tuple[RuntimePlan, ...],
    facts: DeviceFacts,
    progress: Progress,
    clock: Clock,
) -> Deployment:
    """What deploy() does once a release is built: ship, prove, measure, judge, switch. Raises Failure."""
    release, target = built.release, request.target
    with clock("plan"):
        opened = renewal.open_and_ask(
            helper, request.app, who(), release, plans, _terms(request, built, facts), progress,
            look_only=request.dry_run,
        )  # fmt: skip
        before, trust, ship = opened.state, opened.trust, opened.ship
        check_space(ship, facts, target.limits.keep_free_mb, helper.where)
    outcome = begun(request, built, ship, facts)
    outcome.previous, outcome.active = before.active, before.active
    outcome.changed = before.active != release.id
    if opened.renewed is not None:
        _tested(request, outcome, opened.renewed, progress)
        outcome.previous = before.previous
        return outcome
    if request.dry_run:
        signer = None if request.sign is None else signing.key_of(request.sign)
        outcome.signer = None if signer is None else signer.fingerprint
        admission.require_welcome(trust, signer, helper.where, helper.state_sentence())
        progress.note(f"{helper.where} {admission.welcome(trust, outcome.signer)}")
        return outcome
    if request.sign is not None:
        with clock("sign"):
            progress.step("sign", signing.announcement(request.sign))
            release = signed_for(trust, release, request.sign, plans)
            ship = replace(ship, release=release)
            outcome.signer = signing.fingerprint(release)
    admission.require_welcome(trust, signing.signer(release), helper.where, helper.state_sentence())
    with clock("send"):
        _announce(ship, helper, progress)
        outcome.bytes_sent = session.send(helper, ship, progress, request.rate)
        outcome.bytes_saved = ship.bytes_total - outcome.bytes_sent
    with clock("verify"):
        known = session.stage(helper, ship, facts, runtimes.table().runner, progress)
    for name in outcome.unverified:
        progress.note(f"{name} is unverified: nothing shows that it computes what the model computes")
    if release.provable:
        with clock("selftest"):
            tests = session.self_test(helper, release, threads=target.bench.threads, progress=progress)
        _tested(request, outcome, tests, progress)
    if built.evaluation is not None and release.provable:
        with clock("evaluate"):
            progress.step("evaluate", "computing accuracy on the device")
            outcome.accuracy = accuracy.on_device(
                helper, release, built.evaluation, threads=target.bench.threads
            )
        _require_accuracy(helper, release, outcome.accuracy, request.wish.max_accuracy_drop, known=known)
    if request.bench and release.provable:
        with clock("bench"):
            outcome.bench = _measure(request, helper, release, plans, facts, before, progress)
        if request.wish.auto:
            outcome.choice = choice.fastest(outcome.bench, memory_bytes=target.limits.memory_bytes)
    _pass_gates(request, helper, release, outcome, known=known)
    with clock("activate"):
        after = session.activate(
            helper,
            release,
            progress,
            prefer=outcome.choice.artifact if outcome.choice else None,
            unverified=outcome.unverified,
            service=request.service,
        )
        outcome.active = after.active
        if before.active == release.id:
            outcome.previous = after.previous
        helper.request("prune", {"app": request.app, "keep": target.limits.keep_releases})
    return outcome


def _terms(request: Request, built: Built, facts: DeviceFacts) -> renewal.Terms | None:
    """None where more is to be done than to see that all is as it was: measure, sign, compute accuracy."""
    signed = request.sign is not None or built.release.signature is not None
    if request.dry_run or request.bench or signed or built.evaluation is not None:
        return None
    return renewal.Terms(
        facts=facts,
        runner=runtimes.table().runner,
        threads=request.target.bench.threads,
        unverified=unverified_of(built.release),
        service=request.service,
        keep=request.target.limits.keep_releases,
    )


def _require_accuracy(
    helper: Helper, release: Release, found: tuple[Accuracy, ...], most_lost: float | None, *, known: bool
) -> None:
    """Raise Failure accuracy-dropped where the device computes worse than is allowed; the release goes,
    unless the device had it before."""
    wrong = {a.format: reason for a in found if (reason := accuracy.too_low(a, most_lost))}
    if wrong:
        if not known:
            session.discard(helper, release.manifest["app"], release.id)
        raise Failure(
            "accuracy-dropped",
            f"{helper.where}: {', '.join(wrong)} loses too much accuracy there",
            expected=f"at most {most_lost:g} points lost",
            found="; ".join(f"{name}: {reason}" for name, reason in wrong.items()),
            device_state=helper.state_sentence(),
            retry_safe=True,
            next="leave it out with --format, or calibrate on more typical data",
        )


def _measure(
    request: Request,
    helper: Helper,
    release: Release,
    plans: tuple[RuntimePlan, ...],
    facts: DeviceFacts,
    before: AppState,
    progress: Progress,
) -> DuelResult:
    """The duel of the release's formats on the device, and of what is active there where a gate asks."""
    measuring.collect(helper, request.device.name, progress)
    active = None
    if gates.against_active(request.gates) and before.active not in (None, release.id):
        active = session.running(helper, request.app)
    about = About(
        release=release.id,
        device=request.device.name,
        facts=facts,
        app=request.app,
        target=request.target.name,
        gpu=request.target.gpu,
        runtimes=weights(release, plans),
    )
    entrants = entrants_of(tuple(a.key for a in release.provable), active)
    effort = request.effort
    if effort.cold_starts is None and all(g.metric != "start" for g in request.gates):
        effort = replace(effort, cold_starts=1)  # a deployment is not for that, and TensorFlow takes long
    return measuring.measure(helper, entrants, about, request.target.bench, progress, effort=effort)


def _tested(request: Request, outcome: Deployment, tests: tuple[SelfTest, ...], progress: Progress) -> None:
    outcome.selftest = tests
    outcome.artifacts = proved_there(outcome.artifacts, tests)
    slow = [test.key for test in tests if test.device == "cpu"]
    if request.target.gpu and slow and not request.bench:  # the duel's findings say it too
        finding = quality.on_the_cpu(slow)
        progress.note(f"{finding.message} ({finding.advice})")


def _pass_gates(
    request: Request, helper: Helper, release: Release, outcome: Deployment, *, known: bool
) -> None:
    """Raise Failure gate-failed where the figures do not show what was asked for; the release goes, unless
    the device had it before."""
    runs = outcome.choice.artifact if outcome.choice else release.primary.key
    outcome.gates = gates.judge(request.gates, runs, outcome.bench, outcome.accuracy)
    failure = gates.failure(outcome.gates, f"{helper.where}: release {short(release.id)}")
    if failure is None:
        return
    if not known:
        session.discard(helper, request.app, release.id)
    failure.device_state = helper.state_sentence()
    failure.fields = {
        "release": release.id,
        "active": outcome.active,
        "gates": msgspec.to_builtins(outcome.gates),
        "bench": None if outcome.bench is None else msgspec.to_builtins(outcome.bench),
    }
    raise failure


def _announce(ship: ShipPlan, helper: Helper, progress: Progress) -> None:
    """TensorFlow is heavy: say so before it goes over somebody's link."""
    brought = {c.source for c in ship.bring}
    for runtime in ship.runtimes:
        tree = runtime.tree
        if tree and tree.runtime == "tensorflow" and any(tree.folder / f.path in brought for f in tree.files):
            progress.note(
                f"TensorFlow for {helper.where} weighs {size(tree.bytes)} unpacked. It is sent once;"
                " --no-tf leaves it out, and with it the frozen graph and the SavedModel."
            )


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="edgefreeze-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

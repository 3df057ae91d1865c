"""The jobs as a person asks for them, at the command line or in Python. What was not said is in
edgefreeze.toml, and the rest is done by the rooms below."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from edgefreeze import benching, building, deploying, operate, project
from edgefreeze.benching import Measurement
from edgefreeze.benchmark.gates import Gate, Judgement
from edgefreeze.benchmark.plan import Effort
from edgefreeze.benchmark.result import DuelResult
from edgefreeze.building import Built, Wish
from edgefreeze.conversion import Options
from edgefreeze.deployment import Ask, Deployment, Request
from edgefreeze.difference import places, sides, verifying
from edgefreeze.difference.verifying import Comparison
from edgefreeze.errors import Failure
from edgefreeze.inventory import Config
from edgefreeze.progress import Progress
from edgefreeze.project import Where
from edgefreeze.release import signing
from edgefreeze.report import html as page
from edgefreeze.targets import Target
from edgefreeze.transport.client import connect


def build(
    model: Path | None,
    config: Config,
    target: Target,
    *,
    app: str | None,
    out: Path | None,
    options: Options,
    wish: Wish,
    sign: Path | None,
    progress: Progress,
) -> Built:
    """A release in the folder `out` (None: build/APP-TARGET of the working folder), signed where a key is
    given here or in edgefreeze.toml.

    Raises Failure: model-missing, sign-key, sign-failed, and as building.wanted_formats and build_into.
    """
    model, options = project.from_config(config, model, options, "build")
    name = project.app_name(app, config, model)
    folder = out or Path("build") / f"{name}-{target.name}"
    key = sign or config.signing_key
    if key is not None:
        signing.require_key(key)
    wanted = building.wanted_formats(target, wish, options, progress)
    built = building.build_into(
        model, target, app=name, out=folder, progress=progress, wanted=wanted, options=options, wish=wish
    )
    if key is not None:
        progress.step("sign", signing.announcement(key))
        built = replace(built, release=signing.sign_folder(folder, key))
    return built


def deploy(
    model: Path | None,
    where: Where,
    *,
    app: str | None,
    options: Options,
    wish: Wish,
    bench: bool,
    dry_run: bool,
    rate: int | None,
    wheels: Path | None,
    sign: Path | None,
    effort: Effort,
    gates: tuple[Gate, ...],
    allow_emulated: bool,
    html: Path | None,
    progress: Progress,
    ask: Ask,
) -> Deployment:
    """Deploy, and write the measurement's report to `html`. Raises Failure: usage, model-missing,
    name-invalid, config-value, and as deploying.deploy."""
    if html is not None and (not bench or dry_run):
        raise Failure("usage", "--html reports the measurement, and there is none")
    model, options = project.from_config(where.config, model, options, "deploy")
    request = Request(
        model=model,
        app=project.app_name(app, where.config, model),
        target=where.target,
        device=where.device,
        options=options,
        wish=wish,
        bench=bench,
        dry_run=dry_run,
        service=where.service,
        rate=rate,
        sign=sign or where.config.signing_key,
        sources=project.sources(where.config, wheels),
        effort=effort,
        gates=gates,
        allow_emulated=allow_emulated,
    )
    try:
        outcome = deploying.deploy(request, progress, ask)
    except Failure as failure:
        # A gate that says no is when one wants to see why.
        if html is not None and failure.fields.get("bench") is not None:
            measured = msgspec.convert(failure.fields["bench"], DuelResult)
            page.write(html, measured, msgspec.convert(failure.fields["gates"], tuple[Judgement, ...]))
        raise
    if html is not None and outcome.bench is not None:
        page.write(html, outcome.bench, outcome.gates)
    return outcome


def bench(
    source: Path | None,
    where: Where,
    *,
    app: str | None,
    options: Options,
    wish: Wish,
    effort: Effort,
    gates: tuple[Gate, ...],
    allow_emulated: bool,
    profile: bool,
    governor: str | None,
    sign: Path | None,
    html: Path | None,
    progress: Progress,
    ask: Ask,
) -> Measurement:
    """Measure a model, a release folder, or without a source what is active there, and write the report to
    `html`. A gate that does not pass is in what is returned. Raises Failure: name-invalid, config-value, and
    as benching.bench."""
    name = app or where.config.app
    if source is not None:
        _, options = project.from_config(where.config, source, options, "bench")
        name = project.app_name(app, where.config, source)
    request = benching.Request(
        source=source,
        app=name,
        target=where.target,
        device=where.device,
        options=options,
        wish=wish,
        effort=replace(effort, batch=options.batch),
        gates=gates,
        allow_emulated=allow_emulated,
        profile=profile,
        governor=governor,
        sign=sign or where.config.signing_key,
        sources=project.sources(where.config),
    )
    outcome = benching.bench(request, progress, ask)
    if html is not None:
        page.write(html, outcome.result, outcome.gates)
    return outcome


def verify(
    a: Path | None,
    b: Path,
    choice: sides.Choice,
    *,
    on: Where | None,
    app: str | None,
    samples: Path | None,
    tolerance: float | None,
    progress: Progress,
    ask: Ask,
) -> Comparison:
    """A beside the reference B, which runs here. on: the device on which A runs; A None is then what is
    active there of the app.

    Raises Failure: usage, and as verifying.verify, sides and the transport.
    """
    if a is None and on is None:
        raise Failure("usage", "verify what?", expected="A, or the app on a device: --on HOST")
    if a is not None and app is not None:
        raise Failure("usage", "--app is what runs on a device already, and A is something else")
    right = sides.side(b, replace(choice, format=None) if on else choice)
    with _left(a, choice, on, app, progress, ask) as left:
        return verifying.verify(left, right, samples, tolerance, progress)


@contextlib.contextmanager
def _left(
    a: Path | None, choice: sides.Choice, on: Where | None, app: str | None, progress: Progress, ask: Ask
) -> Iterator[sides.Model | sides.Artifact]:
    """A: a file here, a file on a device, or what runs there."""
    if on is None:
        assert a is not None
        yield sides.side(a, choice)
        return
    with on_device(on, progress, ask) as place:
        if a is not None:
            yield sides.on_device(a, choice, place)
            return
        name = operate.only_app(place.helper, app or on.config.app)
        with sides.of_app(place.helper, name, None, choice.format, on.target.bench.threads) as running:
            yield running


@contextlib.contextmanager
def on_device(on: Where, progress: Progress, ask: Ask) -> Iterator[places.There]:
    """The device, connected, as a place where artifacts run. Raises Failure as the transport does."""
    progress.step("connect", f"connecting to {on.device.name}")
    with connect(on.device, ask) as helper:
        yield places.there(helper, on.target, progress, project.sources(on.config))

"""edgefreeze.deploy, bench, run, status, history and rollback: what is done on a device.

Of all of them: `device` is the name of one in edgefreeze.toml, an SSH destination ("pi@cam1", "cam1:2222", an
alias of ~/.ssh/config) or a Device; None: the only one of the target, or this machine where that is the
target's. `target`: a kind of board by name, or a Target; None: the device's, else edgefreeze.toml's, else
x86.
`targets`: a folder of targets of your own. `config`: the folder whose edgefreeze.toml counts; None: no file
does. `ask`: gets a prompt, gives the password or passphrase that is wanted, or None; by default nobody is
there to be asked.

All raise Failure: target-unknown, device-*, config-*, what the transport raises (unreachable, auth-failed,
host-key-* …), and locked while another is at work on the app.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import msgspec

from edgefreeze import benching, jobs, operate
from edgefreeze.benching import Measurement
from edgefreeze.deployment import Deployment
from edgefreeze.documents import History, Status, Switch
from edgefreeze.inventory import Device
from edgefreeze.python import arguments
from edgefreeze.python.arguments import Ask, BenchOptions, Data, Listener, Names, Place, path_or_none
from edgefreeze.targets import Target

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


def deploy(
    model: Place | None = None,
    *,
    target: str | Target | None = None,
    device: str | Device | None = None,
    app: str | None = None,
    formats: Names = (),
    bench: bool = True,
    dry_run: bool = False,
    require: Names = (),
    max_regress: float | None = None,
    allow_emulated: bool = False,
    html: Place | None = None,
    rate: int | None = None,
    wheels: Place | None = None,
    sign: Place | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    progress: Listener | None = None,
    ask: Ask = arguments.nobody,
    **options: Unpack[BenchOptions],
) -> Deployment:
    """Freeze a model for a board, prove it, ship it, prove and measure it there, and make it active.

    model: a path; None: edgefreeze.toml's. formats: default the target's; "auto" lets the duel choose.
    bench: False does not measure. dry_run: builds, proves and plans; sends and switches nothing. require:
    what the figures must show first, "p95<40ms"; max_regress: how many per cent slower it may be than what is
    active. html: the file for the measurement's report. rate: at most so many bytes a second are sent.
    wheels: a folder of packages to put runtimes together from. sign: an SSH key.

    Raises Failure, and the device then runs what it ran before: what build raises, gate-failed,
    accuracy-dropped, parity-failed (there), disk-space, untrusted, rolled-back …; TypeError for a model that
    is an object of this process. What `progress` raises ends the deployment likewise.
    """
    with arguments.given("deploy", BenchOptions, {**options, "formats": formats}) as given:
        return jobs.deploy(
            arguments.model_path("deploy", model),
            arguments.where(target, device, targets, config),
            app=app,
            options=given.options,
            wish=given.wish,
            bench=bench,
            dry_run=dry_run,
            rate=rate,
            wheels=path_or_none(wheels),
            sign=path_or_none(sign),
            effort=given.effort,
            gates=arguments.wanted_gates(require, max_regress),
            allow_emulated=allow_emulated,
            html=path_or_none(html),
            progress=arguments.told(progress),
            ask=ask,
        )


def bench(
    source: Place | None = None,
    *,
    target: str | Target | None = None,
    device: str | Device | None = None,
    app: str | None = None,
    formats: Names = (),
    require: Names = (),
    max_regress: float | None = None,
    allow_emulated: bool = False,
    profile: bool = False,
    governor: str | None = None,
    html: Place | None = None,
    sign: Place | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    progress: Listener | None = None,
    ask: Ask = arguments.nobody,
    **options: Unpack[BenchOptions],
) -> Measurement:
    """Measure on a device, beside each other, every format of a model or release; nothing becomes active.

    source: a model's path, a release folder; None: what is active there. profile: how long each operation
    takes. governor: the clock's, set meanwhile. Times are milliseconds in `result`, samples nanoseconds; the
    result is kept as `edgefreeze results` lists it.

    Raises Failure: gate-failed where `require` or `max_regress` is not shown, with all that was measured in
    its `fields`; gate-emulated, no-app, no-release, no-artifact, and what build raises; TypeError for a model
    that is an object of this process.
    """
    with arguments.given("bench", BenchOptions, {**options, "formats": formats}) as given:
        place = arguments.where(target, device, targets, config)
        measured = jobs.bench(
            arguments.model_path("bench", source),
            place,
            app=app,
            options=given.options,
            wish=given.wish,
            effort=given.effort,
            gates=arguments.wanted_gates(require, max_regress),
            allow_emulated=allow_emulated,
            profile=profile,
            governor=governor,
            sign=path_or_none(sign),
            html=path_or_none(html),
            progress=arguments.told(progress),
            ask=ask,
        )
    failure = benching.failure(measured, place.device.name)
    if failure is not None:
        raise failure
    return measured


def run(
    inputs: Data,
    *,
    target: str | Target | None = None,
    device: str | Device | None = None,
    app: str | None = None,
    format: str | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    ask: Ask = arguments.nobody,
) -> dict[str, np.ndarray[Any, Any]]:
    """Infer on the device with the active release: arrays by the signature's input names, or an .npz, in;
    arrays by its output names out. One call, of the model's shapes and dtypes; numbers that are in no array
    yet become float32, or int64.

    format: default the release's own choice. Raises Failure: samples-bad, bad-input, no-app, no-release,
    runtime-failed.
    """
    place = arguments.where(target, device, targets, config)
    with arguments.data("inputs", inputs) as file:
        assert file is not None
        arrays = operate.read_inputs(file)
    return operate.infer(place.device, app or place.config.app, arrays, format, ask).outputs


def status(
    *,
    target: str | Target | None = None,
    device: str | Device | None = None,
    app: str | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    ask: Ask = arguments.nobody,
) -> Status:
    """What a device runs: its apps (or the one named), the active and the previous release of each.

    Raises Failure no-app where the app that is named is not there.
    """
    place = arguments.where(target, device, targets, config)
    return _typed(operate.status(place.device, app, ask), Status)


def history(
    *,
    target: str | Target | None = None,
    device: str | Device | None = None,
    app: str | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    ask: Ask = arguments.nobody,
) -> History:
    """What happened to an app on a device, oldest first. Raises Failure no-app."""
    place = arguments.where(target, device, targets, config)
    return _typed(operate.history(place.device, app or place.config.app, ask), History)


def rollback(
    *,
    to: str | None = None,
    target: str | Target | None = None,
    device: str | Device | None = None,
    app: str | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    ask: Ask = arguments.nobody,
) -> Switch:
    """Return a device to the release that was active before, or to the one whose id starts with `to`.

    Raises Failure: no-previous, no-release, no-app.
    """
    place = arguments.where(target, device, targets, config)
    return _typed(operate.rollback(place.device, app or place.config.app, to, ask), Switch)


def _typed(found: Mapping[str, Any], kind: type[T]) -> T:
    return msgspec.convert(found, kind)

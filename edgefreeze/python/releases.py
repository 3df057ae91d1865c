"""edgefreeze.build, verify and inspect: without a device, or with one where verify is told so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from edgefreeze import jobs, project
from edgefreeze import targets as known_targets
from edgefreeze.building import Built
from edgefreeze.difference import sides
from edgefreeze.difference.verifying import Comparison, check_tolerance
from edgefreeze.inspection import report
from edgefreeze.inspection.report import Inspection
from edgefreeze.inventory import Device
from edgefreeze.python import arguments
from edgefreeze.python.arguments import Ask, BuildOptions, Data, Listener, Names, Place, several
from edgefreeze.targets import Target


def build(
    model: Place | None = None,
    *,
    target: str | Target | None = None,
    app: str | None = None,
    out: Place | None = None,
    formats: Names = (),
    sign: Place | None = None,
    targets: Place | None = None,
    config: Place | None = ".",
    progress: Listener | None = None,
    **options: Unpack[BuildOptions],
) -> Built:
    """Freeze, convert and prove a model for a kind of board, into the folder `out`, without a device.

    model: a path; None: edgefreeze.toml's. target: its name, or a Target; None: edgefreeze.toml's, else x86.
    formats: "tflite", "tflite:int8" …, or "auto" for all that could be fastest; default: the target's.
    out: default build/APP-TARGET in the working folder; an earlier release there gives way when the new one
    is whole. sign: an SSH key. targets: a folder of targets of your own. config: the folder whose
    edgefreeze.toml counts; None: no file does.

    Returns what was made, refusals included; `release.folder` is `out`. Raises Failure: the model's and the
    freezing's refusals, parity-failed, unverified, samples-bad, format-*, config-*, sign-*; TypeError for a
    model that is an object of this process.
    """
    with arguments.given("build", BuildOptions, {**options, "formats": formats}) as given:
        settings = arguments.configuration(config)
        return jobs.build(
            arguments.model_path("build", model),
            settings,
            project.target(settings, target, arguments.path_or_none(targets)),
            app=app,
            out=arguments.path_or_none(out),
            options=given.options,
            wish=given.wish,
            sign=arguments.path_or_none(sign),
            progress=arguments.told(progress),
        )


def verify(
    a: Place | None = None,
    *,
    against: Place,
    samples: Data | None = None,
    tolerance: float | None = None,
    device: str | Device | None = None,
    target: str | Target | None = None,
    app: str | None = None,
    signature: str | None = None,
    format: str | None = None,
    inputs: Names = (),
    outputs: Names = (),
    trust: bool = False,
    targets: Place | None = None,
    config: Place | None = ".",
    progress: Listener | None = None,
    ask: Ask = arguments.nobody,
) -> Comparison:
    """Compare what A computes with what the reference computes, each in a fresh process in its own runtime.

    a, against: models, artifacts or release folders. samples: default drawn inputs. tolerance: largest error
    that passes, relative to the range of the reference's output; default: by the formats. device: where A
    runs; with it and no A, it is the active release of the app there. format: of a release folder.

    Returns the comparison, whose `equal` says whether they are. Raises Failure: not-comparable, samples-bad,
    usage, and what loading either raises.
    """
    settings = arguments.configuration(config)
    on = project.place(settings, target, device, arguments.path_or_none(targets))
    choice = sides.Choice(
        signature=signature, format=format, inputs=several(inputs), outputs=several(outputs), trust=trust
    )
    with arguments.data("samples", samples) as given:
        return jobs.verify(
            arguments.model_path("verify", a),
            arguments.path(against),
            choice,
            on=on,
            app=app,
            samples=given,
            tolerance=check_tolerance(tolerance),
            progress=arguments.told(progress),
            ask=ask,
        )


def inspect(
    model: Place,
    *,
    target: str | Target | Sequence[str | Target] = (),
    signature: str | None = None,
    tags: Names = (),
    outputs: Names = (),
    targets: Place | None = None,
    config: Place | None = ".",
) -> Inspection:
    """What is in a model, read from its file alone: nothing in it runs, and TensorFlow is not loaded.

    target: one or several to judge it for; default: all that are known. signature, tags: of a SavedModel.
    outputs: of a graph that names none. Raises Failure: model-missing, model-empty, model-unknown,
    model-broken, model-signature-choice, target-unknown.
    """
    settings = arguments.configuration(config)
    extra = arguments.path_or_none(targets)
    one = (target,) if isinstance(target, (str, Target)) else tuple(target)
    wanted = one or tuple(known_targets.names(project.folders(settings, extra)))
    judged = [project.target(settings, entry, extra) for entry in wanted]
    found, _ = report.inspect(
        arguments.path(model),
        judged,
        signature=signature,
        tags=several(tags) or None,
        outputs=several(outputs),
    )
    return found

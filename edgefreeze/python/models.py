"""edgefreeze.freeze: models as objects of this process, and models on disk.

An object is frozen here, where TensorFlow is imported already, and proved in a process of its own; a path
goes the way of the command line, through the worker.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from edgefreeze import conversion
from edgefreeze.conversion import Options
from edgefreeze.freezing import WANTED, Frozen, finish
from edgefreeze.freezing import freeze as freeze_path
from edgefreeze.progress import Progress
from edgefreeze.python import arguments
from edgefreeze.python.arguments import Data, Listener, Place, SourceOptions, several
from edgefreeze.targets import Freeze
from edgefreeze.types import Artifact, Conversion


def freeze(
    model: Any,
    out: Place | None = None,
    *,
    signature: Any = None,
    samples: Data | None = None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    verify: bool = True,
    progress: Listener | None = None,
    **options: Unpack[SourceOptions],
) -> Frozen:
    """Freeze a model and prove the result in a fresh process.

    model: a path, or of this process a Keras model, tf.Module, tf.function, ConcreteFunction, or a
    tf.compat.v1.Session with `inputs` and `outputs` (tensors or their names).
    out: the .pb to write; None: a file that lives as long as this process.
    signature: a name (of a SavedModel's signature, of a tf.Module's function); or for a tf.function or a
    tf.Module's __call__ the TensorSpecs of its arguments.
    samples: inputs by name, as arrays whose rows are cut into calls, or a path (see worker/samples.py).
    verify: False leaves the proof out, and the status is then "unverified".

    Raises Failure, as the command does, and writes nothing then. Raises TypeError for another object.
    """
    place = arguments.path(out) if out is not None else _temporary()
    listener = arguments.told(progress)
    with (
        arguments.given("freeze", SourceOptions, options) as given,
        arguments.data("samples", samples) as examples,
        tempfile.TemporaryDirectory(prefix="edgefreeze-") as scratch,
    ):
        folder = Path(scratch)
        chosen = replace(given.options, samples=examples, verify=verify)
        if isinstance(model, (str, os.PathLike)):
            named = replace(
                chosen,
                signature=signature,
                inputs=tuple(map(str, several(inputs))),
                outputs=tuple(map(str, several(outputs))),
            )
            return freeze_path(arguments.path(model), place, named, listener)
        started = time.monotonic()
        made = _convert(model, signature, inputs, outputs, chosen, folder, listener)
        proved = conversion.prove_all(made, folder, chosen.tolerances, listener)
        return finish(proved, folder, place, chosen, started)


def _convert(
    model: Any, signature: Any, inputs: Sequence[Any], outputs: Sequence[Any], options: Options, folder: Path,
    progress: Progress,
) -> Conversion:  # fmt: skip
    """The worker's operation `convert` for an object, in this process."""
    from tensorflow.python.eager import context

    from edgefreeze.worker import objects, optimize
    from edgefreeze.worker.convert import Stages, complete
    from edgefreeze.worker.formats import frozen_pb

    optimize.require_level(options.optimize or "none")
    wanted = Artifact(
        format="frozen_pb",
        precision="fp32",
        status="unverified",
        runtime=frozen_pb.RUNTIME,
        tolerance=WANTED[0].allowed,
    )
    asked = conversion.request(Path(), folder, WANTED, Freeze(), options)
    # Scripts of TensorFlow 1 have a graph as default, or have switched eager execution off.
    with context.eager_mode():
        source = objects.source(model, signature, inputs, outputs, options.batch)
        return complete(
            source, "object", "", [(wanted, {})], asked, folder, Stages(conversion.stages(progress))
        )


def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgefreeze-"))

    def leave() -> None:
        with suppress(OSError):
            shutil.rmtree(folder)

    atexit.register(leave)
    return folder / "model.pb"

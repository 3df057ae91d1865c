"""edgefreeze.freeze: models as objects of this process, and models on disk.

An object is frozen here, where TensorFlow is imported already, and proved in a process of its own; a path
goes the way of the command line, through the worker.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze import conversion
from edgefreeze.conversion import Options
from edgefreeze.errors import Failure
from edgefreeze.freezing import WANTED, Frozen, finish
from edgefreeze.freezing import freeze as freeze_path
from edgefreeze.progress import Silent
from edgefreeze.targets import Freeze


def freeze(
    model: Any,
    out: str | Path | None = None,
    *,
    signature: Any = None,
    samples: Mapping[str, Any] | str | Path | None = None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    **options: Any,
) -> Frozen:
    """Freeze a model and prove the result in a fresh process.

    model: a path, or of this process a Keras model, tf.Module, tf.function, ConcreteFunction, or a
    tf.compat.v1.Session with `inputs` and `outputs` (tensors or their names).
    out: the .pb to write; None: a file that lives as long as this process.
    signature: a name (of a SavedModel's signature, of a tf.Module's function); or for a tf.function or a
    tf.Module's __call__ the TensorSpecs of its arguments.
    samples: inputs by name, as arrays whose rows are cut into calls, or a path (see worker/samples.py).
    options: as freezing.Options.

    Raises Failure, as the command does, and writes nothing then. Raises TypeError for another object.
    """
    place = Path(out) if out is not None else _temporary()
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as made:
        folder = Path(made)
        if isinstance(samples, Mapping):
            samples = _stored(samples, folder / "samples.npz")
        chosen = Options(samples=Path(samples) if samples is not None else None, **options)
        if isinstance(model, (str, Path)):
            named = replace(
                chosen,
                signature=signature,
                inputs=tuple(map(str, inputs)),
                outputs=tuple(map(str, outputs)),
            )
            return freeze_path(Path(model), place, named)
        started = time.monotonic()
        made = _convert(model, signature, inputs, outputs, chosen, folder)
        proved = conversion.prove_all(made, folder, chosen.tolerances, Silent())
        return finish(proved, folder, place, chosen, started)


def _convert(
    model: Any, signature: Any, inputs: Sequence[Any], outputs: Sequence[Any], options: Options, folder: Path
) -> Any:
    """The worker's operation `convert` for an object, in this process."""
    from tensorflow.python.eager import context

    from edgefreeze.types import Artifact
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
        return complete(source, "object", "", [(wanted, {})], asked, folder, Stages(lambda event: None))


def _stored(samples: Mapping[str, Any], path: Path) -> Path:
    import numpy as np

    from edgefreeze.device import tensors

    try:
        path.write_bytes(tensors.encode({name: np.asarray(value) for name, value in samples.items()}))
    except tensors.TensorError as error:
        raise Failure(
            "samples-bad",
            "The samples cannot be used.",
            expected="arrays of numbers or strings by input name",
            found=str(error),
        ) from error
    return path


def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgefreeze-"))

    def leave() -> None:
        with suppress(OSError):
            shutil.rmtree(folder)

    atexit.register(leave)
    return folder / "model.pb"

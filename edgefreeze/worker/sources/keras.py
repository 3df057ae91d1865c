"""A Keras 3 .keras file: a zip with config.json and model.weights.h5.

Inputs and outputs have the names that model.export() would give: an input is named as its tensor, an
output by its key where the model returns a dict, else output_0, output_1, ….
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.types import Tensor
from edgefreeze.worker.graphs import unused
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Options, Source, tensors_of, trace, with_batch

KIND = "a Keras 3 model (a .keras file)"
_MEMBERS = {"config.json", "model.weights.h5"}
_SIGNATURE = "serving_default"


def sniff(path: Path) -> bool:
    """Whether the file is a zip with Keras's members, or a .keras zip whose directory is damaged."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _MEMBERS.issubset(archive.namelist())
    except zipfile.BadZipFile:
        return path.suffix == ".keras"


def load(path: Path, options: Options) -> Source:
    """Load a .keras file and trace it for inference, with training=False.

    Raises Failure: model-broken, model-untrusted, model-unsupported.
    """
    import keras
    import tensorflow as tf

    model = _load(path)
    try:
        structure = model.input
        tensors = keras.tree.flatten(structure)
    except (AttributeError, ValueError) as error:
        raise Failure(
            "model-unsupported",
            f"The Keras model {path} does not say what its inputs are.",
            expected="a Functional or Sequential model that was built, so that its inputs are known",
            found=f"{type(model).__name__} without inputs",
            next="Export it where it was made: model.export('saved_model')",
        ) from error
    inputs: list[Tensor] = []
    for tensor in tensors:
        name = unused(tensor.name, lambda n: n in {t.name for t in inputs})
        shape = with_batch(tuple(tensor.shape), options.batch)
        inputs.append(
            Tensor(name=name, tensor="", dtype=keras.backend.standardize_dtype(tensor.dtype), shape=shape)
        )

    def call(values: dict[str, Any]) -> dict[str, Any]:
        packed = keras.tree.pack_sequence_as(structure, [values[t.name] for t in inputs])
        return _named(model(packed, training=False))

    function = trace(call, inputs)
    named_inputs, outputs = tensors_of(function, [t.name for t in inputs])
    variables = {id(v.value.handle): v.path for v in model.variables}

    def save(folder: Path) -> None:
        module = tf.Module()
        # Not all of the model's: a dropout keeps a random seed, which inference never reads.
        captured = {id(outer) for outer, _ in function.graph.captures}
        module.variables_of_model = [v.value for v in model.variables if id(v.value.handle) in captured]
        tf.saved_model.save(module, str(folder), signatures={_SIGNATURE: function})
        # Its random identifier would give the same model another digest each time; nothing reads it.
        (folder / "fingerprint.pb").unlink(missing_ok=True)

    return Source(
        function=function,
        inputs=named_inputs,
        outputs=outputs,
        signature=_SIGNATURE,
        save=save,
        save_method="saved from the Keras model's inference function",
        labels={
            internal.op.name: f"the variable {variables.get(id(outer), 'without a name')!r}"
            for outer, internal in function.graph.captures
            if internal.dtype.name == "resource"
        },
        keep=model,
    )


def _named(result: Any) -> dict[str, Any]:
    """The model's result as a flat dict, with the names that model.export() gives."""
    if isinstance(result, dict):
        return {str(key): value for key, value in result.items()}
    values = result if isinstance(result, (list, tuple)) else [result]
    return {f"output_{i}": value for i, value in enumerate(values)}


def _load(path: Path) -> Any:
    import keras

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = clean(str(error))
    if damaged:
        raise Failure(
            "model-broken",
            f"The Keras file {path} is damaged or cut short.",
            expected="a whole zip archive",
            found=damaged,
            next="Save or copy the model again.",
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        text = str(error).lower()
        if "lambda" in text and "safe" in text:
            raise Failure(
                "model-untrusted",
                f"The Keras file {path} holds a Lambda layer, whose code would run when it is loaded.",
                expected="layers without code of their own",
                found="a Lambda layer with a Python function in the file",
                next="Where the model was made, replace the Lambda or use model.export('saved_model')",
            ) from error
        raise Failure(
            "model-unsupported",
            f"Keras cannot load {path}.",
            expected="a model of layers that Keras 3 itself has",
            found=reason(error),
            next="Export it where it was made: model.export('saved_model')",
        ) from error

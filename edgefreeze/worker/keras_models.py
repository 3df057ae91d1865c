"""A Keras model, of Keras 3 or of tf-keras, as a Source; and reading one from its file.

Inputs and outputs have the names that the model's own export would give: an input is named as its tensor, an
output by its key where the model returns a dict; else Keras 3 says output_0, output_1, …, Keras 2 the names
of the layers.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.types import Tensor
from edgefreeze.worker import custom_objects, hdf5, wire
from edgefreeze.worker.cutting import listed
from edgefreeze.worker.graphs import unused
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.signatures import DEFAULT
from edgefreeze.worker.sources import Options, Source, narrowed, tensors_of, trace, with_batch

MEMBERS = {"config.json", "model.weights.h5"}
_ZIP = b"PK\x03\x04"
_OF_A_MODEL = ("keras_version", "model_config", "model_weights")
_OF_WEIGHTS = ("layer_names", "weight_names", "_layer_checkpoint_dependencies", "layers", "vars")
_UNKNOWN = re.compile(
    r"(?:Could not locate|Unknown)\s+(?:class|function|layer|object|initializer|activation function|"
    r"regularizer|constraint|loss function|metric function)?:?\s*'?([\w.>]+)'?"
)
_EXPORT = "Export it where it was made: model.export('saved_model')"


def version(path: Path) -> str | None:
    """The version of Keras that wrote a .keras or .h5 file; "" where it does not say, None if it is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(_ZIP):
        return _zip_version(path)
    if head != hdf5.MAGIC or not hdf5.mentions(path, *_OF_A_MODEL, *_OF_WEIGHTS):
        return None
    return hdf5.attribute(path, "keras_version") or ""


def _zip_version(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if not MEMBERS.issubset(archive.namelist()):
                return None
            metadata = json.loads(archive.read("metadata.json"))
            return str(metadata.get("keras_version", ""))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, NotImplementedError, RuntimeError):
        with path.open("rb") as file:
            return "" if path.suffix == ".keras" or b"config.json" in file.read(4096) else None
    except Exception:  # zlib.error and EOFError of a damaged member
        return ""


def of_keras_2(path: Path, version: str) -> bool:
    """Whether a file with this version belongs to Keras 2: one without, if it has a model."""
    if version:
        return int(version.split(".")[0]) < 3 if version.split(".")[0].isdigit() else False
    return hdf5.is_hdf5(path) and bool(hdf5.mentions(path, "model_config"))


def read(path: Path, keras: Any, options: Options) -> Any:
    """The model in a .keras or .h5 file, not compiled.

    keras: the package that reads it, keras or tf_keras. Raises Failure: model-broken, model-untrusted,
    model-unsupported, usage.
    """
    is_zip = not hdf5.is_hdf5(path)
    config = _zip_config(path) if is_zip else _hdf5_config(path)
    own = custom_objects.resolve(options.custom_objects)
    if not options.trust:
        _refuse_code(config, path, own)
    with _named(path, ".keras" if is_zip else ".h5") as file:
        try:
            if is_zip:
                return keras.models.load_model(file, own, compile=False, safe_mode=not options.trust)
            # Without a safe mode of its own in tf-keras; what is unsafe was looked for above.
            if keras.__name__ == "keras":
                return keras.models.load_model(file, own, compile=False, safe_mode=not options.trust)
            return keras.models.load_model(file, own, compile=False)
        except Exception as error:
            raise _unreadable(path, error, keras.__name__) from error


def read_saved_model(path: Path, keras: Any, options: Options) -> Any:
    """The model in a SavedModel of Keras 2. Raises Failure as `read`."""
    own = custom_objects.resolve(options.custom_objects)
    if not options.trust:
        _refuse_code(_metadata_configs(path / "keras_metadata.pb"), path, own)
    try:
        return keras.models.load_model(str(path), own, compile=False)
    except Exception as error:
        raise _unreadable(path, error, keras.__name__) from error


def _metadata_configs(path: Path) -> list[Any]:
    """The configurations in a keras_metadata.pb: JSON within protobuf."""
    found = []
    data = path.read_bytes()
    try:
        for number, node in wire.fields(data, 0, len(data)):
            if number == 1 and not isinstance(node, int):
                inner = dict(wire.fields(data, *node))
                metadata = inner.get(5)
                if isinstance(metadata, tuple):
                    found.append(json.loads(data[slice(*metadata)]))
    except ValueError as error:
        raise broken(path, clean(str(error), 300)) from error
    return found


def _unreadable(path: Path, error: Exception, package: str) -> Failure:
    text = str(error)
    if "lambda" in text.lower() and "safe" in text.lower():
        return _untrusted(path, "a Lambda layer with a Python function in the file")
    missing = _UNKNOWN.search(text)
    if missing:
        return _without_classes(path, [f"MODULE:{missing[1].rpartition('>')[2]}"])
    if isinstance(error, (OSError, EOFError, zipfile.BadZipFile)) or type(error).__module__ == "zlib":
        return broken(path, reason(error))
    return Failure(
        "model-unsupported",
        f"Keras cannot load {path}.",
        expected=f"a model of layers that {'Keras 3' if package == 'keras' else 'tf-keras'} itself has",
        found=reason(error),
        next=_EXPORT,
    )


def broken(path: Path, found: str) -> Failure:
    """The file is not whole."""
    return Failure(
        "model-broken",
        f"The Keras file {path} is damaged or cut short.",
        expected="a whole zip archive or HDF5 file, as Keras wrote it",
        found=found,
        next="Save or copy the model again.",
    )


def _zip_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is None:
                return json.loads(archive.read("config.json"))
    except Exception as error:  # BadZipFile, zlib.error, NotImplementedError, EOFError, KeyError, ValueError
        raise broken(path, clean(str(error), 300) or type(error).__name__) from error
    raise broken(path, clean(damaged))


def _hdf5_config(path: Path) -> Any:
    import h5py

    try:
        with h5py.File(path) as file:
            text = file.attrs.get("model_config")
            weights = any(name in file.attrs or name in file for name in _OF_WEIGHTS)
            config = json.loads(text) if text is not None else None
    except Exception as error:  # OSError, RuntimeError, KeyError, ValueError, by where the damage is
        raise broken(path, reason(error)) from error
    if config is not None:
        return config
    if not weights:
        raise broken(path, "an HDF5 file without model_config")
    raise Failure(
        "model-unsupported",
        f"The file {path} holds weights only: nothing in it says what to compute with them.",
        expected="a whole model, as model.save('model.keras') writes it",
        found="an HDF5 file with weights and no configuration",
        next="Build the model where its code is, model.load_weights(FILE), then model.export('saved_model')",
    )


def _refuse_code(config: Any, path: Path, own: dict[str, Any]) -> None:
    code = custom_objects.lambdas(config)
    if code:
        raise _untrusted(path, f"a Lambda layer with a Python function in the file: {listed(code)}")
    foreign = custom_objects.foreign(config, tuple(own))
    if foreign:
        raise _without_classes(path, foreign)


def _untrusted(path: Path, found: str) -> Failure:
    return Failure(
        "model-untrusted",
        f"The Keras file {path} holds a Lambda layer, whose code would run when it is loaded.",
        expected="layers without code of their own",
        found=found,
        next="--trust, if you know who made it; or replace the Lambda where the model was made",
    )


def _without_classes(path: Path, missing: list[str]) -> Failure:
    return Failure(
        "model-unsupported",
        f"The Keras file {path} needs classes or functions that Keras does not have: "
        f"{listed([name.partition(':')[2] for name in missing])}.",
        expected="layers of Keras itself, or --custom-objects with the others",
        found=listed(missing),
        next=" ".join(f"--custom-objects {name}" for name in missing),
    )


@contextmanager
def _named(path: Path, suffix: str) -> Iterator[str]:
    """The file under a name that ends as Keras wants it."""
    if path.name.endswith(suffix):
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="edgefreeze-") as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(path.resolve())
        yield str(link)


def source_of(model: Any, options: Options, name: str) -> Source:
    """A Keras model of either Keras as a Source, traced for inference with training=False.

    name: what to call the model to a user. Raises Failure model-unsupported.
    """
    import tensorflow as tf

    try:
        structure = _structure(model)
        tensors = tf.nest.flatten(structure)
    except (AttributeError, ValueError) as error:
        raise Failure(
            "model-unsupported",
            f"The Keras model {name} does not say what its inputs are.",
            expected="a Functional or Sequential model that was built, so that its inputs are known",
            found=f"{type(model).__name__} without inputs",
            next=_EXPORT,
        ) from error
    inputs: list[Tensor] = []
    for tensor in tensors:
        key = unused(tensor.name, lambda n: n in {t.name for t in inputs})
        shape = with_batch(tuple(tensor.shape), options.batch)
        inputs.append(Tensor(name=key, tensor="", dtype=tf.as_dtype(tensor.dtype).name, shape=shape))
    layers = getattr(model, "output_names", None) if is_legacy(model) else None

    def call(values: dict[str, Any]) -> dict[str, Any]:
        packed = tf.nest.pack_sequence_as(structure, [values[t.name] for t in inputs])
        return narrowed(keyed(model(packed, training=False), layers), options.outputs)

    function = trace(call, inputs)
    named_inputs, outputs = tensors_of(function, [t.name for t in inputs])
    # What a recurrent layer remembers is none of the model's variables.
    variables = {id(v.handle): v.name.split(":")[0] for v in function.graph.variables}
    variables |= {id(_variable(v).handle): getattr(v, "path", v.name) for v in model.variables}

    def save(folder: Path) -> None:
        module = tf.Module()
        # Not all of the model's: a dropout keeps a random seed, which inference never reads.
        captured = {id(outer) for outer, _ in function.graph.captures}
        values = [_variable(v) for v in model.variables]
        module.variables_of_model = [v for v in values if id(v.handle) in captured]
        module.others_of_model = [v for v in _tables(model) if id(v.resource_handle) in captured]
        tf.saved_model.save(module, str(folder), signatures={DEFAULT: function})
        # Its random identifier would give the same model another digest each time; nothing reads it.
        (folder / "fingerprint.pb").unlink(missing_ok=True)

    return Source(
        function=function,
        inputs=named_inputs,
        outputs=outputs,
        signature=DEFAULT,
        save=save,
        save_method="saved from the Keras model's inference function",
        labels={
            internal.op.name: f"the variable {variables.get(id(outer), 'without a name')!r}"
            for outer, internal in function.graph.captures
            if internal.dtype.name == "resource"
        },
        keep=model,
    )


def _structure(model: Any) -> Any:
    """A model's symbolic inputs as it takes them. Raises AttributeError, ValueError where it has none."""
    try:
        return model.input
    except AttributeError:
        # A Sequential that was built and never called.
        if not getattr(model, "inputs", None):
            raise
        return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def is_legacy(model: Any) -> bool:
    """Whether a model is one of tf-keras."""
    return any(c.__module__.split(".")[0] == "tf_keras" for c in type(model).__mro__)


def keyed(result: Any, layers: list[str] | None) -> dict[str, Any]:
    """A model's result as a flat dict; what is nested gets its path as key, joined by "_".

    layers: names for a result that is no dict, where there are as many (Keras 2).
    """
    if not isinstance(result, dict):
        values = list(result) if isinstance(result, (list, tuple)) else [result]
        names = [f"output_{i}" for i in range(len(values))]
        if layers is not None and len(layers) == len(values) == len(set(layers)):
            names = layers
        result = dict(zip(names, values, strict=True))
    flat: dict[str, Any] = {}
    for key, value in result.items():
        inner = value if isinstance(value, dict) else None
        if isinstance(value, (list, tuple)):
            inner = dict(enumerate(value))
        if inner is None:
            flat[unused(str(key), flat.__contains__)] = value
            continue
        for name, part in keyed({f"{key}_{k}": v for k, v in inner.items()}, None).items():
            flat[unused(name, flat.__contains__)] = part
    return flat


def _variable(variable: Any) -> Any:
    """The tf.Variable in a variable of Keras 3; one of tf-keras is one."""
    return getattr(variable, "value", None) if not hasattr(variable, "handle") else variable


def _tables(model: Any) -> list[Any]:
    """The look-up tables of a model's layers (StringLookup and its kin)."""
    found = []
    for layer in getattr(model, "_flatten_layers", lambda: model.layers)():
        for name in ("lookup_table", "token_counts"):
            table = getattr(layer, name, None)
            if hasattr(table, "resource_handle"):
                found.append(table)
    return found

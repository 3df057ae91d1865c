"""Models that are objects of this process as Sources: Keras models, modules, functions, sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure, nearest
from edgefreeze.types import Tensor
from edgefreeze.worker.graphs import unused
from edgefreeze.worker.signatures import DEFAULT
from edgefreeze.worker.sources import Options, Source, shape_of, tensors_of, trace, with_batch


def source(
    model: Any, signature: Any, inputs: Sequence[Any], outputs: Sequence[Any], batch: int | None
) -> Source:
    """A Source of an object; see edgefreeze.freeze for what it may be and what the arguments mean.

    Raises Failure: usage (a name or TensorSpecs are missing), model-unsupported; TypeError for another
    object.
    """
    import tensorflow as tf

    from edgefreeze.worker import keras_models

    if isinstance(model, tf.compat.v1.Session):
        return _session(model, inputs, outputs)
    if _is_keras(model):
        return keras_models.source_of(model, Options(batch=batch), f"{type(model).__name__} {model.name!r}")
    if hasattr(model, "structured_input_signature") and hasattr(model, "captured_inputs"):
        return _concrete(model, model, batch)
    if hasattr(model, "get_concrete_function"):
        return _concrete(_traced(model, signature), model, batch)
    if isinstance(model, tf.Module):
        name, specs = (signature, None) if isinstance(signature, str) else ("", signature)
        return _concrete(_traced(_method(model, name), specs), model, batch)
    raise TypeError(
        f"{type(model).__name__} is no path, Keras model, tf.Module, tf.function, ConcreteFunction or "
        "tf.compat.v1.Session"
    )


def _is_keras(model: Any) -> bool:
    return any(
        c.__name__ == "Model" and c.__module__.startswith(("keras.", "tf_keras."))
        for c in type(model).__mro__
    )


def _method(module: Any, name: str) -> Any:
    """A module's tf.function: the one named, or its only one, or __call__."""
    found = {
        key: value
        for key in dir(module)
        if hasattr(value := getattr(module, key, None), "get_concrete_function")
    }
    wanted = name or ("__call__" if "__call__" in found else next(iter(found)) if len(found) == 1 else "")
    if wanted not in found:
        near = nearest(name, list(found)) if name else None
        raise Failure(
            "usage",
            f"{type(module).__name__} has no tf.function {name!r}"
            + (f"; did you mean {near!r}?" if near else ".")
            if name
            else f"{type(module).__name__} has {len(found)} tf.functions, and none is __call__.",
            expected="signature=" + (" or ".join(map(repr, found)) or "a method that is a tf.function"),
            found=name or "no name",
        )
    return found[wanted]


def _traced(function: Any, signature: Any) -> Any:
    """A concrete function of a tf.function: of the TensorSpecs given, of its own, of its only trace."""
    import tensorflow as tf

    if isinstance(signature, tf.TensorSpec):
        signature = [signature]
    try:
        if isinstance(signature, Mapping):
            return function.get_concrete_function(**signature)
        if signature is not None and not isinstance(signature, str):
            return function.get_concrete_function(*signature)
        return function.get_concrete_function()
    except (TypeError, ValueError) as error:
        raise Failure(
            "usage",
            "The function does not say what its inputs are.",
            expected="signature=[tf.TensorSpec(...), ...], or an input_signature of its own",
            found=str(error).splitlines()[0][:200],
        ) from error


def _concrete(function: Any, keep: Any, batch: int | None) -> Source:
    """A concrete function with its arguments by name and its results as a flat dict."""
    import tensorflow as tf

    from edgefreeze.worker import keras_models

    structure = function.structured_input_signature
    leaves = tf.nest.flatten(structure, expand_composites=True)
    inputs: list[Tensor] = []
    for spec in leaves:
        if isinstance(spec, tf.TensorSpec):
            name = unused(spec.name or "input", lambda n: n in {t.name for t in inputs})
            shape = with_batch(shape_of(spec.shape), batch)
            inputs.append(Tensor(name=name, tensor="", dtype=spec.dtype.name, shape=shape))

    def call(values: dict[str, Any]) -> dict[str, Any]:
        given = iter([values[t.name] for t in inputs])
        flat = [next(given) if isinstance(spec, tf.TensorSpec) else spec for spec in leaves]
        arguments, named = tf.nest.pack_sequence_as(structure, flat, expand_composites=True)
        return keras_models.keyed(function(*arguments, **named), None)

    return _of(trace(call, inputs), inputs, (keep, function))


def _session(session: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Source:
    """What a session holds now. inputs, outputs: tensors, or names as --inputs and --outputs take them."""
    from edgefreeze.worker import cutting, sessions

    graph = session.graph.as_graph_def()

    def ends(given: Sequence[Any], flag: str) -> list[cutting.End]:
        names = [t if isinstance(t, str) else t.name.removesuffix(":0") for t in given]
        return cutting.ends(names, graph, flag)

    if not outputs:
        raise cutting.unnamed(Path("the session"), cutting.candidates(graph))
    fetched = ends(outputs, "outputs=")
    fed = ends(inputs, "inputs=") if inputs else cutting.placeholders(graph, fetched)
    return sessions.live(session, graph, fed, fetched)


def _of(function: Any, inputs: Sequence[Tensor], keep: Any) -> Source:
    named, outputs = tensors_of(function, [t.name for t in inputs])
    variables = {id(v.handle): f"the variable {v.name.split(':')[0]!r}" for v in function.graph.variables}
    return Source(
        function=function,
        inputs=named,
        outputs=outputs,
        signature=DEFAULT,
        save=_no_folder,
        save_method="",
        labels={
            internal.op.name: variables.get(id(outer), "a resource without a name")
            for outer, internal in function.graph.captures
            if internal.dtype.name == "resource"
        },
        keep=keep,
    )


def _no_folder(folder: Path) -> None:
    raise Failure("internal", "Only the frozen graph is made of an object.")

"""A graph of TensorFlow 1 as a Source: kept to what its outputs need, restored in a session, and made a
function whose variables and tables are captured as a TensorFlow 2 model's are.

The session stays: it computes the original's outputs. What is frozen is the function, so comparing the two
proves the way from one to the other as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import assets, operations, restoring, saving, tables
from edgefreeze.worker.cutting import PLACEHOLDERS, End, cut, keep, listed
from edgefreeze.worker.graphs import producer
from edgefreeze.worker.modernise import modernise
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.signatures import DEFAULT
from edgefreeze.worker.sources import Source, shape_of, with_batch

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

_PIPELINE = re.compile(
    r"\w*Queue\w*|Barrier\w*|Reader\w*|\w*Reader(V2)?|Iterator\w*|OneShotIterator|\w*MakeIterator|(Uns|S)tage"
)
_GIVING = re.compile(r"Dequeue|GetNext|ReaderRead|Unstage")
_INTERNAL = "edgefreeze_"
"""Begins the names of nodes that stand in the way of none of the model's; they are renamed in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A graph on disk, and how to bring it to life (see restoring.Plan)."""

    path: Path
    graph: Any
    inputs: Sequence[End]
    outputs: Sequence[End]
    signature: str
    restore: str | None = None
    initialise: tuple[str, ...] = ()
    values: str | None = None
    """A checkpoint to restore from by name, where the graph has no operation for it."""
    own: Mapping[str, str] = field(default_factory=dict)
    feeds: Mapping[str, str] = field(default_factory=dict)
    """What the above are fed: a checkpoint's name, the paths of assets, by tensor."""
    types: Mapping[str, tuple[int, Any]] = field(default_factory=dict)
    """(dtype, shape) of inputs' tensors, as far as the model states them."""
    files: tuple[Path, ...] | None = None


def load(model: Model, batch: int | None, save_method: str) -> Source:
    """Restore the graph and make it a Source.

    Raises Failure: model-broken (no value for a variable, no such node), model-unsupported (missing
    operations, an input pipeline, a placeholder that no input feeds), usage (no such tensor).
    """
    import tensorflow as tf

    _require(model)
    graph, placeholders = cut(model.graph, _types(model))
    fetches = _fetches(graph, model.outputs, placeholders)
    inference = keep(graph, [producer(t) for t in fetches.values()])
    _refuse_unfed(inference, model, set(placeholders.values()))
    todo = restoring.plan(graph, inference, model.restore, model.initialise, model.own)
    whole = keep(graph, [*(n.name for n in inference.node), *todo.roots(), *placeholders.values()])
    operations.refuse_missing(whole, model.path)
    operations.refuse_without_kernel(inference, model.path)
    session = _session(whole, model.path)
    if model.values is not None:
        restoring.by_name(session, inference, model.values, model.path)
    restoring.run(session, todo, inference, model.feeds, model.path)
    inference = assets.fold(inference, model.feeds, [producer(t) for t in fetches.values()], model.path)

    feeds = {end.key: f"{placeholders[end.tensor]}:0" for end in model.inputs}
    inputs = [_input(session.graph, key, tensor, batch) for key, tensor in feeds.items()]
    for end in model.outputs:
        _get(session.graph, fetches[end.key], model.path)
    function, tracked, labels = _function(inference, inputs, feeds, fetches, session, model)

    def run(arrays: Arrays) -> Arrays:
        results: Arrays = session.run(fetches, {tensor: arrays[key] for key, tensor in feeds.items()})
        return results

    def save(folder: Path) -> None:
        module = tf.Module()
        module.variables_of_model, module.tables_of_model = tracked
        saving.save(module, folder, model.signature, function, inputs)

    return Source(
        function=function,
        inputs=tuple(_tensor(t.name, i) for t, i in zip(inputs, function.inputs, strict=False)),
        outputs=tuple(_tensor(k, o) for k, o in zip(sorted(fetches), function.outputs, strict=True)),
        signature=model.signature,
        save=save,
        save_method=save_method,
        labels=labels,
        keep=(session, tracked),
        runner=run,
        files=model.files,
    )


def live(session: Any, graph: Any, inputs: Sequence[End], outputs: Sequence[End]) -> Source:
    """What a session of this process holds now, as a Source. graph: the session's.

    Raises Failure: as `load`.
    """
    model = Model(path=Path("the session"), graph=graph, inputs=inputs, outputs=outputs, signature=DEFAULT)
    tensors = {end.tensor: _get(session.graph, end.tensor, model.path) for end in (*inputs, *outputs)}
    shapes = {
        end.tensor: (tensors[end.tensor].dtype.as_datatype_enum, tensors[end.tensor].shape.as_proto())
        for end in inputs
    }
    graph, placeholders = cut(graph, shapes)
    fetches = _fetches(graph, outputs, placeholders)
    inference = keep(graph, [producer(t) for t in fetches.values()])
    _refuse_unfed(inference, model, set(placeholders.values()))
    feeds = {end.key: f"{placeholders[end.tensor]}:0" for end in inputs}
    given = [_input(session.graph, end.key, end.tensor, None) for end in inputs]
    function, tracked, labels = _function(inference, given, feeds, fetches, session, model)
    asked = {end.key: end.tensor for end in outputs if end.tensor not in placeholders}
    passed = {o.key: i.key for o in outputs for i in inputs if o.tensor == i.tensor}

    def run(arrays: Arrays) -> Arrays:
        found = session.run(asked, {end.tensor: arrays[end.key] for end in inputs})
        return {**found, **{key: arrays[source] for key, source in passed.items()}}

    return Source(
        function=function,
        inputs=tuple(_tensor(t.name, i) for t, i in zip(given, function.inputs, strict=False)),
        outputs=tuple(_tensor(k, o) for k, o in zip(sorted(fetches), function.outputs, strict=True)),
        signature=model.signature,
        save=lambda folder: None,
        save_method="",
        labels=labels,
        keep=(session, tracked),
        runner=run,
    )


def _require(model: Model) -> None:
    nodes = {node.name for node in model.graph.node}
    lost = [e for e in (*model.inputs, *model.outputs) if producer(e.tensor) not in nodes]
    if lost:
        raise Failure(
            "model-broken",
            f"The model {model.path} names tensors that its graph does not have.",
            expected="a node for each input and output",
            found=listed([f"{e.key} ({e.tensor})" for e in lost]),
            next="Save or copy the model again, or name others with --inputs and --outputs.",
        )


def _types(model: Model) -> dict[str, tuple[int, Any]]:
    """(dtype, shape) of the inputs' tensors: as the model says, else as TensorFlow infers."""
    import tensorflow as tf

    known = {end.tensor: model.types[end.tensor] for end in model.inputs if end.tensor in model.types}
    asked = [end.tensor for end in model.inputs if end.tensor not in known]
    if asked:
        part = keep(model.graph, [producer(t) for t in asked])
        operations.refuse_missing(part, model.path)
        with tf.Graph().as_default() as graph:
            _import(part, model.path)
            for tensor in asked:
                found = _get(graph, tensor, model.path)
                known[tensor] = (found.dtype.base_dtype.as_datatype_enum, found.shape.as_proto())
    return known


def _get(graph: Any, tensor: str, path: Path) -> Any:
    try:
        return graph.get_tensor_by_name(tensor)
    except (KeyError, ValueError) as error:
        raise Failure(
            "usage",
            f"The model {path} has no tensor {tensor!r}.",
            expected="node or node:i, i below the number of the node's outputs",
            found=tensor,
        ) from error


def _fetches(graph: Any, outputs: Sequence[End], placeholders: Mapping[str, str]) -> dict[str, str]:
    """The tensors to fetch, by key. An input that is passed straight to an output gets an Identity, since
    a session fetches nothing that it is fed."""
    types = {node.name: node.attr["dtype"].type for node in graph.node if node.op == "Placeholder"}
    fetches: dict[str, str] = {}
    for end in outputs:
        place = placeholders.get(end.tensor)
        fetches[end.key] = end.tensor
        if place is not None:
            node = graph.node.add(name=f"{_INTERNAL}passed_{len(fetches)}", op="Identity")
            node.input.append(place)
            node.attr["T"].type = types[place]
            fetches[end.key] = f"{node.name}:0"
    return fetches


def _refuse_unfed(inference: Any, model: Model, fed: set[str]) -> None:
    """Raise Failure model-unsupported where the outputs wait for what nobody feeds."""
    pipeline = [n for n in inference.node if _PIPELINE.fullmatch(n.op)]
    if pipeline:
        givers = [n for n in pipeline if _GIVING.search(n.op)] or pipeline
        raise Failure(
            "model-unsupported",
            f"The outputs of {model.path} come out of an input pipeline, which a frozen graph cannot take "
            "along.",
            expected="outputs that depend on placeholders",
            found=listed([f"{n.op} at {n.name}" for n in givers]),
            next=f"--inputs {givers[-1].name}",
        )
    unfed = [n.name for n in inference.node if n.op in PLACEHOLDERS and n.name not in fed]
    if unfed:
        named = [e.key if e.tensor == f"{e.key}:0" else f"{e.key}={e.tensor}" for e in model.inputs]
        raise Failure(
            "model-unsupported",
            f"The outputs of {model.path} depend on placeholders that are no input.",
            expected="an input for each placeholder",
            found=listed(unfed),
            next=f"--inputs {','.join([*named, *unfed])}",
        )


def _import(graph: Any, path: Path, **options: Any) -> Any:
    import tensorflow as tf

    try:
        return tf.import_graph_def(graph, name="", **options)
    except Exception as error:  # ValueError, NotFoundError, TypeError, by what is wrong with the graph
        raise Failure(
            "model-broken",
            f"TensorFlow cannot import the graph of {path}.",
            expected="a whole graph whose nodes fit each other",
            found=reason(error),
            next="Save or copy the model again, or cut it with --inputs and --outputs.",
        ) from error


def _session(graph: Any, path: Path) -> Any:
    import tensorflow as tf

    with tf.Graph().as_default() as loaded:
        _import(graph, path)
    return tf.compat.v1.Session(graph=loaded)


def _input(graph: Any, key: str, tensor: str, batch: int | None) -> Tensor:
    found = graph.get_tensor_by_name(tensor)
    return Tensor(
        name=key, tensor=tensor, dtype=found.dtype.name, shape=with_batch(shape_of(found.shape), batch)
    )


def _tensor(key: str, tensor: Any) -> Tensor:
    return Tensor(name=key, tensor=tensor.name, dtype=tensor.dtype.name, shape=shape_of(tensor.shape))


def _function(
    inference: Any,
    inputs: Sequence[Tensor],
    feeds: Mapping[str, str],
    fetches: Mapping[str, str],
    session: Any,
    model: Model,
) -> tuple[Any, tuple[list[Any], list[Any]], dict[str, str]]:
    """(concrete function, (variables, tables) that it captures, labels): the session, once more."""
    import tensorflow as tf

    values = restoring.variables(session, inference)
    contents = restoring.contents(session, inference)
    variables = {
        name: tf.Variable(value, name=name, trainable=False) for name, value in sorted(values.items())
    }
    built = {name: _table(table, name) for name, table in sorted(contents.items())}
    handles = {name: variable.handle for name, variable in variables.items()}
    handles |= {name: table.resource_handle for name, table in built.items()}
    graph = modernise(inference)
    for node in graph.node:
        if node.op == "PlaceholderWithDefault":
            node.op = "Identity"
            node.attr["T"].type = node.attr["dtype"].type
            del node.attr["dtype"], node.attr["shape"]
    replaced = {*handles, *(producer(t) for t in feeds.values())}
    kept = [node for node in graph.node if node.name not in replaced]
    del graph.node[:]
    graph.node.extend(kept)
    captured: dict[str, str] = {}

    def body(*tensors: Any) -> dict[str, Any]:
        inner = tf.compat.v1.get_default_graph()
        mapped = dict(zip((feeds[t.name] for t in inputs), tensors, strict=True))
        for name, handle in handles.items():
            mapped[f"{name}:0"] = inner.capture(handle, name=f"{_INTERNAL}capture_{len(captured)}")
            captured[mapped[f"{name}:0"].op.name] = name
        results = _import(graph, model.path, input_map=mapped, return_elements=list(fetches.values()))
        return dict(zip(fetches, results, strict=True))

    specs = [tf.TensorSpec(t.shape, t.dtype, name=f"{_INTERNAL}given_{i}") for i, t in enumerate(inputs)]
    function = tf.compat.v1.wrap_function(body, specs)
    function.graph.variables = list(variables.values())
    kinds = {**dict.fromkeys(variables, "variable"), **dict.fromkeys(built, "table")}
    labels = {place: f"the {kinds[name]} {name!r}" for place, name in captured.items()}
    return function, (list(variables.values()), list(built.values())), labels


def _table(contents: tables.Table, name: str) -> Any:
    """A table of these contents in this process."""
    import tensorflow as tf

    key_dtype, value_dtype = tf.as_dtype(contents.key_dtype), tf.as_dtype(contents.value_dtype)
    keys, values = (
        tf.constant(array, dtype, array.shape)
        for array, dtype in ((contents.keys, key_dtype), (contents.values, value_dtype))
    )
    empty = b"" if value_dtype == tf.string else False if value_dtype == tf.bool else 0
    if contents.values.ndim == 1:
        filled = tf.lookup.KeyValueTensorInitializer(keys, values)
        return tf.lookup.StaticHashTable(filled, tf.constant(empty, value_dtype), name=name)
    default = tf.fill(contents.values.shape[1:], tf.constant(empty, value_dtype))
    table = tf.lookup.experimental.MutableHashTable(key_dtype, value_dtype, default, name=name)
    table.insert(keys, values)
    return table

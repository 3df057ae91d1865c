"""Variables that a model changes while it infers: told apart from those that only seem to matter, and
turned into inputs and outputs where that is asked for.

The changes are followed through the graph in the order in which they happen. What an output then does not
depend on (a counter of calls, a scratch value that is written before it is read) is no state, and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefreeze.types import State, Tensor
from edgefreeze.worker import gate
from edgefreeze.worker.flow import follow
from edgefreeze.worker.graphs import canonical, ordered, producer, reachable, unused
from edgefreeze.worker.sources import Source, shape_of, tensors_of, trace

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

_ASSIGN_ARITHMETIC = {"AssignAddVariableOp": "AddV2", "AssignSubVariableOp": "Sub"}
_SCATTER = {
    "ResourceScatterAdd": "TensorScatterAdd",
    "ResourceScatterSub": "TensorScatterSub",
    "ResourceScatterMax": "TensorScatterMax",
    "ResourceScatterMin": "TensorScatterMin",
    "ResourceScatterUpdate": "TensorScatterUpdate",
    "ResourceScatterNdAdd": "TensorScatterAdd",
    "ResourceScatterNdSub": "TensorScatterSub",
    "ResourceScatterNdUpdate": "TensorScatterUpdate",
}

_SHOWN_VALUES = 4096


class Entangled(Exception):
    """The changes cannot be followed; the text says where."""


def settle(source: Source, hoist: bool) -> tuple[Source, tuple[State, ...], str | None]:
    """(a source whose function changes nothing, its hoisted state, what was done or None).

    Raises Failure freeze-refused, with the names of the variables, where the outputs depend on state and
    `hoist` is false, or the changes cannot be followed.
    """
    original = source.function.graph.as_graph_def()
    written = gate.writes(original, source.labels)
    if not written:
        return source, (), None
    try:
        return _settle(source, hoist)
    except Entangled as trouble:
        raise gate.changes(written, f"{trouble}, so --hoist-state cannot help" if hoist else None) from None


def _settle(source: Source, hoist: bool) -> tuple[Source, tuple[State, ...], str | None]:
    graph = inlined(source.function)
    results = [t.name for t in source.function.outputs]
    graph = canonical(graph, [producer(t.tensor) for t in source.inputs], map(producer, results))
    present = {node.name for node in graph.node}
    captured = {
        internal.op.name: outer
        for outer, internal in source.function.graph.captures
        if internal.op.name in present
    }
    handles = _written(graph, captured)
    variables = {v.handle._id: v for v in source.function.graph.variables}
    finals: dict[str, tuple[str, str]] = {}
    pure: set[str] = set()
    for handle in handles:
        variable = variables.get(captured[handle]._id)
        if variable is None:
            raise Entangled(f"{source.labels.get(handle, handle)} is no variable")
        finals[handle] = _thread(graph, handle, variable.dtype.as_datatype_enum, variable.shape, pure)
    _forget_order(graph, pure)

    needed = [h for h in handles if finals[h][0] in _data(graph, map(producer, results))]
    if needed and not hoist:
        what = {source.labels.get(h, "a variable without a name") for h in needed}
        written = gate.writes(source.function.graph.as_graph_def(), source.labels)
        raise gate.changes([w for w in written if w.what in what] or written, None)

    taken = {t.name for t in (*source.inputs, *source.outputs)}

    def is_taken(name: str) -> bool:
        return name in taken or f"{name}_out" in taken

    inputs, outputs = list(source.inputs), dict(zip([t.name for t in source.outputs], results, strict=True))
    states: list[State] = []
    held: dict[str, Any] = {}
    for handle in needed:
        variable = variables[captured[handle]._id]
        name = unused(variable.name.split(":")[0], is_taken)
        taken.update((name, f"{name}_out"))
        start, end = finals[handle]
        inputs.append(
            Tensor(
                name=name,
                tensor=f"{start}:0",
                dtype=variable.dtype.base_dtype.name,
                shape=shape_of(variable.shape),
            )
        )
        outputs[f"{name}_out"] = end
        value = variable.numpy()
        initial = value.tolist() if value.size <= _SHOWN_VALUES else None
        states.append(
            State(variable=variable.name.split(":")[0], input=name, output=f"{name}_out", initial=initial)
        )
        held[name] = variable
    done = f"Assign stripped ({len(handles) - len(needed)})" if len(needed) < len(handles) else None
    if needed:
        done = f"{done + ', ' if done else ''}state hoisted ({len(needed)})"
    settled = retrace(source, graph, inputs, outputs)
    return (_Hoisted.of(settled, source, held) if held else settled), tuple(states), done


def detached(source: Source) -> Source:
    """The source with calls inlined, and only what its outputs need captured."""
    results = [t.name for t in source.function.outputs]
    return retrace(
        source,
        inlined(source.function),
        list(source.inputs),
        dict(zip([t.name for t in source.outputs], results, strict=True)),
    )


def inlined(function: Any) -> Any:
    """The function's GraphDef with all calls but those of control flow inlined; inputs, captures and
    outputs keep their names. Raises what TensorFlow raises."""
    from tensorflow.python.framework import convert_to_constants

    return convert_to_constants._run_inline_graph_optimization(function, False, False)


def retrace(source: Source, graph: Any, inputs: list[Tensor], outputs: Mapping[str, str]) -> Source:
    """The source with another function: that of an edited copy of its graph.

    inputs: `tensor` says what of the graph each feeds. outputs: key → tensor of the graph. What the graph
    still uses of the source's captures is captured again, and nothing else.
    """
    import tensorflow as tf

    roots = [producer(tensor) for tensor in outputs.values()]
    graph = canonical(graph, [], roots)
    used = {producer(ref) for node in graph.node for ref in node.input} | set(roots)
    old = source.function.graph
    captures = {i.op.name: outer for outer, i in old.captures if i.op.name in used}
    fed = {t.name: t.tensor for t in inputs if producer(t.tensor) in used}
    outside = {*captures, *(producer(tensor) for tensor in fed.values())}
    inner = type(graph)()
    inner.versions.CopyFrom(graph.versions)
    inner.library.CopyFrom(graph.library)
    inner.node.extend(node for node in graph.node if node.name not in outside)
    needed = [ref for ref in dict.fromkeys(outputs.values()) if producer(ref) not in outside]

    def call(values: dict[str, Any]) -> dict[str, Any]:
        here = tf.compat.v1.get_default_graph()
        for variable in old.variables:
            here.watch_variable(variable)
        given = {tensor: values[key] for key, tensor in fed.items()}
        given |= {f"{name}:0": here.capture(outer) for name, outer in captures.items()}
        referred = {_full(ref) for node in inner.node for ref in node.input if not ref.startswith("^")}
        found = tf.graph_util.import_graph_def(
            inner,
            input_map={name: tensor for name, tensor in given.items() if name in referred},
            return_elements=[_full(ref) for ref in needed],
            name="model",
        )
        made = {**given, **dict(zip(map(_full, needed), found, strict=True))}
        return {key: tf.identity(made[_full(ref)]) for key, ref in outputs.items()}

    function = trace(call, inputs)
    named, results = tensors_of(function, [t.name for t in inputs])
    labels = {id(outer): source.labels[i.op.name] for outer, i in old.captures if i.op.name in source.labels}
    return replace(
        source,
        function=function,
        inputs=named,
        outputs=results,
        labels={i.op.name: labels[id(o)] for o, i in function.graph.captures if id(o) in labels},
    )


def _full(ref: str) -> str:
    return ref if ":" in ref else f"{ref}:0"


def _written(graph: Any, captured: Mapping[str, Any]) -> list[str]:
    """The captures that the main graph changes, by name. Raises Entangled where a function does."""
    found: dict[str, None] = {}
    for use in follow(graph, {name: name for name in captured}):
        if gate.is_write(use.node):
            if use.function is not None:
                raise Entangled(f"it happens inside a loop or a branch ({use.node.name})")
            found[next(name for name in use.given if name)] = None
    if not found:
        raise Entangled("what changes is not one of the model's own variables")
    return sorted(found)


def _thread(graph: Any, handle: str, dtype: int, shape: Any, pure: set[str]) -> tuple[str, str]:
    """Replace a variable's reads and writes by the values that it takes, in place.

    Returns (the placeholder for its value before, the tensor of its value after). The nodes that lost their
    side effect are added to `pure`.
    """
    accesses = {use.node.name for use in follow(graph, {handle: handle}) if use.function is None}
    order = [node for node in ordered(graph.node) if node.name in accesses and node.op != "Identity"]
    _require_order(graph, order)
    names = {node.name for node in graph.node}

    def fresh(wish: str) -> str:
        name = unused(wish, names.__contains__)
        names.add(name)
        return name

    start = graph.node.add(name=fresh(f"{handle}_state"), op="Placeholder")
    start.attr["dtype"].type = dtype
    start.attr["shape"].shape.CopyFrom(shape.as_proto())
    pure.add(start.name)
    current = str(start.name)
    for node in order:
        current = _access(graph, node, current, dtype, fresh)
        pure.add(node.name)
    return str(start.name), current


def _access(graph: Any, node: Any, current: str, dtype: int, fresh: Callable[[str], str]) -> str:
    """Make one access a pure operation on `current`; returns what is current afterwards."""
    from tensorflow.core.framework import types_pb2

    data = [i for i in node.input if not i.startswith("^")]
    control = [i for i in node.input if i.startswith("^")]

    def become(op: str, *inputs: str, **types: int) -> None:
        node.op = op
        node.input[:] = [*inputs, *control]
        node.ClearField("attr")
        for attr, value in types.items():
            node.attr[attr].type = value

    def constant(wish: str, value: int) -> str:
        from tensorflow.python.framework import tensor_util

        made = graph.node.add(name=fresh(f"{node.name}/{wish}"), op="Const")
        made.attr["dtype"].type = types_pb2.DT_INT32
        made.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(value, types_pb2.DT_INT32))
        return str(made.name)

    op = node.op
    if op == "ReadVariableOp":
        become("Identity", current, T=dtype)
        return current
    if op == "AssignVariableOp":
        become("Identity", data[1], T=dtype)
    elif op in _ASSIGN_ARITHMETIC:
        become(_ASSIGN_ARITHMETIC[op], current, data[1], T=dtype)
    elif op == "ResourceGather":
        index, batch = node.attr["Tindices"].type, node.attr["batch_dims"].i
        become(
            "GatherV2",
            current,
            data[1],
            constant("axis", batch),
            Tparams=dtype,
            Tindices=index,
            Taxis=types_pb2.DT_INT32,
        )
        node.attr["batch_dims"].i = batch
        return current
    elif op == "ResourceGatherNd":
        become("GatherNd", current, data[1], Tparams=dtype, Tindices=node.attr["Tindices"].type)
        return current
    elif op == "VariableShape":
        become("Shape", current, T=dtype, out_type=node.attr["out_type"].type or types_pb2.DT_INT32)
        return current
    elif op in _SCATTER:
        index = node.attr["Tindices"].type
        where = data[1]
        if "Nd" not in op:
            expanded = graph.node.add(name=fresh(f"{node.name}/indices"), op="ExpandDims")
            expanded.input.extend([where, constant("last", -1)])
            expanded.attr["T"].type = index
            expanded.attr["Tdim"].type = types_pb2.DT_INT32
            where = expanded.name
        become(_SCATTER[op], current, where, data[2], T=dtype, Tindices=index)
    elif op == "ResourceStridedSliceAssign":
        kept = {k: node.attr[k].i for k in node.attr if k.endswith("_mask")}
        become("TensorStridedSliceUpdate", current, *data[1:], T=dtype, Index=node.attr["Index"].type)
        for key, value in kept.items():
            node.attr[key].i = value
    else:
        raise Entangled(f"{op} at {node.name} uses it")
    return str(node.name)


def _require_order(graph: Any, accesses: list[Any]) -> None:
    """Raise Entangled if a write and another access may happen in either order."""
    before = {node.name: reachable(graph, [node.name]) for node in accesses}
    for node in accesses:
        for other in accesses if gate.is_write(node) else ():
            if node.name not in before[other.name] and other.name not in before[node.name]:
                raise Entangled(f"nothing says whether {node.name} or {other.name} comes first")


def _forget_order(graph: Any, pure: set[str]) -> None:
    """Nobody waits for nodes that have no side effect any more: one waits for what they waited for."""
    nodes = {node.name: node for node in graph.node}

    def behind(name: str, seen: set[str]) -> list[str]:
        if name not in pure:
            return [name]
        if name in seen:
            return []
        seen.add(name)
        return [n for i in nodes[name].input if i.startswith("^") for n in behind(producer(i), seen)]

    for node in graph.node:
        control = [producer(i) for i in node.input if i.startswith("^")]
        if pure.intersection(control):
            data = [i for i in node.input if not i.startswith("^")]
            waits = dict.fromkeys(n for c in control for n in behind(c, set()))
            node.input[:] = [*data, *(f"^{n}" for n in waits if n != node.name)]


def _data(graph: Any, roots: Any) -> set[str]:
    """What the roots compute with, control dependencies aside."""
    bare = type(graph)()
    for node in graph.node:
        copy = bare.node.add(name=node.name, op=node.op)
        copy.input.extend(i for i in node.input if not i.startswith("^"))
    return reachable(bare, roots)


class _Hoisted(Source):
    """A source whose reference is the original with its variables set before and read after each call."""

    __slots__ = ("_held", "_original")

    _held: dict[str, Any]
    _original: Source

    @classmethod
    def of(cls, settled: Source, original: Source, held: dict[str, Any]) -> _Hoisted:
        made = cls(**{f.name: getattr(settled, f.name) for f in fields(Source)} | {"save": _no_saved_model})
        object.__setattr__(made, "_original", original)
        object.__setattr__(made, "_held", held)
        return made

    def run(self, inputs: Arrays) -> Arrays:
        """The original's outputs for inputs and state, and its state afterwards."""
        for name, variable in self._held.items():
            variable.assign(inputs[name])
        outputs = replace(self._original, runner=None).run(inputs)
        return {**outputs, **{f"{name}_out": v.numpy() for name, v in self._held.items()}}


def _no_saved_model(folder: Path) -> None:
    from edgefreeze.worker.formats import Unfit

    raise Unfit(
        "The model's own SavedModel keeps its state inside; with --hoist-state there is none to ship."
    )

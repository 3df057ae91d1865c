"""From a loaded model to a GraphDef without variables, with the signature's names.

TensorFlow's own recipe (convert_variables_to_constants_v2) is the reference and the first rung of a ladder;
the others are for what it fails on, and `method` says which one it was. Control flow stays as While and If
with their functions unless asked otherwise: the ONNX and TFLite converters need it so, and sessions lower
it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import gate, limits, names, reading, retracing, tables
from edgefreeze.worker.graphs import canonical, producer, rename, unused
from edgefreeze.worker.reasons import reason
from edgefreeze.worker.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A graph that passed the gate, where its inputs and outputs are, and what to run once after loading."""

    graph: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    init_ops: tuple[str, ...] = ()
    method: str

    def canonical(self, graph: Any) -> Any:
        """A canonical copy of an edited graph that keeps these inputs, outputs and init ops."""
        return canonical(
            graph,
            [producer(t.tensor) for t in self.inputs],
            [*(producer(t.tensor) for t in self.outputs), *self.init_ops],
        )

    def check(self, graph: Any) -> None:
        """The gate on an edited graph. Raises Failure freeze-refused."""
        gate.check(graph, self.inputs, self.outputs, init_ops=self.init_ops)


Rung = tuple[str, Callable[[], tuple[Any, Source, list[str]]]]
"""A way to freeze: its name; what gives (graph without variables, the source that it is of, the tensors of
its outputs)."""


def freeze(source: Source, *, lower_control_flow: bool = False, aggressive_inlining: bool = False) -> Frozen:
    """Freeze a model's function. Raises Failure freeze-refused, naming what stands in the way.

    The result depends on the model and the arguments alone: same bytes in any process.
    """
    gate.refuse_writes(source.function.graph.as_graph_def(), source.labels)
    limits.refuse_too_large(limits.captured_bytes(source.function))
    failed: list[str] = []
    refused: Failure | None = None
    for method, climb in _rungs(source, lower_control_flow, aggressive_inlining):
        try:
            graph, climbed, results = climb()
            tried = f" after {'; '.join(f.partition(':')[0] for f in failed)}" if failed else ""
            return _finish(graph, climbed, results, method + tried)
        except Failure as failure:  # the gate's: another rung may do, and if none does this is the reason
            failed.append(f"{method}: {failure.message}")
            refused = refused or failure
        except Exception as error:  # TensorFlow raises ValueError, InvalidArgumentError, AssertionError here
            failed.append(f"{method}: {reason(error, 300)}")
            last = error
    if refused is not None:
        raise refused
    raise Failure(
        "freeze-refused",
        "TensorFlow cannot turn the model's variables into constants.",
        expected="a function whose variables can be read once and kept",
        found="; ".join(failed),
    ) from last


def _rungs(source: Source, lower: bool, aggressive: bool) -> Iterator[Rung]:
    def recipe(of: Source, inlining: bool) -> tuple[Any, Source, list[str]]:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        function = convert_variables_to_constants_v2(
            of.function, lower_control_flow=lower, aggressive_inlining=inlining
        )
        return function.graph.as_graph_def(), of, [t.name for t in function.outputs]

    name = "convert_variables_to_constants_v2(lower_control_flow={}, aggressive_inlining={})"
    yield name.format(lower, aggressive), lambda: recipe(source, aggressive)
    if not aggressive:
        yield name.format(lower, True), lambda: recipe(source, True)
    yield (
        f"captures detached, {name.format(lower, aggressive)}",
        lambda: recipe(retracing.detached(source), aggressive),
    )
    yield "convert_variables_to_constants_from_session_graph", lambda: _from_session(source)
    yield "variables read as constants", lambda: reading.constants(source)


def _from_session(source: Source) -> tuple[Any, Source, list[str]]:
    """TensorFlow 1's recipe: the inlined graph in a session whose variables have the captured values."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    graph_def = retracing.inlined(source.function)
    results = [t.name for t in source.function.outputs]
    held = {v.handle._id: v for v in source.function.graph.variables}
    referred = {producer(ref) for node in graph_def.node for ref in node.input}
    captures = {i.op.name: o for o, i in source.function.graph.captures if i.op.name in referred}
    # Read before there is another graph, in which nothing can be read.
    variables = {name: (held[o._id], held[o._id].numpy()) for name, o in captures.items() if o._id in held}
    given = {name: o.numpy() for name, o in captures.items() if o.dtype not in (tf.resource, tf.variant)}
    with tf.Graph().as_default() as graph:
        made: dict[str, Any] = {}
        values: list[tuple[Any, Any]] = []
        for name, (variable, value) in sorted(variables.items()):
            local = tf.compat.v1.get_variable(
                f"edgefreeze/{name}", shape=variable.shape, dtype=variable.dtype, use_resource=True
            )
            made[f"{name}:0"] = local.handle
            values.append((local, value))
        for name, array in sorted(given.items()):
            made[f"{name}:0"] = tf.constant(array)
        tf.import_graph_def(graph_def, input_map=made, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            for local, value in values:
                local.load(value, session)
            frozen = convert_to_constants.convert_variables_to_constants_from_session_graph(
                session, graph.as_graph_def(), [producer(r) for r in results]
            )
    return frozen, source, results


def _finish(graph: Any, source: Source, results: list[str], method: str) -> Frozen:
    """Names, tables and the gate."""
    keys = ([t.name for t in source.inputs], [t.name for t in source.outputs])
    reserved = {name for plan in names.plan(*keys) for name in plan.values()}
    labels, captured = _name_captures(graph, source, reserved)
    init_ops = tables.install(graph, _tables(graph, source, captured), reserved)
    where = {t.name: t.tensor for t in source.inputs}
    inputs, outputs = names.apply(
        graph,
        [_at(t, where[t.name]) for t in source.inputs],
        [_at(t, tensor) for t, tensor in zip(source.outputs, results, strict=True)],
    )
    frozen = Frozen(graph=graph, inputs=inputs, outputs=outputs, init_ops=init_ops, method=method)
    graph = frozen.canonical(graph)
    gate.check(graph, inputs, outputs, labels, init_ops)
    return Frozen(graph=graph, inputs=inputs, outputs=outputs, init_ops=init_ops, method=method)


def _tables(graph: Any, source: Source, captured: dict[str, Any]) -> dict[str, tables.Table]:
    """The contents of the tables that the graph uses, by node. One that cannot be read is left to the
    gate, which refuses it by name."""
    found: dict[str, tables.Table] = {}
    for name, (key_dtype, value_dtype) in tables.uses(graph, captured).items():
        try:
            found[name] = tables.export(captured[name], key_dtype, value_dtype)
        except Exception as error:  # whatever TensorFlow says of a table that is not filled
            print(f"the table {name} cannot be read: {reason(error)}")
    return found


def _at(tensor: Tensor, place: str) -> Tensor:
    return Tensor(name=tensor.name, tensor=place, dtype=tensor.dtype, shape=tensor.shape)


def _name_captures(graph: Any, source: Source, reserved: set[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Give what was captured the name of its variable, in place, instead of the number that tracing drew.

    reserved: names that are the signature's. Returns what each stood for, and the captured tensor, by its
    new node name.
    """
    present = {node.name for node in graph.node}
    taken = {*present, *reserved}
    renames: dict[str, str] = {}
    outers: dict[str, Any] = {}
    for index, (outer, internal) in enumerate(source.function.graph.captures):
        old = internal.op.name
        if old in present:
            label = source.labels.get(old, "")
            plain = label.partition("'")[2].rstrip("'").replace(" ", "_") or f"capture_{index}"
            renames[old] = unused(names.sanitised(plain), taken.__contains__)
            taken.add(renames[old])
            outers[renames[old]] = outer
    rename(graph, renames)
    return {renames[old]: label for old, label in source.labels.items() if old in renames}, outers

"""A source whose function is that of an edited graph: with calls inlined, with what was captured for nothing
left out, with other inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgefreeze.types import Tensor
from edgefreeze.worker.graphs import canonical, producer, reachable
from edgefreeze.worker.sources import Source, tensors_of


def detached(source: Source) -> Source:
    """The source with calls inlined, and only what its outputs compute with captured: what they only wait
    for (a print, an assertion, a data set that is counted) goes, and what that needed with it."""
    results = [t.name for t in source.function.outputs]
    graph = inlined(source.function)
    needed = data(graph, map(producer, results))
    for node in graph.node:
        node.input[:] = [i for i in node.input if not (i.startswith("^") and producer(i) not in needed)]
    return retrace(
        source,
        graph,
        list(source.inputs),
        dict(zip([t.name for t in source.outputs], results, strict=True)),
    )


def inlined(function: Any) -> Any:
    """The function's GraphDef with all calls but those of control flow inlined; inputs, captures and
    outputs keep their names. Raises what TensorFlow raises."""
    from tensorflow.python.framework import convert_to_constants

    return convert_to_constants._run_inline_graph_optimization(function, False, False)


def data(graph: Any, roots: Iterable[str]) -> set[str]:
    """The nodes that the roots compute with, control dependencies aside; but for those that say which side of
    a Switch a node is on."""
    switches = {node.name for node in graph.node if node.op in ("Switch", "RefSwitch")}
    pivots = {n.name for n in graph.node if n.op == "Identity" and producer(n.input[0]) in switches}
    pivots |= switches
    grown = True
    while grown:
        more = {
            n.name for n in graph.node if n.op == "NoOp" and pivots & set(map(producer, n.input))
        } - pivots
        pivots |= more
        grown = bool(more)
    bare = type(graph)()
    for node in graph.node:
        copy = bare.node.add(name=node.name, op=node.op)
        copy.input.extend(i for i in node.input if not i.startswith("^") or producer(i) in pivots)
    return reachable(bare, roots)


def retrace(source: Source, graph: Any, inputs: list[Tensor], outputs: Mapping[str, str]) -> Source:
    """The source with another function: that of an edited copy of its graph.

    inputs: `tensor` says what of the graph each feeds. outputs: key → tensor of the graph. What the graph
    still uses of the source's captures is captured again, and nothing else.
    """
    import tensorflow as tf

    roots = [producer(tensor) for tensor in outputs.values()]
    graph = canonical(graph, [], roots)
    used = {producer(ref) for node in graph.node for ref in node.input if not ref.startswith("^")}
    used |= set(roots)
    old = source.function.graph
    captures = {i.op.name: outer for outer, i in old.captures if i.op.name in used}
    fed = {t.name: t.tensor for t in inputs if producer(t.tensor) in used}
    # All that is captured or fed is there from the start: nothing waits for it.
    given_names = {i.op.name for _, i in old.captures} | {producer(t.tensor) for t in inputs}
    inner = type(graph)()
    inner.versions.CopyFrom(graph.versions)
    inner.library.CopyFrom(graph.library)
    inner.node.extend(node for node in graph.node if node.name not in given_names)
    for node in inner.node:
        node.input[:] = [i for i in node.input if not (i.startswith("^") and producer(i) in given_names)]
    needed = [ref for ref in dict.fromkeys(outputs.values()) if producer(ref) not in given_names]

    def call(values: dict[str, Any]) -> dict[str, Any]:
        here = tf.compat.v1.get_default_graph()
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

    function = _wrapped(call, inputs)
    # In which they stay alive, and are found by.
    function.graph.variables = old.variables
    named, results = tensors_of(function, [t.name for t in inputs])
    labels = {id(outer): source.labels[i.op.name] for outer, i in old.captures if i.op.name in source.labels}
    return replace(
        source,
        function=function,
        inputs=named,
        outputs=results,
        labels={i.op.name: labels[id(o)] for o, i in function.graph.captures if id(o) in labels},
    )


def _wrapped(call: Callable[[dict[str, Any]], dict[str, Any]], inputs: Sequence[Tensor]) -> Any:
    """As sources.trace, but for the control dependencies, which tf.function adds to whatever it takes for
    stateful: nothing here is, and they would lead into the loops of TensorFlow 1."""
    import tensorflow as tf

    keys = [t.name for t in inputs]

    def serve(*tensors: Any) -> dict[str, Any]:
        return call(dict(zip(keys, tensors, strict=True)))

    specs = [tf.TensorSpec(t.shape, t.dtype, name=f"given_{i}") for i, t in enumerate(inputs)]
    return tf.compat.v1.wrap_function(serve, specs)


def _full(ref: str) -> str:
    return ref if ":" in ref else f"{ref}:0"

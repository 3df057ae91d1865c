"""Variables read as constants, node by node: for what TensorFlow's own converter does not know, such as a
variable's shape or a gather with batch dimensions."""

from __future__ import annotations

from typing import Any

from edgefreeze.worker import retracing
from edgefreeze.worker.graphs import producer, unused
from edgefreeze.worker.sources import Source


def constants(source: Source) -> tuple[Any, Source, list[str]]:
    """(graph without variables, the source, the tensors of its outputs).

    Raises ValueError for a use of a variable that cannot be a constant's, naming it; and what TensorFlow
    raises.
    """
    import tensorflow as tf

    graph = retracing.inlined(source.function)
    captures = {i.op.name: o for o, i in source.function.graph.captures}
    held = {v.handle._id: v for v in source.function.graph.variables}
    variables = {name: held[o._id] for name, o in captures.items() if o._id in held}
    for node in graph.node:
        if node.op == "Identity" and node.input and producer(node.input[0]) in variables:
            variables[node.name] = variables[producer(node.input[0])]
    taken = {node.name for node in graph.node}
    for node in list(graph.node):
        if node.name in variables:
            _become(node, variables[node.name].numpy())
        elif node.name in captures and captures[node.name].dtype not in (tf.resource, tf.variant):
            _become(node, captures[node.name].numpy())
        else:
            used = [variables[producer(ref)] for ref in node.input if producer(ref) in variables]
            if used:
                _read(graph, node, used[0], taken)
    return graph, source, [t.name for t in source.function.outputs]


def _read(graph: Any, node: Any, variable: Any, taken: set[str]) -> None:
    """Turn an operation on a variable into the same one on a constant. Raises ValueError without one."""
    import tensorflow as tf

    dtype = variable.dtype.as_datatype_enum
    if node.op == "ReadVariableOp":
        _change(node, "Identity", T=dtype)
    elif node.op == "ResourceGather":
        batch = node.attr["batch_dims"].i
        axis = graph.node.add(name=unused(f"{node.name}/axis", taken.__contains__))
        taken.add(axis.name)
        _become(axis, _int32(batch))
        inputs = [*node.input[:2], axis.name, *(ref for ref in node.input if ref.startswith("^"))]
        indices = node.attr["Tindices"].type
        _change(node, "GatherV2", inputs, Tparams=dtype, Tindices=indices, Taxis=tf.int32.as_datatype_enum)
        node.attr["batch_dims"].i = batch
    elif node.op == "ResourceGatherNd":
        _change(node, "GatherNd", Tparams=dtype, Tindices=node.attr["Tindices"].type)
    elif node.op == "VariableShape":
        kind = tf.as_dtype(node.attr["out_type"].type or tf.int32).as_numpy_dtype
        _become(node, variable.shape.as_list(), kind)
    elif node.op == "VarIsInitializedOp":
        _become(node, True)
    else:
        raise ValueError(f"{node.op} ({node.name}) uses the variable {variable.name}")


def _int32(value: int) -> Any:
    import numpy as np

    return np.int32(value)


def _change(node: Any, op: str, inputs: list[str] | None = None, **types: int) -> None:
    node.op = op
    if inputs is not None:
        del node.input[:]
        node.input.extend(inputs)
    node.attr.clear()
    for name, value in types.items():
        node.attr[name].type = value


def _become(node: Any, value: Any, dtype: Any = None) -> None:
    """Make a node a constant. Its control inputs go: a constant waits for nothing."""
    import numpy as np
    import tensorflow as tf

    array = np.asarray(value, dtype)
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(array.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))

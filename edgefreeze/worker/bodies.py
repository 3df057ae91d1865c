"""Function bodies as graphs and back, so that what edits a graph can edit a loop's body or a branch as well.

A FunctionDef names a tensor "argument" or "node:output:k", a GraphDef "node:k" counted over all outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgefreeze.worker.graphs import producer

Result = tuple[str, str, int]
"""An output of a function: its name, the tensor in the body's graph, its dtype."""


def graph_of(function: Any, graph: Any) -> tuple[Any, list[Result]]:
    """(a function's body as a GraphDef with the graph's library, its outputs).

    Each argument is a Placeholder of its name. graph: the one whose library the function is in.
    """
    body = type(graph)()
    body.versions.CopyFrom(graph.versions)
    body.library.CopyFrom(graph.library)
    flat: dict[str, str] = {}
    for argument in function.signature.input_arg:
        node = body.node.add(name=argument.name, op="Placeholder")
        node.attr["dtype"].type = argument.type
        flat[argument.name] = f"{argument.name}:0"
    for node in function.node_def:
        for index, name in enumerate(_outputs(node, graph.library)):
            flat[name] = f"{node.name}:{index}"
    for node in function.node_def:
        added = body.node.add()
        added.CopyFrom(node)
        added.input[:] = [ref if ref.startswith("^") else flat[ref] for ref in node.input]
    return body, [(o.name, flat[function.ret[o.name]], o.type) for o in function.signature.output_arg]


def function_of(body: Any, results: Sequence[Result], name: str, old: Any) -> Any:
    """The FunctionDef of an edited body from `graph_of`, its arguments in the order and with the side
    effects that the old function had, as far as their nodes still stand."""
    nodes = {node.name: node for node in body.node}
    arguments = [argument.name for argument in old.signature.input_arg]
    function = type(old)()
    function.signature.name = name
    function.signature.is_stateful = old.signature.is_stateful
    for index, argument in enumerate(old.signature.input_arg):
        dtype = nodes[argument.name].attr["dtype"].type
        function.signature.input_arg.add(name=argument.name, type=dtype)
        if dtype == argument.type and index in old.arg_attr:
            function.arg_attr[index].CopyFrom(old.arg_attr[index])
    nested: dict[str, list[str]] = {name: [name] for name in arguments}
    for node in body.node:
        if node.name not in nested:
            nested[node.name] = list(_outputs(node, body.library))

    def full(ref: str) -> str:
        place, _, index = ref.partition(":")
        return nested[place][int(index or 0)]

    for node in body.node:
        if node.name not in arguments:
            added = function.node_def.add()
            added.CopyFrom(node)
            added.input[:] = [ref if ref.startswith("^") else full(ref) for ref in node.input]
    for key, ref, dtype in results:
        function.signature.output_arg.add(name=key, type=dtype)
        function.ret[key] = full(ref)
    for key, value in old.control_ret.items():
        if producer(value) in nodes:
            function.control_ret[key] = value
            function.signature.control_output.append(key)
    for key, value in old.attr.items():
        if key != "_input_shapes":
            function.attr[key].CopyFrom(value)
    return function


def _outputs(node: Any, library: Any) -> Iterator[str]:
    """What a function's body calls the outputs of a node, in their order."""
    from tensorflow.python.framework import op_def_registry

    called = [f.signature for f in library.function if f.signature.name == node.op]
    definition = called[0] if called else op_def_registry.get(node.op)
    if definition is None:
        raise ValueError(f"TensorFlow knows no operation {node.op}")
    for argument in definition.output_arg:
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        else:
            count = 1
        for index in range(count):
            yield f"{node.name}:{argument.name}:{index}"

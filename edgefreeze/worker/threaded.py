"""A variable's reads and writes replaced by the values that it takes: in the order in which they happen, and
through loops, branches and calls, which take the value in and give the next one out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgefreeze.worker import bodies, gate
from edgefreeze.worker.flow import follow
from edgefreeze.worker.graphs import functions_of, ordered, producer, reachable, unused

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
_LOOPS = ("While", "StatelessWhile")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class Entangled(Exception):
    """The changes cannot be followed; the text says where."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What is threaded: the node of its handle, its dtype (types_pb2), its shape (TensorShapeProto).

    pure: filled with the nodes that lost their side effect. callers: with those whose functions were
    rewritten.
    """

    handle: str
    dtype: int
    shape: Any
    pure: set[str] = field(default_factory=set)
    callers: set[str] = field(default_factory=set)


def thread(graph: Any, variable: Variable) -> tuple[str, str]:
    """Thread a variable of the main graph, in place.

    Returns (the placeholder for its value before, the tensor of its value after). Raises Entangled.
    """
    names = {node.name for node in graph.node}
    start = graph.node.add(name=unused(f"{variable.handle}_state", names.__contains__), op="Placeholder")
    start.attr["dtype"].type = variable.dtype
    start.attr["shape"].shape.CopyFrom(variable.shape)
    variable.pure.add(start.name)
    return str(start.name), _through(graph, variable, str(start.name))


def _through(graph: Any, variable: Variable, current: str) -> str:
    """Make all accesses in a graph pure operations; returns what is current after them."""
    carried = {variable.handle} | _copies(graph, variable.handle)
    accesses = {
        use.node.name for use in follow(graph, {variable.handle: variable.handle}) if use.function is None
    } - carried
    order = [node for node in ordered(graph.node) if node.name in accesses]
    writing = {node.name for node in order if gate.is_write(node) or _writes_below(graph, node, carried)}
    _require_order(graph, order, writing)
    sometimes = _conditional(graph)
    for node in order:
        if node.name in writing & sometimes:
            raise Entangled(f"{node.op} at {node.name} is in a branch or a loop of TensorFlow 1")
    names = {node.name for node in graph.node}

    def fresh(wish: str) -> str:
        name = unused(wish, names.__contains__)
        names.add(name)
        return name

    for node in order:
        if node.op in (*_LOOPS, *_BRANCHES, *_CALLS):
            current = _call(graph, node, variable, carried, current, node.name in writing)
            variable.callers.add(node.name)
        else:
            current = _access(graph, node, current, variable.dtype, fresh)
            variable.pure.add(node.name)
    return current


def _conditional(graph: Any) -> set[str]:
    """The nodes that run on one side of a Switch only, or in a loop between Enter and Exit."""
    nodes = {node.name: node for node in graph.node}
    sides: dict[str, frozenset[str]] = {}
    depth: dict[str, int] = {}
    for node in ordered(graph.node):
        given: list[frozenset[str]] = []
        for ref in node.input:
            name, _, port = ref.removeprefix("^").partition(":")
            if name in sides:  # not so what comes round in a loop
                chosen = nodes[name].op == "Switch" and not ref.startswith("^")
                side = {f"{producer(nodes[name].input[1])}:{port or 0}"} if chosen else frozenset[str]()
                given.append(sides[name] | side)
        if node.op == "Merge" and given:
            found = frozenset.intersection(*given)
        else:
            found = frozenset[str]().union(*given)
        if node.op == "Enter":
            loop = "loop " + node.attr["frame_name"].s.decode()
            depth.setdefault(loop, len(found & depth.keys()))
            found |= {loop}
        elif node.op == "Exit" and found & depth.keys():
            left = max(found & depth.keys(), key=lambda loop: depth[loop])
            found = frozenset(
                s for s in found - {left} if s in depth or left not in sides.get(producer(s), frozenset())
            )
        sides[node.name] = found
    return {name for name, side in sides.items() if side}


def _copies(graph: Any, handle: str) -> set[str]:
    """The Identity nodes that pass the handle on."""
    return {
        use.node.name
        for use in follow(graph, {handle: handle})
        if use.function is None and use.node.op == "Identity"
    }


def _writes_below(graph: Any, node: Any, carried: set[str]) -> bool:
    """Whether a function that the node calls writes to what is carried."""
    alone = type(graph)()
    alone.library.CopyFrom(graph.library)
    alone.node.add().CopyFrom(node)
    for name in carried:
        alone.node.add(name=name, op="Placeholder")
    return any(gate.is_write(use.node) for use in follow(alone, {name: name for name in carried}))


def _call(graph: Any, node: Any, variable: Variable, carried: set[str], current: str, writes: bool) -> str:
    """Hand a loop, a branch or a call the value instead of the handle; returns what is current after it."""
    data = [i for i in node.input if not i.startswith("^")]
    positions = [index for index, ref in enumerate(data) if producer(ref) in carried]
    if len(positions) != 1:
        raise Entangled(f"{node.name} takes it {len(positions)} times")
    (position,) = positions
    argument = position - (1 if node.op in _BRANCHES else 0)
    node.input[position] = current
    node.attr.pop("_read_only_resource_inputs", None)
    if node.op in _LOOPS:
        condition, body = node.attr["cond"].func, node.attr["body"].func
        condition.name = _rewritten(graph, condition.name, argument, variable, None)
        body.name = _rewritten(graph, body.name, argument, variable, argument)
        node.attr["T"].list.type[argument] = variable.dtype
        if node.attr["output_shapes"].list.shape:
            node.attr["output_shapes"].list.shape[argument].CopyFrom(variable.shape)
        return f"{node.name}:{argument}" if writes else current
    index = len(node.attr["Tout"].list.type)
    for function in functions_of(node):
        function.name = _rewritten(graph, function.name, argument, variable, index if writes else None)
    node.attr["Tin"].list.type[argument] = variable.dtype
    if not writes:
        return current
    node.attr["Tout"].list.type.append(variable.dtype)
    if node.attr["output_shapes"].list.shape:
        node.attr["output_shapes"].list.shape.add().CopyFrom(variable.shape)
    return f"{node.name}:{index}"


def _rewritten(graph: Any, name: str, argument: int, variable: Variable, result: int | None) -> str:
    """The name of a copy of a function that takes the value as this argument, and gives what it then is as
    this result (one that there is, or one more)."""
    library = {f.signature.name: f for f in graph.library.function}
    old = library[name]
    body, results = bodies.graph_of(old, graph)
    parameter = old.signature.input_arg[argument].name
    inner = Variable(parameter, variable.dtype, variable.shape)
    end = _through(body, inner, parameter)
    if result is None and end != parameter:
        raise Entangled(f"the condition of a loop changes it ({name})")
    placeholder = next(node for node in body.node if node.name == parameter)
    placeholder.attr["dtype"].type = variable.dtype
    copies = _copies(body, parameter)
    if result is not None:
        if result == len(results):
            taken = {key for key, _, _ in results} | {a.name for a in old.signature.input_arg}
            results.append(("", "", 0))
            key = unused(f"{parameter}_after", taken.__contains__)
        else:
            key = results[result][0]
        results[result] = (key, end, variable.dtype)
    for node in body.node:
        if node.name in copies:
            node.attr["T"].type = variable.dtype
    fresh = unused(f"{name}_pure", library.__contains__)
    made = bodies.function_of(body, results, fresh, old)
    known = set(library)
    graph.library.function.extend(f for f in body.library.function if f.signature.name not in known)
    graph.library.function.append(made)
    return fresh


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


def _require_order(graph: Any, accesses: list[Any], writing: set[str]) -> None:
    """Raise Entangled if a write and another access may happen in either order."""
    before = {node.name: reachable(graph, [node.name]) for node in accesses}
    for node in accesses:
        for other in accesses if node.name in writing else ():
            if node.name not in before[other.name] and other.name not in before[node.name]:
                raise Entangled(f"nothing says whether {node.name} or {other.name} comes first")


def forget_order(graph: Any, pure: set[str]) -> None:
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

"""Bringing a TensorFlow 1 graph's variables and tables to life in a session, and reading them out.

Of the restoring only what the outputs need is run: an optimizer's slots may be missing or large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.worker import tables
from edgefreeze.worker.cutting import listed
from edgefreeze.worker.graphs import producer, reachable
from edgefreeze.worker.reasons import reason

VARIABLES = ("Variable", "VariableV2", "VarHandleOp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The operations to run, by name, in this order."""

    restore: tuple[str, ...]
    own: Mapping[str, str]
    """What sets a variable that the restoring left without a value (a local one), by the variable's node."""
    initialise: tuple[str, ...]
    fills: tuple[str, ...]
    """What fills tables, run for those that are still empty."""

    def roots(self) -> list[str]:
        """All of them."""
        return [*self.restore, *self.own.values(), *self.initialise, *self.fills]


def plan(
    graph: Any, inference: Any, restore: str | None, initialise: Sequence[str], own: Mapping[str, str]
) -> Plan:
    """What to run of a graph for the part that infers.

    restore, initialise: the operations that the model names for the whole; own: initialisers by variable.
    """
    nodes = {node.name for node in graph.node}
    needed = {node.name for node in inference.node}
    holders = {n.name for n in inference.node if n.op in VARIABLES}
    return Plan(
        restore=tuple(_restoring(graph, restore, holders)) if restore in nodes and holders else (),
        own={v: own[v] for v in sorted(holders & own.keys()) if own[v] in nodes},
        initialise=tuple(n for n in initialise if n in nodes),
        fills=tuple(
            n.name
            for n in graph.node
            if tables.FILLING_OPS.fullmatch(n.op) and n.input and producer(n.input[0]) in needed
        ),
    )


def _restoring(graph: Any, restore: str | None, holders: set[str]) -> list[str]:
    """The operations beneath `restore` that set the variables `holders`; it itself where one has none."""
    assert restore is not None
    below = reachable(graph, [restore])
    writes: dict[str, list[str]] = {}
    for node in graph.node:
        if node.name in below and node.op in ("Assign", "AssignVariableOp") and node.input:
            writes.setdefault(producer(node.input[0]), []).append(node.name)
    if not holders <= writes.keys():
        return [restore]
    return [name for holder in sorted(holders) for name in writes[holder]]


def run(session: Any, todo: Plan, inference: Any, feeds: Mapping[str, str], path: Path) -> None:
    """Run the plan. Raises Failure model-broken: the checkpoint does not fit, or a variable has no value."""
    import tensorflow as tf

    graph = session.graph
    names = {operation.name for operation in graph.get_operations()}
    feeds = {tensor: value for tensor, value in feeds.items() if producer(tensor) in names}
    unset = _unset_query(graph, inference)
    try:
        session.run([graph.get_operation_by_name(n) for n in todo.restore], feeds)
        empty = [v for v in _unset(session, unset) if v in todo.own]
        session.run([graph.get_operation_by_name(todo.own[v]) for v in empty], feeds)
        for name in todo.initialise:
            session.run(graph.get_operation_by_name(name), feeds)
        for name in todo.fills:
            operation = graph.get_operation_by_name(name)
            if not _filled(session, operation.inputs[0]):
                session.run(operation, feeds)
        empty = _unset(session, unset)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise _unrestored(path, error) from error
    if empty:
        raise Failure(
            "model-broken",
            f"Variables of {path} have no value.",
            expected="a checkpoint with a value for every variable that the outputs depend on",
            found=listed(empty),
            next="Give the checkpoint that belongs to this graph.",
        )


def by_name(session: Any, inference: Any, checkpoint: str, path: Path) -> None:
    """Set the variables from a checkpoint that has values under their names. Raises Failure model-broken."""
    import tensorflow as tf
    from tensorflow.python.ops import gen_resource_variable_ops, gen_state_ops

    graph = session.graph
    writes: list[Any] = []
    feeds: dict[Any, Any] = {}
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        with graph.as_default():
            for node in inference.node:
                if node.op not in VARIABLES:
                    continue
                name = node.attr["shared_name"].s.decode() or node.name
                if not reader.has_tensor(name):
                    continue
                holder = graph.get_tensor_by_name(f"{node.name}:0")
                value = tf.compat.v1.placeholder(tf.as_dtype(node.attr["dtype"].type))
                feeds[value] = reader.get_tensor(name)
                writes.append(
                    gen_resource_variable_ops.assign_variable_op(holder, value)
                    if node.op == "VarHandleOp"
                    else gen_state_ops.assign(holder, value).op
                )
        session.run(writes, feeds)
    except Exception as error:  # OpError, or RuntimeError and ValueError of the reader
        raise _unrestored(path, error) from error


def _unrestored(path: Path, error: BaseException) -> Failure:
    return Failure(
        "model-broken",
        f"The variables and tables of {path} cannot be restored.",
        expected="a whole checkpoint that fits the graph, and the files that its tables are made of",
        found=reason(error),
        next="Save or copy the model again, with all of its files.",
    )


def _unset_query(graph: Any, inference: Any) -> dict[str, Any]:
    """For each variable a tensor that says whether it has a value."""
    from tensorflow.python.ops import gen_resource_variable_ops, gen_state_ops

    asked: dict[str, Any] = {}
    with graph.as_default():
        for node in inference.node:
            if node.op in VARIABLES:
                holder = graph.get_tensor_by_name(f"{node.name}:0")
                asked[node.name] = (
                    gen_resource_variable_ops.var_is_initialized_op(holder)
                    if node.op == "VarHandleOp"
                    else gen_state_ops.is_variable_initialized(holder)
                )
    return asked


def _unset(session: Any, asked: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, set_ in session.run(dict(asked)).items() if not set_)


def _filled(session: Any, handle: Any) -> bool:
    from tensorflow.python.framework import errors
    from tensorflow.python.ops import gen_lookup_ops

    with session.graph.as_default():
        size = gen_lookup_ops.lookup_table_size if _is_ref(handle) else gen_lookup_ops.lookup_table_size_v2
        count = size(handle)
    try:
        return bool(session.run(count) > 0)
    except errors.FailedPreconditionError:
        return False


def _is_ref(handle: Any) -> bool:
    return str(handle.dtype.name) != "resource"


def variables(session: Any, inference: Any) -> dict[str, Any]:
    """The values of the graph's variables, NumPy arrays, by their nodes."""
    from tensorflow.python.ops import gen_resource_variable_ops

    reads: dict[str, Any] = {}
    with session.graph.as_default():
        for node in inference.node:
            if node.op in VARIABLES:
                holder = session.graph.get_tensor_by_name(f"{node.name}:0")
                if node.op == "VarHandleOp":
                    dtype = node.attr["dtype"].type
                    holder = gen_resource_variable_ops.read_variable_op(holder, dtype)
                reads[node.name] = holder
    values: dict[str, Any] = session.run(reads)
    return values


def contents(session: Any, inference: Any) -> dict[str, tables.Table]:
    """The contents of the graph's tables, by their nodes."""
    from tensorflow.python.ops import gen_lookup_ops

    found: dict[str, tables.Table] = {}
    for node in inference.node:
        if not tables.TABLE_OPS.fullmatch(node.op):
            continue
        types = node.attr["key_dtype"].type, node.attr["value_dtype"].type
        with session.graph.as_default():
            handle = session.graph.get_tensor_by_name(f"{node.name}:0")
            export = (
                gen_lookup_ops.lookup_table_export
                if _is_ref(handle)
                else gen_lookup_ops.lookup_table_export_v2
            )
            both = export(handle, *types)
        keys, values = session.run(list(both))
        found[node.name] = tables.table(keys, values, *types)
    return found

"""Lookup tables that travel inside the frozen graph: a table node, its contents as constants, and one
operation to run once after loading.

Whatever filled a table (a text file, constants, a layer's vocabulary), its contents are read out of the
loaded model, so the graph needs no file beside it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefreeze.worker.flow import follow
from edgefreeze.worker.graphs import producer, reachable, unused

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

INIT = "init_all_tables"
"""The operation's name, as TensorFlow 1's tables_initializer calls it, unless the model has one."""

TABLE_OPS = re.compile(r"(HashTable|MutableHashTable|MutableHashTableOfTensors|MutableDenseHashTable)(V2)?")
FILLING_OPS = re.compile(r"(InitializeTable|InitializeTableFromTextFile|LookupTableImport)(V2)?")


@dataclass(frozen=True, slots=True)
class Table:
    """Contents: `values` has one row for each of `keys`, which are sorted, so that equal tables are equal
    bytes. NumPy arrays, strings as objects that hold bytes; dtypes are TensorFlow's enumerators."""

    keys: Array
    values: Array
    key_dtype: int
    value_dtype: int

    def digest(self) -> str:
        """Of the contents, in hexadecimal."""
        total = hashlib.sha256(f"{self.key_dtype} {self.value_dtype} {self.values.shape}".encode())
        for array in (self.keys, self.values):
            flat = array.reshape(-1)
            parts = flat.tolist() if array.dtype == object else [flat.tobytes()]
            for part in parts:
                total.update(len(part).to_bytes(8, "little") + part)
        return total.hexdigest()


def table(keys: Array, values: Array, key_dtype: int, value_dtype: int) -> Table:
    """A table of what was read out, in whatever order.

    keys: (n,), or (slots, 1) of a dense table, whose empty slots all have one reserved key, which goes.
    """
    keys = keys.reshape(-1)
    if values.ndim == 2 and values.shape[1] == 1 and len(set(keys.tolist())) < len(keys):
        values = values.reshape(-1)
    seen: dict[Any, int] = {}
    for key in keys.tolist():
        seen[key] = seen.get(key, 0) + 1
    order = sorted((i for i, key in enumerate(keys.tolist()) if seen[key] == 1), key=lambda i: keys[i])
    return Table(keys[order], values[order], key_dtype, value_dtype)


def uses(graph: Any, handles: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(key dtype, value dtype) of those of the named nodes that are used as tables, wherever that is."""
    found: dict[str, tuple[int, int]] = {}
    for use in follow(graph, {name: name for name in handles}):
        name, attr = use.given[0], use.node.attr
        if name is None:
            continue
        for keys, values in (("Tin", "Tout"), ("Tkeys", "Tvalues")):
            if use.node.op.startswith("LookupTable") and keys in attr:
                found[name] = attr[keys].type, attr[values].type
    return found


def install(graph: Any, tables: dict[str, Table], reserved: Iterable[str]) -> tuple[str, ...]:
    """Turn the named nodes into tables with their contents, in place.

    tables: by the node that is the table's handle: a placeholder, or the table itself, which keeps its op.
    reserved: names that the new nodes must not take. Returns the operations to run once: one, or none.
    """
    if not tables:
        return ()
    nodes = {node.name: node for node in graph.node}
    taken = {*nodes, *reserved}

    def fresh(wish: str) -> str:
        name = unused(wish, taken.__contains__)
        taken.add(name)
        return name

    fills = [_fill(graph, nodes[name], contents, fresh) for name, contents in sorted(tables.items())]
    init = graph.node.add(name=fresh(INIT), op="NoOp")
    init.input.extend(f"^{fill}" for fill in fills)
    return (init.name,)


def _fill(graph: Any, node: Any, contents: Table, fresh: Callable[[str], str]) -> str:
    """Make a node the table, add its contents; returns the name of the operation that fills it."""
    from tensorflow.python.framework import tensor_util

    if not TABLE_OPS.fullmatch(node.op):
        node.op = "HashTableV2" if contents.values.ndim == 1 else "MutableHashTableOfTensorsV2"
        node.ClearField("attr")
        node.ClearField("input")
        node.attr["key_dtype"].type = contents.key_dtype
        node.attr["value_dtype"].type = contents.value_dtype
        if contents.values.ndim > 1:
            for size in contents.values.shape[1:]:
                node.attr["value_shape"].shape.dim.add(size=size)
    # Sessions that share a process share tables of one name: the contents make it theirs alone.
    node.attr["shared_name"].s = f"{node.name}_{contents.digest()[:16]}".encode()
    node.attr["container"].s = b""
    node.attr["use_node_name_sharing"].b = False
    second = "V2" if node.op.endswith("V2") else ""
    imported = graph.node.add(name=fresh(f"{node.name}/import"), op=f"LookupTableImport{second}")
    imported.input.append(node.name)
    for role, attr, dtype, array in (
        ("keys", "Tin", contents.key_dtype, contents.keys),
        ("values", "Tout", contents.value_dtype, contents.values),
    ):
        constant = graph.node.add(name=fresh(f"{node.name}/{role}"), op="Const")
        constant.attr["dtype"].type = dtype
        constant.attr["value"].tensor.CopyFrom(
            tensor_util.make_tensor_proto(array, dtype=dtype, shape=array.shape)
        )
        imported.input.append(constant.name)
        imported.attr[attr].type = dtype
    return str(imported.name)


def keys(graph: Any) -> dict[str, Array]:
    """The keys of the tables that `install` put into a graph, joined, by dtype."""
    from tensorflow.dtypes import as_dtype
    from tensorflow.python.framework import tensor_util

    nodes = {node.name: node for node in graph.node}
    found: dict[str, list[Array]] = {}
    for node in graph.node:
        if node.op.startswith("LookupTableImport"):
            value = nodes[producer(node.input[1])].attr["value"].tensor
            found.setdefault(as_dtype(value.dtype).name, []).append(tensor_util.MakeNdarray(value))
    return {dtype: np.concatenate(arrays) for dtype, arrays in found.items()}


def unfilled(graph: Any, init_ops: Iterable[str]) -> list[str]:
    """The tables of the main graph that no operation fills which the init ops run, by name."""
    run = reachable(graph, init_ops)
    filled = {
        producer(node.input[0])
        for node in graph.node
        if node.name in run and FILLING_OPS.fullmatch(node.op) and node.input
    }
    return sorted(n.name for n in graph.node if TABLE_OPS.fullmatch(n.op) and n.name not in filled)


def export(handle: Any, key_dtype: int, value_dtype: int) -> Table:
    """The contents of a table that lives in this process. Raises what TensorFlow raises."""
    from tensorflow.python.ops import gen_lookup_ops

    keys, values = gen_lookup_ops.lookup_table_export_v2(handle, key_dtype, value_dtype)
    return table(keys.numpy(), values.numpy(), key_dtype, value_dtype)

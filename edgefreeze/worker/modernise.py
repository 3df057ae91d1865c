"""TensorFlow 1's operations on reference variables and tables, as those on resources that functions take; and
the batch norm of before 1.0, which functions do not know.

A reference variable is a tensor that an assignment changes in place; a function cannot capture one. Pure.
"""

from __future__ import annotations

from typing import Any

from edgefreeze.worker.graphs import producer, unused

_VARIABLES = ("Variable", "VariableV2")
_TABLES = ("HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableDenseHashTable")
_TABLE_USES = (
    "InitializeTable",
    "InitializeTableFromTextFile",
    "LookupTableExport",
    "LookupTableFind",
    "LookupTableImport",
    "LookupTableInsert",
    "LookupTableSize",
)
_REF_FLOW = ("Enter", "Exit", "Identity", "Merge", "NextIteration", "Select", "Switch")
_WRITES = {
    "Assign": "AssignVariableOp",
    "AssignAdd": "AssignAddVariableOp",
    "AssignSub": "AssignSubVariableOp",
    **{
        f"Scatter{how}": f"ResourceScatter{how}"
        for how in ("Add", "Div", "Max", "Min", "Mul", "NdAdd", "NdSub", "NdUpdate", "Sub", "Update")
    },
}
_KEPT_ATTRS = {"Tindices", "validate_shape"}


def modernise(graph: Any) -> Any:
    """A copy without references: variables are VarHandleOps that are read where they were used, tables are
    of version 2. What writes in ways that have no counterpart (an optimizer's step) keeps its name and its
    reference, for the gate to find."""
    new = type(graph)()
    new.versions.CopyFrom(graph.versions)
    new.library.CopyFrom(graph.library)
    nodes = {node.name: node for node in graph.node}
    taken = set(nodes)

    def fresh(wish: str) -> str:
        name = unused(wish, taken.__contains__)
        taken.add(name)
        return name

    def variable_behind(ref: str) -> tuple[str, list[str]] | None:
        """(variable, what was written to it before) of a reference: a variable, or a write's own output."""
        before: list[str] = []
        node = nodes.get(producer(ref))
        while node is not None and not ref.startswith("^"):
            if node.op in _VARIABLES:
                return node.name, before
            if node.op in _WRITES:
                before.append(f"^{node.name}")
            elif node.op not in ("RefIdentity", "RefSwitch", "RefEnter"):
                # What is written in a branch comes through a Switch as well, and keeps the write there.
                return None
            ref = node.input[0]
            node = nodes.get(producer(ref))
        return None

    def read(variable: str, name: str, after: list[str]) -> None:
        dtype = nodes[variable].attr["dtype"].type
        made = new.node.add(name=name, op="ReadVariableOp")
        made.attr["dtype"].type = dtype
        made.input.extend([variable, *dict.fromkeys(after)])

    for old in graph.node:
        node = new.node.add()
        node.CopyFrom(old)
        controls = [i for i in old.input if i.startswith("^")]
        if old.op in _VARIABLES:
            _handle(node)
            continue
        if old.op in _TABLES or old.op in _TABLE_USES:
            node.op += "V2"
        if old.op == "BatchNormWithGlobalNormalization":
            del new.node[-1]
            _batch_norm(new, old, fresh)
            continue
        target = variable_behind(old.input[0]) if old.input else None
        if target and old.op in ("Identity", "RefIdentity"):
            # Where the model says that it reads, after what it says must have happened.
            del new.node[-1]
            read(target[0], old.name, target[1] + controls)
            continue
        first = 0
        if target and (old.op in _WRITES or old.op == "IsVariableInitialized"):
            _write(node, target[0], target[1])
            first = 1
        elif old.op.startswith("Ref") and old.op.removeprefix("Ref") in _REF_FLOW:
            node.op = old.op.removeprefix("Ref")
        for index in range(first, len(old.input)):
            found = variable_behind(old.input[index])
            if found is not None:
                name = fresh(f"{old.name}/read_{index}")
                read(found[0], name, found[1] + controls)
                node.input[index] = name
    return new


def _handle(node: Any) -> None:
    shared = node.attr["shared_name"].s or node.name.encode()
    dtype, shape = node.attr["dtype"].type, node.attr["shape"].shape
    made = type(node)(name=node.name, op="VarHandleOp", device=node.device)
    made.attr["dtype"].type = dtype
    made.attr["shape"].shape.CopyFrom(shape)
    made.attr["shared_name"].s = shared
    node.CopyFrom(made)


def _write(node: Any, variable: str, before: list[str]) -> None:
    """Make a write to a reference one to a resource, in place."""
    dtype = node.attr["T"].type or node.attr["dtype"].type
    kept = {key: node.attr[key] for key in _KEPT_ATTRS & set(node.attr)}
    made = type(node)(name=node.name, op=_WRITES.get(node.op, "VarIsInitializedOp"), device=node.device)
    made.input.extend([variable, *node.input[1:], *before])
    if node.op in _WRITES:
        made.attr["dtype" if not node.op.startswith("ScatterNd") else "T"].type = dtype
        for key, value in kept.items():
            if (key == "Tindices") == node.op.startswith("Scatter"):
                made.attr[key].CopyFrom(value)
    node.CopyFrom(made)


def _batch_norm(graph: Any, old: Any, fresh: Any) -> None:
    """(t - mean) * rsqrt(variance + epsilon) [* gamma] + beta, the result under the old name."""
    tensor, mean, variance, beta, gamma = old.input[:5]
    dtype = old.attr["T"].type

    def add(op: str, *inputs: str, name: str | None = None) -> str:
        node = graph.node.add(name=name or fresh(f"{old.name}/{op}"), op=op)
        node.input.extend(inputs)
        node.attr["T"].type = dtype
        return str(node.name)

    epsilon = graph.node.add(name=fresh(f"{old.name}/epsilon"), op="Const")
    epsilon.attr["dtype"].type = dtype
    epsilon.attr["value"].tensor.dtype = dtype
    epsilon.attr["value"].tensor.float_val.append(old.attr["variance_epsilon"].f)
    epsilon.attr["value"].tensor.tensor_shape.SetInParent()
    scale = add("Rsqrt", add("AddV2", variance, epsilon.name))
    if old.attr["scale_after_normalization"].b:
        scale = add("Mul", scale, gamma)
    centred = add("Sub", tensor, mean)
    add("AddV2", add("Mul", centred, scale), beta, *old.input[5:], name=old.name)

"""Reads a GraphDef (of a .pb, a SavedModel or a checkpoint) as a Graph: calls of functions are inlined, the
bodies of branches and loops follow their operation. Pure; takes the messages of schema.py or TensorFlow's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.inspection.graph import Graph, Node, Value, sort
from edgefreeze.inspection.schema import TENSORFLOW_DTYPES
from edgefreeze.types import Shape
from edgefreeze.worker.graphs import producer, unused

CALLS = ("PartitionedCall", "StatefulPartitionedCall", "StatelessPartitionedCall")
_LATER_OUTPUTS = {
    "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3", "indices",
    "idx", "output_true",
}  # fmt: skip
"""Names of outputs that are not their operation's first, of operations that name several."""
_FEW = 64
_MOST = 400_000
"""Nodes with the bodies of all calls: functions that call the next one twice would double at each."""


def read(graph_def: Any, outputs: Sequence[str], fed: Sequence[str] = ()) -> Graph:
    """The part of a GraphDef that the outputs ("node:i", or names of nodes) need.

    fed: tensors that are given, whatever makes them: the graph begins there. A function that calls itself,
    which no valid graph has, is left as a call.
    """
    reader = _Reader(graph_def)
    roots = [output.split(":")[0].removeprefix("^") for output in outputs]
    given = {producer(tensor) for tensor in fed}
    needed = _needed(graph_def, roots, given)
    nodes = [_placeholder(n) if n.name in given else n for n in graph_def.node if n.name in needed]
    reader.body(nodes, {}, "", None, ())
    wanted = [reader.resolved(output if ":" in output else f"{output}:0") for output in outputs]
    made = {tensor: node.name for node in reader.nodes for tensor in node.outputs}
    ends = [made[t] for t in wanted if t in made] + [r for r in roots if r in {n.name for n in reader.nodes}]
    nodes = sort(reader.nodes, [*ends, *reader.inner])
    return Graph(
        nodes=nodes,
        values=reader.values,
        inputs=tuple(n.outputs[0] for n in nodes if n.op.startswith("Placeholder") and n.body is None),
        outputs=tuple(wanted),
    )


def _needed(graph_def: Any, roots: Sequence[str], given: set[str]) -> set[str]:
    """As graphs.reachable, not past what is given."""
    inputs = {n.name: [producer(i) for i in n.input] for n in graph_def.node}
    seen: set[str] = set()
    todo = [root for root in roots if root in inputs]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            if name not in given:
                todo.extend(need for need in inputs[name] if need in inputs)
    return seen


def _placeholder(node: Any) -> Any:
    if node.op.startswith("Placeholder"):
        return node
    found = type(node)(name=node.name, op="Placeholder")
    for attr in ("dtype", "_output_shapes"):
        if attr in node.attr:
            found.attr[attr].CopyFrom(node.attr[attr])
    if "dtype" not in found.attr and "T" in node.attr:
        found.attr["dtype"].CopyFrom(node.attr["T"])
    return found


class _Reader:
    def __init__(self, graph_def: Any) -> None:
        self.functions = {f.signature.name: f for f in graph_def.library.function}
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.inner: list[str] = []
        """Nodes in bodies, which nothing outside refers to."""
        self._names: set[str] = set()
        self._aliases: dict[str, str] = {}

    def resolved(self, tensor: str) -> str:
        """The tensor behind what a call gives."""
        seen = set()
        while tensor in self._aliases and tensor not in seen:
            seen.add(tensor)
            tensor = self._aliases[tensor]
        return tensor

    def body(
        self,
        node_defs: Sequence[Any],
        arguments: dict[str, str],
        scope: str,
        inside: str | None,
        stack: tuple[str, ...],
    ) -> dict[str, str]:
        """Add nodes; the names that they got by those that they had. `stack`: functions around them."""
        if len(self._names) + len(node_defs) > _MOST:
            raise Failure(
                "model-broken",
                "The model's functions call each other so often that its graph has no end.",
                expected=f"at most {_MOST} nodes, each call counted",
            )
        names: dict[str, str] = {}
        for node in node_defs:
            names[node.name] = self._fresh(node.name, scope)
        added = []
        for node in node_defs:
            name = names[node.name]
            data = [self._tensor(i, names, arguments) for i in node.input if not i.startswith("^")]
            controls = [names[i[1:]] for i in node.input if i.startswith("^") and i[1:] in names]
            function = self._called(node)
            if function is not None and function not in stack:
                self._inline(name, function, data, inside, stack)
                continue
            made = Node(
                name, node.op, tuple(data), self._outputs(name, node), _attrs(node), tuple(controls), inside
            )
            added.append(made)
            self._note(node, made)
            if inside is not None:
                self.inner.append(name)
            for attr in ("then_branch", "else_branch", "cond", "body"):
                if attr in node.attr and node.attr[attr].func.name not in stack:
                    self._branch(node.attr[attr].func.name, name, stack)
            for branch in node.attr["branches"].list.func if "branches" in node.attr else ():
                self._branch(branch.name, name, stack)
        self.nodes += added
        for made in added:
            made.inputs = tuple(map(self.resolved, made.inputs))
        return names

    def _fresh(self, name: str, scope: str) -> str:
        wish = name if name not in self._names else f"{scope}/{name}" if scope else name
        found = unused(wish, self._names.__contains__)
        self._names.add(found)
        return found

    def _called(self, node: Any) -> str | None:
        name = node.attr["f"].func.name if node.op in CALLS and "f" in node.attr else node.op
        return name if name in self.functions else None

    def _inline(
        self, name: str, function: str, data: list[str], inside: str | None, stack: tuple[str, ...]
    ) -> None:
        definition = self.functions[function]
        arguments = {a.name: t for a, t in zip(definition.signature.input_arg, data, strict=False)}
        names = self.body(definition.node_def, arguments, name, inside, (*stack, function))
        for index, output in enumerate(definition.signature.output_arg):
            given = definition.ret.get(output.name, "")
            self._aliases[f"{name}:{index}"] = self._tensor(given, names, arguments)

    def _branch(self, function: str, name: str, stack: tuple[str, ...]) -> None:
        if function in self.functions:
            definition = self.functions[function]
            arguments = {a.name: f"{name}/{function}/{a.name}:0" for a in definition.signature.input_arg}
            self.body(definition.node_def, arguments, name, name, (*stack, function))

    def _tensor(self, ref: str, names: dict[str, str], arguments: dict[str, str]) -> str:
        """ "node", "node:i" or, in a function, "node:output:i" or "argument", as one of our tensors."""
        node, _, rest = ref.partition(":")
        if node in arguments and node not in names:
            return self.resolved(arguments[node])
        output, _, index = rest.rpartition(":")
        suffix = f"{output}.{index}" if output in _LATER_OUTPUTS else index or "0"
        return self.resolved(f"{names.get(node, node)}:{suffix}")

    def _outputs(self, name: str, node: Any) -> tuple[str, ...]:
        count = max(1, len(node.attr["_output_shapes"].list.shape) if "_output_shapes" in node.attr else 1)
        for attr in ("num_split", "num", "N"):
            if node.op in ("Split", "SplitV", "Unpack", "IdentityN") and attr in node.attr:
                count = max(count, node.attr[attr].i)
        for attr in ("Tout", "T"):
            if attr in node.attr:
                count = max(count, len(node.attr[attr].list.type))
        later: tuple[str, ...] = (
            ("batch_mean.0", "batch_variance.0") if node.op.startswith("FusedBatchNorm") else ()
        )
        later += ("indices.0",) if node.op.startswith("TopK") else ()
        later += ("idx.0",) if node.op.startswith("Unique") else ()
        later += ("output_true.0",) if node.op == "Switch" else ()
        return (*(f"{name}:{i}" for i in range(count)), *(f"{name}:{suffix}" for suffix in later))

    def _note(self, node: Any, made: Node) -> None:
        """What the node itself says of its outputs."""
        dtypes = [TENSORFLOW_DTYPES.get(t, "") for t in _types(node)]
        shapes = list(node.attr["_output_shapes"].list.shape) if "_output_shapes" in node.attr else []
        for index, tensor in enumerate(made.outputs):
            value = self.values.setdefault(tensor, Value())
            value.dtype = dtypes[index] if index < len(dtypes) else dtypes[0] if dtypes else ""
            if index < len(shapes):
                value.shape = shape(shapes[index])
        first = self.values[made.outputs[0]]
        if node.op == "Const":
            proto = node.attr["value"].tensor
            first.shape, first.stored = shape(proto.tensor_shape), True
            first.integers = _integers(proto, first.elements or 0)
        elif node.op in ("VarHandleOp", "VariableV2", "Variable", "Placeholder") and "shape" in node.attr:
            known = shape(node.attr["shape"].shape)
            # An empty shape of a placeholder is how old graphs say that they do not know.
            if not (node.op == "Placeholder" and known == () and first.shape is not None):
                first.shape = known
            first.stored = node.op != "Placeholder"


def shape(proto: Any) -> Shape | None:
    """A TensorShapeProto as a tuple, None where the rank is unknown."""
    if proto.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in proto.dim)


def _types(node: Any) -> list[int]:
    for attr in ("Tout", "output_types", "out_type", "DstT", "dtype", "T", "output_type", "Tidx"):
        if attr in node.attr:
            value = node.attr[attr]
            return list(value.list.type) or [value.type]
    return []


def _attrs(node: Any) -> dict[str, Any]:
    """The attributes that shapes, costs and comparisons hang on, as plain values."""
    plain: dict[str, Any] = {}
    for key in node.attr:
        if key.startswith("_") or key == "value":
            continue
        value = node.attr[key]
        for kind in ("s", "i", "f", "b", "type"):
            if value.HasField(kind):
                found = getattr(value, kind)
                plain[key] = found.decode("utf-8", "replace") if kind == "s" else found
        if value.HasField("list"):
            plain[key] = tuple(value.list.i) or tuple(value.list.f) or tuple(value.list.type)
        if value.HasField("shape"):
            plain[key] = shape(value.shape)
    return plain


def _integers(proto: Any, count: int) -> tuple[int, ...] | None:
    dtype = TENSORFLOW_DTYPES.get(proto.dtype)
    if dtype not in ("int32", "int64") or count > _FEW:
        return None
    if proto.tensor_content:
        letter = "i" if dtype == "int32" else "q"
        if len(proto.tensor_content) != count * struct.calcsize(f"<{letter}"):
            return None
        return struct.unpack(f"<{count}{letter}", proto.tensor_content)
    given = tuple(proto.int_val if dtype == "int32" else proto.int64_val) or (0,)
    return tuple(given[:count]) + (given[-1],) * (count - len(given))

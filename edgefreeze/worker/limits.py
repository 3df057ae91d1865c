"""What a GraphDef cannot hold: more than protobuf's 2 GiB. Known before the work starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefreeze.errors import Failure
from edgefreeze.text import size
from edgefreeze.worker.messages import parse
from edgefreeze.worker.signatures import DEFAULT

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Options

GRAPH_BYTES = 2**31 - 1


def refuse_too_large(count: int, limit: int = GRAPH_BYTES) -> None:
    """Raise Failure model-too-large if this many bytes of weights do not fit into a GraphDef."""
    if count > limit:
        raise Failure(
            "model-too-large",
            f"The model's weights take {count} bytes ({size(count)}), and a frozen graph holds at most "
            f"{limit} ({size(limit)}), protobuf's limit.",
            expected=f"at most {limit} bytes of weights that the signature reads",
            found=f"{count} bytes",
            next="Keep the SavedModel, which has no such limit (edgefreeze build --format saved_model); or "
            "freeze a --signature that reads less, or store the weights as float16.",
        )


def captured_bytes(function: Any) -> int:
    """The bytes of the variables that a function reads."""
    held = {id(outer) for outer, _ in function.graph.captures}
    return _total(
        (v.dtype.as_datatype_enum, v.shape.as_list())
        for v in function.graph.variables
        if id(v.handle) in held
    )


def signature_bytes(path: Path, options: Options) -> int | None:
    """The bytes of the variables that a TF2 SavedModel's signature reads, from saved_model.pb alone, before
    anything is loaded; None where that cannot be told (another kind of model, no such signature)."""
    from tensorflow.core.protobuf import saved_model_pb2

    if not (path / "saved_model.pb").is_file():
        return None
    try:
        model = parse(path / "saved_model.pb", saved_model_pb2.SavedModel())
    except Failure:  # its loader says it better
        return None
    for meta_graph in model.meta_graphs:
        if options.tags is None or set(meta_graph.meta_info_def.tags) == set(options.tags):
            return _bound_bytes(meta_graph.object_graph_def, options.signature)
    return None


def _bound_bytes(objects: Any, signature: str | None) -> int | None:
    """The bytes of the variables bound to a signature's function; None: of the one that is the default."""

    def child(node: Any, name: str) -> Any:
        ids = (c.node_id for c in node.children if c.local_name == name)
        return next((objects.nodes[i] for i in ids if 0 <= i < len(objects.nodes)), None)

    signatures = child(objects.nodes[0], "signatures") if objects.nodes else None
    if signatures is None:
        return None
    keys = [c.local_name for c in signatures.children]
    wanted = signature or (DEFAULT if DEFAULT in keys else keys[0] if keys else "")
    function = child(signatures, wanted)
    if function is None:
        return None
    named = function.bare_concrete_function.concrete_function_name
    if not named and function.function.concrete_functions:
        named = function.function.concrete_functions[0]
    if named not in objects.concrete_functions:
        return None
    bound = set(objects.concrete_functions[named].bound_inputs)
    nodes = [objects.nodes[i] for i in bound if 0 <= i < len(objects.nodes)]  # a damaged file says anything
    return _total(
        (node.variable.dtype, [d.size for d in node.variable.shape.dim])
        for node in nodes
        if node.WhichOneof("kind") == "variable"
    )


def _total(variables: Iterable[tuple[int, list[int | None]]]) -> int:
    from tensorflow.dtypes import as_dtype

    total = 0
    for dtype, shape in variables:
        count = 1
        for dim in shape:
            count *= max(dim or 0, 0)
        total += count * (as_dtype(dtype).base_dtype.size if dtype != _STRING else 0)
    return total


_STRING = 7
"""DT_STRING: of no fixed size."""

"""The frozen graph itself, as a GraphDef file: model.pb."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgefreeze.text import size
from edgefreeze.worker import marks
from edgefreeze.worker.formats import Made, Unfit, Written

RUNTIME = "tf_frozen"
_LIMIT = 2**31 - 1


def path(precision: str) -> str:
    """The file that is written."""
    return "model.pb"


def write(made: Made, precision: str, out: Path, options: Mapping[str, Any]) -> Written:
    """Write model.pb, the same bytes for the same graph. Raises Unfit beyond protobuf's 2 GiB."""
    frozen = made.frozen
    count = frozen.graph.ByteSize()
    if count > _LIMIT:
        raise Unfit(f"The graph takes {size(count)}, and a GraphDef file holds at most {size(_LIMIT)}.")
    graph = marks.marked(frozen)
    (out / path(precision)).write_bytes(graph.SerializeToString(deterministic=True))
    return Written(
        inputs=frozen.inputs, outputs=frozen.outputs, method=frozen.method, init_ops=frozen.init_ops
    )

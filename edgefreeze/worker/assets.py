"""Files that a model brings along: what reads one whole becomes its contents, since no path of this machine
holds on another. (A file that fills a table goes into the graph as the table's contents, see tables.py.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure
from edgefreeze.worker.cutting import keep, listed
from edgefreeze.worker.graphs import producer
from edgefreeze.worker.sources import Source

_STRING = 7
"""DT_STRING."""


def fold(graph: Any, paths: Mapping[str, str], outputs: Iterable[str], model: Path) -> Any:
    """The graph with constants in place of what reads these files, as far as the outputs need it.

    paths: file by the tensor ("node:0") that stands for its path; outputs: names of nodes. Raises Failure
    freeze-refused where a path is used in another way, model-broken where a file is missing.
    """
    from tensorflow.python.framework import tensor_util

    nodes = {node.name: node for node in graph.node}
    named = {producer(tensor): path for tensor, path in paths.items() if producer(tensor) in nodes}
    if not named:
        return graph

    def path_of(ref: str) -> str | None:
        node = nodes.get(producer(ref))
        while node is not None and node.name not in named and node.op == "Identity":
            node = nodes.get(producer(node.input[0]))
        return named.get(node.name) if node is not None else None

    for node in graph.node:
        path = path_of(node.input[0]) if node.op == "ReadFile" else None
        if path is not None:
            constant = type(node)(name=node.name, op="Const")
            constant.attr["dtype"].type = _STRING
            content = tensor_util.make_tensor_proto(_content(path, model), _STRING)
            constant.attr["value"].tensor.CopyFrom(content)
            node.CopyFrom(constant)
    inside = keep(graph, outputs)
    left = [n.name for n in inside.node if n.name in named]
    if left:
        raise Failure(
            "freeze-refused",
            f"The model {model} uses files by their paths, which a frozen graph cannot take along.",
            expected="files that are read as a whole or fill a table",
            found=listed([f"{Path(named[name]).name} at {name}" for name in left]),
            next="Read the file before the graph, and cut there with --inputs.",
        )
    return inside


def inside(source: Source, paths: Mapping[str, str], model: Path) -> Source:
    """The source with the files' contents in its function, where it reads any.

    paths: file by the capture in the function's graph that stands for its path. Raises Failure as `fold`.
    """
    if not paths:
        return source
    from edgefreeze.worker import retracing

    results = [t.name for t in source.function.outputs]
    outputs = dict(zip([t.name for t in source.outputs], results, strict=True))
    places = {f"{name}:0": path for name, path in paths.items()}
    graph = fold(retracing.inlined(source.function), places, map(producer, results), model)
    folded = retracing.retrace(source, graph, list(source.inputs), outputs)
    return replace(folded, runner=source.run, keep=(source.keep, source.function))


def _content(path: str, model: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Failure(
            "model-broken",
            f"The model {model} lacks one of its files.",
            expected=path,
            found=error.strerror or type(error).__name__,
            next="Copy the model again, with its assets folder.",
        ) from error

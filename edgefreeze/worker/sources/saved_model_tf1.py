"""A SavedModel of TensorFlow 1, which has no objects: several MetaGraphs, signatures with names of their own,
tables, assets, a training graph around what infers."""

from __future__ import annotations

from pathlib import Path

from edgefreeze.worker import meta_graphs, wire
from edgefreeze.worker.sources import Options, Source

KIND = "a SavedModel of TensorFlow 1 (a folder with saved_model.pb and variables/)"


def sniff(path: Path) -> bool:
    """Whether the folder holds a saved_model.pb or .pbtxt without an object graph."""
    file = meta_graphs.file_of(path)
    return file is not None and wire.has_object_graph(file) is False


def load(path: Path, options: Options) -> Source:
    """Load what the signature uses in a session. Raises Failure as meta_graphs.load."""
    return meta_graphs.load(path, options, "saved from the signature's part of the graph")

"""Writes a graph as an event file that TensorBoard's graph page reads, without TensorFlow.

An event file is a TFRecord: for each record its length (8 bytes) and the length's masked CRC-32C, the record,
and the record's masked CRC-32C (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

from edgefreeze.inspection import schema
from edgefreeze.inspection.graph import Graph

_FILE = "events.out.tfevents.0000000000.edgefreeze"
_VERSION = "brain.Event:2"


def write(graph: Graph, folder: Path) -> Path:
    """Write the graph, without its weights, into the folder; the file's path. Raises OSError."""
    version = schema.tensorflow("Event")
    version.file_version = _VERSION
    event = schema.tensorflow("Event")
    event.graph_def = _graph_def(graph)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FILE
    path.write_bytes(_record(version.SerializeToString()) + _record(event.SerializeToString()))
    return path


def _graph_def(graph: Graph) -> bytes:
    message = schema.tensorflow("GraphDef")
    names = {tensor: node.name for node in graph.nodes for tensor in node.outputs}
    for tensor in graph.inputs:
        if tensor not in names:
            message.node.add(name=tensor, op="Placeholder")
            names[tensor] = tensor
    for node in graph.nodes:
        added = message.node.add(name=node.name, op=node.op)
        for tensor in node.inputs:
            if tensor and tensor not in names:
                message.node.add(name=tensor, op="Const")
                names[tensor] = tensor
            if tensor:
                added.input.append(names[tensor])
    return bytes(message.SerializeToString())


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        found.append(byte)
    return tuple(found)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), RFC 3720, appendix B.4."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF

"""A frozen graph: a GraphDef in a .pb or .pbtxt file, told by its content.

It names no inputs and outputs. Inputs are its placeholders unless --inputs cuts it elsewhere; outputs are
what --outputs says, or the one node that can be it.
"""

from __future__ import annotations

from pathlib import Path

from edgefreeze.worker import cutting, sessions, wire
from edgefreeze.worker.messages import parse
from edgefreeze.worker.signatures import DEFAULT
from edgefreeze.worker.sources import Options, Source

KIND = "a frozen graph (a GraphDef in a .pb or .pbtxt file)"


def sniff(path: Path) -> bool:
    """Whether the file holds a GraphDef."""
    return path.is_file() and wire.message(path) == "GraphDef"


def load(path: Path, options: Options) -> Source:
    """Load a GraphDef. Raises Failure: model-broken, model-no-signature, usage, and as sessions.load."""
    from tensorflow.core.framework import graph_pb2

    graph = parse(path, graph_pb2.GraphDef())
    if options.outputs:
        outputs = cutting.ends(options.outputs, graph, "--outputs")
    else:
        outputs = [cutting.only_output(graph, path)]
    model = sessions.Model(
        path=path,
        graph=graph,
        inputs=cutting.ends(options.inputs, graph, "--inputs")
        if options.inputs
        else cutting.placeholders(graph, outputs),
        outputs=outputs,
        signature=DEFAULT,
    )
    return sessions.load(model, options.batch, "saved from the frozen graph")

"""The operation `attempts`: many small graphs on the same inputs, each on its own; one that fails is passed
over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgefreeze.device.tensors import decode, encode


def attempts(request: dict[str, Any]) -> dict[str, Any]:
    """Run each GraphDef "0.pb", "1.pb", … of the folder `graphs` on the arrays of `inputs`, by placeholder,
    and write the tensor `output` of each that runs to `out`, under its number. Returns {"ran": [numbers]}."""
    import tensorflow as tf

    inputs = decode(Path(request["inputs"]).read_bytes())
    results: dict[str, Any] = {}
    for number in range(request["count"]):
        graph_def = tf.compat.v1.GraphDef()
        graph_def.ParseFromString((Path(request["graphs"]) / f"{number}.pb").read_bytes())
        try:
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(graph_def, name="")
                with tf.compat.v1.Session(graph=graph) as session:
                    value = session.run(
                        request["output"], {f"{name}:0": array for name, array in inputs.items()}
                    )
        except (tf.errors.OpError, ValueError, TypeError, KeyError):
            continue  # a change that makes no valid graph explains nothing
        results[str(number)] = np.asarray(value)
    Path(request["out"]).write_bytes(encode(results))
    return {"ran": [int(number) for number in results]}

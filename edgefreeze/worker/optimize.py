"""Grappler passes on a frozen graph that change its speed and not its results.

Constant folding, pruning and control-dependency clean-up only: no remapping to fused kernels, no layout
change, so that the graph still runs on another kind of CPU and with another TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgefreeze.device import parity
from edgefreeze.errors import Failure
from edgefreeze.worker import gate
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.graphs import canonical, producer
from edgefreeze.worker.reasons import reason

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

LEVELS = ("none", "safe")
PASSES = ("pruning", "constfold", "dependency", "pruning")
TOLERANCE = 1e-6


def require_level(level: str) -> None:
    """Raise Failure usage unless there is such a level."""
    if level not in LEVELS:
        raise Failure(
            "usage", f"There is no optimize level {level!r}.", expected=", ".join(LEVELS), found=level
        )


def optimize(frozen: Frozen, level: str, equal: Callable[[Frozen, Frozen], str | None]) -> Frozen:
    """The optimised graph, or the given one where the result fails the gate or computes something else;
    `method` says which.

    equal: compares two graphs on the golden inputs; None, or why they differ.
    """
    if level == "none":
        return replace(frozen, method=f"{frozen.method}; not optimised")
    try:
        graph = _grappler(frozen)
        gate.check(graph, frozen.inputs, frozen.outputs)
        better = replace(frozen, graph=graph, method=f"{frozen.method}; grappler {','.join(PASSES)}")
        difference = equal(frozen, better)
    except Failure as error:
        difference = error.message
    except Exception as error:  # an optimiser that dies costs speed, never the release
        difference = reason(error, 200)
    if difference is None:
        return better
    return replace(frozen, method=f"{frozen.method}; not optimised ({difference})")


def _grappler(frozen: Frozen) -> Any:
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph, name="")
        meta_graph = tf.compat.v1.train.export_meta_graph(graph=graph, clear_devices=True)
    signature = meta_graph.signature_def["frozen"]
    for tensors, infos in ((frozen.inputs, signature.inputs), (frozen.outputs, signature.outputs)):
        for tensor in tensors:
            value = graph.get_tensor_by_name(tensor.tensor)
            infos[tensor.name].name = tensor.tensor
            # Grappler ends the process on a signature without types.
            infos[tensor.name].dtype = value.dtype.as_datatype_enum
            infos[tensor.name].tensor_shape.CopyFrom(value.shape.as_proto())
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.optimizers[:] = PASSES
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    rewrite.min_graph_nodes = -1
    rewrite.fail_on_optimizer_errors = True
    optimised = tf_optimizer.OptimizeGraph(config, meta_graph)
    return canonical(
        optimised, [producer(t.tensor) for t in frozen.inputs], [producer(t.tensor) for t in frozen.outputs]
    )


def compare_runs(cases: list[Arrays]) -> Callable[[Frozen, Frozen], str | None]:
    """A comparison for `optimize`: both graphs on the same inputs, floats within TOLERANCE of the range."""

    def equal(one: Frozen, other: Frozen) -> str | None:
        result = parity.compare(run_frozen(one, cases), run_frozen(other, cases), TOLERANCE)
        differing = [f"output {o['name']}: {o['reason']}" for o in result["outputs"] if not o["ok"]]
        return "; ".join(differing) or None

    return equal


def run_frozen(frozen: Frozen, cases: list[Arrays]) -> list[Arrays]:
    """The graph's outputs for each case, in a session that optimises nothing."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    fetches = {t.name: t.tensor for t in frozen.outputs}
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph, name="")
        with tf.compat.v1.Session(graph=graph, config=config) as session:
            return [session.run(fetches, {t.tensor: case[t.name] for t in frozen.inputs}) for case in cases]

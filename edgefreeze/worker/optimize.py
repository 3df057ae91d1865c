"""Passes on a frozen graph that change its speed and not its results, one after the other: each is kept only
if the graph still passes the gate and computes the same.

No fused kernels and no layout change, so that the graph still runs on another kind of CPU and with another
TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgefreeze.device import parity
from edgefreeze.errors import Failure
from edgefreeze.types import PassEffect
from edgefreeze.worker import fold
from edgefreeze.worker.freeze import Frozen
from edgefreeze.worker.graphs import producer
from edgefreeze.worker.reasons import reason

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

Pass = Callable[[Frozen], Any]
"""A frozen graph in, an edited GraphDef out."""

TOLERANCE = 1e-5
"""Largest error of a pass, relative to an output's range. Folding changes the last bits, and a deep model
multiplies them: MobileNetV2 has 3.5e-6."""

_TIMED_S = 0.5
_TIMED_RUNS = 20


def _grappler(*optimizers: str) -> Pass:
    return lambda frozen: grappler(frozen, optimizers)


PASSES: dict[str, Pass] = {
    "constant folding": _grappler("pruning", "constfold"),
    "dependency clean-up": _grappler("dependency", "pruning"),
    "identity removal": lambda frozen: fold.without_identities(
        frozen.graph, [producer(t.tensor) for t in (*frozen.inputs, *frozen.outputs)]
    ),
    "duplicate constants": lambda frozen: fold.without_duplicates(frozen.graph),
    "debug nodes": _grappler("debug_stripper", "pruning"),
    "batch norm folding": lambda frozen: fold.batch_norm(frozen.graph),
}
LEVELS: dict[str, tuple[str, ...]] = {
    "none": (),
    "safe": ("constant folding", "dependency clean-up", "identity removal", "duplicate constants"),
    "max": (
        "constant folding",
        "debug nodes",
        "dependency clean-up",
        "identity removal",
        "batch norm folding",
        "duplicate constants",
    ),
}


def require_level(level: str) -> None:
    """Raise Failure usage unless there is such a level."""
    if level not in LEVELS:
        raise Failure(
            "usage", f"There is no optimize level {level!r}.", expected=", ".join(LEVELS), found=level
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What a graph computes for the golden inputs, and how long a call takes here, in ms (the fastest)."""

    outputs: list[Arrays]
    ms: float


def optimize(
    frozen: Frozen, level: str, run: Callable[[Frozen], Run]
) -> tuple[Frozen, tuple[PassEffect, ...]]:
    """The graph after the level's passes that changed it and proved themselves, and what each did.

    run: the graph on the golden inputs (see `runs`).
    """
    if level == "none":
        return replace(frozen, method=f"{frozen.method}; not optimised"), ()
    original = before = run(frozen)
    effects: list[PassEffect] = []
    best = frozen
    for name in LEVELS[level]:
        graph: Any = None
        after = before
        trouble: str | None
        try:
            graph = frozen.canonical(PASSES[name](best))
            unchanged = graph == best.graph
            if not unchanged:
                frozen.check(graph)
                after = run(replace(best, graph=graph))
            trouble = "it changes nothing" if unchanged else differences(original, after)
        except Failure as error:
            trouble = error.message
        except Exception as error:  # an optimiser that dies costs speed, never the release
            trouble = reason(error, 200)
        effects.append(_effect(name, best.graph, graph, before, after, trouble))
        if trouble is None:
            best, before = replace(best, graph=graph), after
    kept = [e.name for e in effects if e.kept]
    return replace(best, method=f"{best.method}; optimised ({level}): {', '.join(kept) or 'nothing'}"), tuple(
        effects
    )


def differences(reference: Run, candidate: Run) -> str | None:
    """The outputs that differ by more than TOLERANCE, in words."""
    result = parity.compare(reference.outputs, candidate.outputs, TOLERANCE)
    return "; ".join(f"output {o['name']}: {o['reason']}" for o in result["outputs"] if not o["ok"]) or None


def _effect(name: str, old: Any, new: Any, before: Run, after: Run, trouble: str | None) -> PassEffect:
    new = old if new is None else new
    return PassEffect(
        name=name,
        kept=trouble is None,
        reason=trouble,
        nodes=(len(old.node), len(new.node)),
        bytes=(old.ByteSize(), new.ByteSize()),
        ms=(before.ms, after.ms),
    )


def grappler(frozen: Frozen, optimizers: tuple[str, ...]) -> Any:
    """The graph after one round of Grappler's optimizers of these names."""
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
    meta_graph.collection_def["train_op"].node_list.value.extend(
        [*(t.tensor for t in frozen.outputs), *frozen.init_ops]
    )
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.optimizers[:] = optimizers
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    rewrite.min_graph_nodes = -1
    rewrite.fail_on_optimizer_errors = True
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def runs(cases: list[Arrays]) -> Callable[[Frozen], Run]:
    """A function that runs a graph on these inputs."""
    return lambda frozen: run_frozen(frozen, cases)


def run_frozen(frozen: Frozen, cases: list[Arrays]) -> Run:
    """The graph's outputs for each case, in a session that optimises nothing."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    fetches = {t.name: t.tensor for t in frozen.outputs}
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph, name="")
        with tf.compat.v1.Session(graph=graph, config=config) as session:
            if frozen.init_ops:
                session.run(list(frozen.init_ops))
            feeds = [{t.tensor: case[t.name] for t in frozen.inputs} for case in cases]
            outputs = [session.run(fetches, feed) for feed in feeds]
            times: list[float] = []
            end = time.perf_counter() + _TIMED_S
            while feeds and len(times) < _TIMED_RUNS and (not times or time.perf_counter() < end):
                started = time.perf_counter()
                session.run(fetches, feeds[0])
                times.append((time.perf_counter() - started) * 1e3)
    return Run(outputs, round(min(times, default=0.0), 4))

"""Ways to run a frozen .pb in TensorFlow, and the SavedModel that it came from, measured against each other.

    python bench/frozen_ways.py [ROUNDS]        default: 20

Two models, batch 1, one thread: Keras' MobileNetV2 (random weights, 224 × 224 × 3) and a model of one
operation (x + 1 on 8 floats), whose time is the overhead of a call. Each is saved as a SavedModel and frozen
by edgefreeze itself. All ways live in one process; each round has one block of each, in drawn order. A way
whose outputs differ from the signature's is not timed. NumPy arrays go in and come out; the ways that take
tensors (signature, wrap_function) are given theirs ready made, which favours them.

Prints medians and ratios with 99 % intervals; raw nanoseconds go to bench/results/.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from edgefreeze.freeze import Frozen, freeze
from record import in_words, keep, machine

from edgefreeze.benchmark.statistics import compare
from edgefreeze.device import parity
from edgefreeze.device.runtimes import tf_frozen, tf_saved_model
from edgefreeze.progress import Silent

THREADS = 1
SEED = 1
TOLERANCE = 1e-5
BASELINE = "signature of the SavedModel"
SAMPLES = {"mobilenet_v2": 20, "one_op": 100}
"""Calls in a block."""
SHAPES = {"mobilenet_v2": (1, 224, 224, 3), "one_op": (1, 8)}

Outputs = dict[str, np.ndarray[Any, Any]]
Call = Callable[[], Outputs]


def save_models(folder: Path) -> None:
    """Write both models as SavedModels: in a process of its own, since threads are set before first use."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    net = keras.applications.MobileNetV2(weights=None, classifier_activation=None)

    class OneOp(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
        def serve(self, x: Any) -> dict[str, Any]:
            return {"y": x + 1.0}

    @tf.function(input_signature=[tf.TensorSpec((1, 224, 224, 3), tf.float32, name="x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": net(x, training=False)}

    tf.saved_model.save(net, str(folder / "mobilenet_v2"), signatures={"serving_default": serve})
    one = OneOp()
    tf.saved_model.save(one, str(folder / "one_op"), signatures={"serving_default": one.serve})


def ways(folder: Path, pb: Path, frozen: Frozen, x: np.ndarray[Any, Any]) -> dict[str, Call]:
    """Every way by its name: a call on `x` that gives the outputs as NumPy arrays."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

    v1 = tf.compat.v1
    artifact: dict[str, Any] = {
        "inputs": [{"name": t.name, "tensor": t.tensor} for t in frozen.inputs],
        "outputs": [{"name": t.name, "tensor": t.tensor} for t in frozen.outputs],
        "signature": "serving_default",
    }
    feeds, fetches = [t.tensor for t in frozen.inputs], [t.tensor for t in frozen.outputs]
    names = [t.name for t in frozen.outputs]
    graph_def = v1.GraphDef()
    graph_def.ParseFromString(pb.read_bytes())

    wrapped = v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    pruned = wrapped.prune(
        [wrapped.graph.get_tensor_by_name(f) for f in feeds],
        [wrapped.graph.get_tensor_by_name(f) for f in fetches],
    )
    tensor = tf.constant(x)

    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    config = v1.ConfigProto(intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS)
    session = v1.Session(graph=graph, config=config)
    public = session.make_callable(fetches, feed_list=feeds)
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    pooled = session._make_callable_from_options(options)
    by_name = dict(zip(names, fetches, strict=True))
    inputs = {frozen.inputs[0].name: x}
    return {
        BASELINE: tf_saved_model.Model(str(folder), artifact, THREADS).bind(inputs),
        "wrap_function, pruned": lambda: {n: t.numpy() for n, t in zip(names, pruned(tensor), strict=True)},
        "Session.run": lambda: session.run(by_name, {feeds[0]: x}),
        "Session.make_callable": lambda: dict(zip(names, public(x), strict=True)),
        "options' callable, in the pool": lambda: dict(zip(names, pooled(x), strict=True)),
        "options' callable, on the caller's thread (edgefreeze)": tf_frozen.Model(
            str(pb), artifact, THREADS
        ).bind(inputs),
    }


def correct(calls: dict[str, Call]) -> dict[str, str | None]:
    """For each way None, or how its outputs differ from the signature's."""
    reference = calls[BASELINE]()
    found = {}
    for name, call in calls.items():
        result = parity.compare([reference], [call()], TOLERANCE)
        found[name] = None if result["ok"] else "; ".join(str(o["reason"]) for o in result["outputs"])
    return found


def measure(calls: dict[str, Call], rounds: int, samples: int) -> dict[str, list[list[int]]]:
    """Nanoseconds of every call, by way and round."""
    draw = random.Random(SEED)
    clock = time.perf_counter_ns
    found: dict[str, list[list[int]]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(samples):
            call()
    for _ in range(rounds):
        for name in draw.sample(list(calls), len(calls)):
            call, block = calls[name], []
            call()  # what ran before has the caches
            for _ in range(samples):
                start = clock()
                call()
                block.append(clock() - start)
            found[name].append(block)
    return found


def report(model: str, samples: dict[str, list[list[int]]]) -> dict[str, Any]:
    """Print a model's table; its derived figures."""
    derived: dict[str, Any] = {}
    print(f"\n{model}, batch 1, {THREADS} thread{' (µs)' if model == 'one_op' else ' (ms)'}")
    unit = 1e3 if model == "one_op" else 1e6
    for name, blocks in samples.items():
        median = float(np.median(np.concatenate([np.asarray(b) for b in blocks])))
        result = compare(BASELINE, name, samples[BASELINE], blocks, seed=SEED)
        derived[name] = {"p50_ns": median, "ratio": result.ratio, "interval": result.interval}
        ratio = ""
        if name != BASELINE and result.ratio is not None and result.interval is not None:
            ratio = f"× {result.ratio:.3f} ({result.interval[0]:.3f}–{result.interval[1]:.3f})"
        print(f"  {name:<56} {median / unit:8.2f}  {ratio}")
    return derived


def main(rounds: int) -> int:
    facts = machine()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    models: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, __file__, "--save", scratch], check=True)
        frozen = {name: freeze(folder / name, folder / f"{name}.pb", Silent()) for name in SAMPLES}

        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
        facts["tensorflow"] = tf.__version__
        print(in_words(facts) + f", TensorFlow {tf.__version__}")
        for name, samples in SAMPLES.items():
            x = np.random.default_rng(SEED).standard_normal(SHAPES[name]).astype(np.float32)
            calls = ways(folder / name, folder / f"{name}.pb", frozen[name], x)
            wrong = {way: why for way, why in correct(calls).items() if why}
            for way, why in wrong.items():
                print(f"  {way}: NOT TIMED, {why}")
                del calls[way]
            raw = measure(calls, rounds, samples)
            models[name] = {"samples_ns": raw, "derived": report(name, raw), "wrong": wrong}
    file = keep("frozen-ways", facts, {"threads": THREADS, "rounds": rounds, "seed": SEED, "models": models})
    print(f"\nraw: {file.relative_to(Path(__file__).resolve().parents[1])}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--save"]:
        save_models(Path(sys.argv[2]))
        sys.exit(0)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))

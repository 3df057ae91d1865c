"""A frozen GraphDef (.pb) in TensorFlow: one Session, Grappler on, a prepared callable (the fastest way)."""

import os
from typing import Any, Dict, List, Tuple

from edgefreeze.device.runtimes import Arrays, Call, mean_operations, require_inputs, tensor_names

PACKAGES = ("tensorflow", "tensorflow-cpu")
LARGE = 256 << 20
"""Bytes of a graph above which Grappler is left out: each of its passes copies it with all its weights. With
200 MB of them that took 40 s and 1.9 GB more until the first inference, with 1.6 GB more than 23 GB."""


def require() -> Any:
    """Import TensorFlow."""
    import tensorflow

    return tensorflow


class Model:
    """A graph that is loaded and initialised."""

    def __init__(self, path: str, artifact: Dict[str, Any], threads: int) -> None:
        tf = require()
        v1 = tf.compat.v1
        self.version = "tensorflow " + tf.__version__
        self._inputs = tensor_names(artifact, "inputs")
        self._outputs = tensor_names(artifact, "outputs")
        graph_def = v1.GraphDef()
        with open(path, "rb") as stream:
            graph_def.ParseFromString(stream.read())
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
        del graph_def
        config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        config.gpu_options.allow_growth = True  # boards whose GPU shares the memory
        if os.path.getsize(path) > LARGE:
            config.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = v1.Session(graph=graph, config=config)
        there = {device.device_type for device in self._session.list_devices()}
        self.device = "gpu" if "GPU" in there else "cpu"
        if artifact.get("init_ops"):
            self._session.run(list(artifact["init_ops"]))
        self._call = _callable(
            self._session, [t for _, t in self._inputs], [t for _, t in self._outputs], threads
        )

    def run(self, inputs: Arrays) -> Arrays:
        """One inference."""
        return self.bind(inputs)()

    def bind(self, inputs: Arrays) -> Call:
        """A call on these inputs."""
        require_inputs(self._inputs, inputs)
        feeds = [inputs[name] for name, _ in self._inputs]
        names = [name for name, _ in self._outputs]
        call = self._call

        def infer() -> Arrays:
            return dict(zip(names, call(*feeds)))  # noqa: B905 - Python 3.8

        return infer

    def profile(self, cases: List[Arrays], calls: int) -> List[Dict[str, Any]]:
        """From a full trace of each call: the nodes' times on the devices that ran them, first call aside."""
        tf = require()
        v1 = tf.compat.v1
        spent: Dict[Tuple[str, str], int] = {}
        graph = self._session.graph
        kinds = {node.name: node.type for node in graph.get_operations()}
        fetches = [tensor for _, tensor in self._outputs]
        for number in range(calls + 1):
            feeds = {tensor: cases[number % len(cases)][name] for name, tensor in self._inputs}
            told = v1.RunMetadata()
            options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
            self._session.run(fetches, feeds, options=options, run_metadata=told)
            for device in told.step_stats.dev_stats if number else ():
                for node in device.node_stats:
                    name = node.node_name.partition(":")[0]
                    # "Tanh = _FusedMatMul(…)": what ran there, which may be more than the graph's node.
                    ran = node.timeline_label.partition("(")[0].rpartition("= ")[2]
                    key = (name, ran or kinds.get(name, ""))
                    spent[key] = spent.get(key, 0) + 1000 * node.all_end_rel_micros
        return mean_operations(spent, calls)

    def close(self) -> None:
        """End the session."""
        self._session.close()


def _callable(session: Any, feeds: List[str], fetches: List[str], threads: int) -> Any:
    """call(*arrays in the order of feeds) -> arrays in the order of fetches.

    With one thread the graph runs on the caller's own: handing it to a pool and back costs more than a
    small model (5 against 80 microseconds for one op, 93 against 171 for 60 small layers). The public
    make_callable costs 260, so the options' callable, which is private, is used while TensorFlow has it.
    """
    make = getattr(session, "_make_callable_from_options", None)
    if make is None:
        return session.make_callable(fetches, feed_list=feeds)
    from tensorflow.core.protobuf import config_pb2

    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    if threads == 1:
        options.run_options.inter_op_thread_pool = -1
    return make(options)


load = Model

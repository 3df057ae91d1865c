"""A SavedModel's signature in TensorFlow: what a frozen release is measured against."""

from typing import Any, Dict

from edgefreeze.device.runtimes import Arrays, Call, require_inputs, tensor_names

PACKAGES = ("tensorflow", "tensorflow-cpu")


def require() -> Any:
    """Import TensorFlow."""
    import tensorflow

    return tensorflow


class Model:
    """A SavedModel that is loaded; the artifact's `signature` (default "serving_default") is what runs."""

    def __init__(self, path: str, artifact: Dict[str, Any], threads: int) -> None:
        tf = require()
        self.version = "tensorflow " + tf.__version__
        self._tf = tf
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)  # boards whose GPU shares the memory
        self.device = "gpu" if gpus else "cpu"
        self._inputs = tensor_names(artifact, "inputs")
        self._names = [name for name, _ in tensor_names(artifact, "outputs")]
        self._loaded = tf.saved_model.load(path)  # kept: its variables go with it
        self._signature = self._loaded.signatures[artifact.get("signature") or "serving_default"]

    def run(self, inputs: Arrays) -> Arrays:
        """One inference."""
        return self.bind(inputs)()

    def bind(self, inputs: Arrays) -> Call:
        """A call on these inputs."""
        require_inputs(self._inputs, inputs)
        tensors = {name: self._tf.constant(array) for name, array in inputs.items()}
        signature, names = self._signature, self._names

        def infer() -> Arrays:
            outputs = signature(**tensors)
            return {name: outputs[name].numpy() for name in names}

        return infer

    def close(self) -> None:
        """Let the model go."""
        self._signature = self._loaded = None


load = Model

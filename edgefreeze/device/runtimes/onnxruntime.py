"""An .onnx file in ONNX Runtime, on the CPU unless the artifact names other providers."""

import json
import os
import shutil
import tempfile
from typing import Any, Dict, List, Optional, Tuple

from edgefreeze.device.runtimes import Arrays, Call, mean_operations, require_inputs, tensor_names
from edgefreeze.device.tensors import as_bytes, is_text

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_CPU = "CPUExecutionProvider"
PROVIDERS = ("CUDAExecutionProvider", _CPU)
"""Used where the package has them, unless the artifact names others. TensorRT's own builds an engine at each
start, so it is none of them."""


def require() -> Any:
    """Import ONNX Runtime."""
    import onnxruntime

    return onnxruntime


class Model:
    """A session with its graph optimised."""

    def __init__(self, path: str, artifact: Dict[str, Any], threads: int) -> None:
        ort = require()
        self.version = "onnxruntime " + ort.__version__
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        able = ort.get_available_providers()
        providers = artifact.get("providers") or [name for name in PROVIDERS if name in able]
        self._traces: Optional[str] = None
        if artifact.get("profile"):
            self._traces = tempfile.mkdtemp(prefix="edgefreeze-")
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(self._traces, "trace")
        self._session = ort.InferenceSession(path, options, providers=list(providers))
        # One that was asked for and cannot start is left out without an error.
        self.device = "cpu" if self._session.get_providers()[0] == _CPU else "gpu"
        self._inputs = tensor_names(artifact, "inputs")
        self._outputs = tensor_names(artifact, "outputs")

    def run(self, inputs: Arrays) -> Arrays:
        """One inference."""
        return self.bind(inputs)()

    def bind(self, inputs: Arrays) -> Call:
        """A call on these inputs."""
        require_inputs(self._inputs, inputs)
        feeds = {tensor: _as_ort(inputs[name]) for name, tensor in self._inputs}
        outputs = self._outputs
        fetches = sorted({tensor for _, tensor in outputs})
        run = self._session.run

        def infer() -> Arrays:
            arrays = dict(zip(fetches, run(fetches, feeds)))  # noqa: B905 - Python 3.8
            return {name: _as_ours(arrays[tensor]) for name, tensor in outputs}

        return infer

    def profile(self, cases: List[Arrays], calls: int) -> List[Dict[str, Any]]:
        """From ONNX Runtime's own trace: its events of category Node, by the node's name."""
        for number in range(calls):
            self.bind(cases[number % len(cases)])()
        path = self._session.end_profiling()
        with open(path, encoding="utf-8") as stream:
            events = json.load(stream)
        shutil.rmtree(str(self._traces), ignore_errors=True)
        spent: Dict[Tuple[str, str], int] = {}
        for event in events:
            name = str(event.get("name", ""))
            if event.get("cat") == "Node" and name.endswith("_kernel_time"):
                key = (name[: -len("_kernel_time")], str(event.get("args", {}).get("op_name", "")))
                spent[key] = spent.get(key, 0) + 1000 * int(event.get("dur", 0))
        return mean_operations(spent, calls)

    def close(self) -> None:
        """Let the session go."""
        self._session = None


def _as_ours(array: Any) -> Any:
    return as_bytes(array) if is_text(array) else array


def _as_ort(array: Any) -> Any:
    """ONNX Runtime takes strings as str."""
    if not is_text(array):
        return array
    texts = as_bytes(array)
    for index, item in enumerate(texts.flat):
        texts.flat[index] = item.decode("utf-8")
    return texts


load = Model

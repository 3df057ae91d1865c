"""A .tflite file in LiteRT (ai-edge-litert), or in its predecessor tflite-runtime.

Inputs and outputs of integers stand for floats: value = scale * (integer - zero point). They are converted
here, so that an artifact takes and gives what its signature says whatever it is inside.
"""

import os
from typing import Any, Dict, List, Tuple

from edgefreeze.device import litert_profiler
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.runtimes import Arrays, Call, mean_operations, require_inputs, tensor_names

PACKAGES = ("ai-edge-litert", "tflite-runtime")


def require() -> Any:
    """Import the interpreter's module."""
    try:
        import ai_edge_litert.interpreter as module
    except ModuleNotFoundError as error:
        if error.name not in ("ai_edge_litert", "ai_edge_litert.interpreter"):
            raise
        import tflite_runtime.interpreter as module
    return module


class Model:
    """An interpreter with its tensors allocated, anew where a case's shapes differ from the last one's."""

    device = "cpu"

    def __init__(self, path: str, artifact: Dict[str, Any], threads: int) -> None:
        module = require()
        package = module.__name__.split(".")[0]
        self.version = "%s %s" % (package.replace("_", "-"), _version(package))
        self._package = os.path.dirname(os.path.abspath(module.__file__))
        self._path, self._threads = path, threads
        options: Dict[str, Any] = {"model_path": path, "num_threads": threads}
        if not artifact.get("xnnpack", True):  # TFLite's own kernels, without the delegate that it brings
            plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            options["experimental_op_resolver_type"] = plain
        self._interpreter = module.Interpreter(**options)
        self._names = tensor_names(artifact, "inputs")
        self._inputs = _details(self._interpreter.get_input_details(), artifact["inputs"])
        self._outputs = _details(self._interpreter.get_output_details(), artifact["outputs"])
        self._shapes: Dict[int, Tuple[int, ...]] = {}

    def run(self, inputs: Arrays) -> Arrays:
        """One inference."""
        return self.bind(inputs)()

    def bind(self, inputs: Arrays) -> Call:
        """A call on these inputs. A call bound earlier with other shapes resizes back when it is called.

        Inputs of integers are made beforehand: a camera gives integers. Outputs are made floats in the call.
        """
        require_inputs(self._names, inputs)
        feeds = [(index, quantised(inputs[name], scale)) for name, index, scale in self._inputs]
        shapes = {index: tuple(array.shape) for index, array in feeds}
        interpreter, outputs = self._interpreter, self._outputs

        def infer() -> Arrays:
            if self._shapes != shapes:
                self._resize(shapes)
            for index, array in feeds:
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return {name: dequantised(interpreter.get_tensor(i), scale) for name, i, scale in outputs}

        return infer

    def _resize(self, shapes: Dict[int, Tuple[int, ...]]) -> None:
        for detail in self._interpreter.get_input_details():
            shape = shapes.get(detail["index"])
            if shape is not None and tuple(detail["shape"]) != shape:
                self._interpreter.resize_tensor_input(detail["index"], list(shape), strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def profile(self, cases: List[Arrays], calls: int) -> List[Dict[str, Any]]:
        """From LiteRT's profiler, in the order in which the operations ran in each call. The kernels are
        those that are measured; the interpreter is not: see litert_profiler. Raises bad-input where this
        version has none."""
        try:
            library = litert_profiler.library(self._package, self.version.rpartition(" ")[2])
        except LookupError as error:
            raise DeviceError("bad-input", str(error)) from None
        profiler = litert_profiler.Profiler(library, self._path, self._threads)
        tensors = dict(self._names)
        spent: Dict[Tuple[str, str], int] = {}
        for number in range(calls):
            case = cases[number % len(cases)]
            arrays = {tensors[name]: quantised(case[name], scale) for name, _, scale in self._inputs}
            for place, (kind, microseconds) in enumerate(profiler.run(arrays)):
                key = ("%d" % place, kind)
                spent[key] = spent.get(key, 0) + 1000 * microseconds
        return mean_operations(spent, calls)

    def close(self) -> None:
        """Let the interpreter go."""
        self._interpreter = None


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


Scale = Tuple[float, int, Any]
"""Scale, zero point and dtype of a tensor of integers that stand for floats; scale 0 where they do not."""


def _details(details: List[Dict[str, Any]], tensors: List[Dict[str, Any]]) -> List[Tuple[str, int, Scale]]:
    """(name, index, scale) of the tensors that the artifact names. LookupError where there are none."""
    known = {detail["name"]: detail for detail in details}
    found = []
    for tensor in tensors:
        detail = known.get(tensor["tensor"])
        if detail is None:
            raise LookupError("the file has no tensor %r; it has %s" % (tensor["tensor"], sorted(known)))
        scale, zero = detail["quantization"]
        if not tensor["dtype"].startswith("float"):
            scale = 0.0
        found.append((tensor["name"], detail["index"], (float(scale), int(zero), detail["dtype"])))
    return found


def quantised(array: Any, scale: Scale) -> Any:
    """Floats as integers of a scale: rounded to the nearest, halves away from zero, cut off at the range."""
    size, zero, dtype = scale
    if not size or array.dtype == dtype:
        return array
    import numpy as np

    steps = array.astype(np.float64) / size
    whole = np.copysign(np.floor(np.abs(steps) + 0.5), steps) + zero
    limits = np.iinfo(dtype)
    return np.clip(whole, limits.min, limits.max).astype(dtype)


def dequantised(array: Any, scale: Scale) -> Any:
    """Integers of a scale as float32."""
    size, zero, _ = scale
    if not size or array.dtype.kind == "f":
        return array
    import numpy as np

    return (array.astype(np.float32) - np.float32(zero)) * np.float32(size)


load = Model

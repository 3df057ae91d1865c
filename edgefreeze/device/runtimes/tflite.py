"""A .tflite file in LiteRT (ai-edge-litert), or in its predecessor tflite-runtime."""

from typing import Any, Dict, List, Tuple

from edgefreeze.device.runtimes import Arrays, Call, require_inputs, tensor_names

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

    def __init__(self, path: str, artifact: Dict[str, Any], threads: int) -> None:
        module = require()
        package = module.__name__.split(".")[0]
        self.version = "%s %s" % (package.replace("_", "-"), _version(package))
        self._interpreter = module.Interpreter(model_path=path, num_threads=threads)
        self._names = tensor_names(artifact, "inputs")
        self._inputs = _indices(self._interpreter.get_input_details(), self._names)
        outputs = tensor_names(artifact, "outputs")
        self._outputs = _indices(self._interpreter.get_output_details(), outputs)
        self._shapes: Dict[int, Tuple[int, ...]] = {}

    def run(self, inputs: Arrays) -> Arrays:
        """One inference."""
        return self.bind(inputs)()

    def bind(self, inputs: Arrays) -> Call:
        """A call on these inputs. A call bound earlier with other shapes resizes back when it is called."""
        require_inputs(self._names, inputs)
        feeds = [(index, inputs[name]) for name, index in self._inputs]
        shapes = {index: tuple(array.shape) for index, array in feeds}
        interpreter, outputs = self._interpreter, self._outputs

        def infer() -> Arrays:
            if self._shapes != shapes:
                self._resize(shapes)
            for index, array in feeds:
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in outputs}

        return infer

    def _resize(self, shapes: Dict[int, Tuple[int, ...]]) -> None:
        for detail in self._interpreter.get_input_details():
            shape = shapes.get(detail["index"])
            if shape is not None and tuple(detail["shape"]) != shape:
                self._interpreter.resize_tensor_input(detail["index"], list(shape), strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def close(self) -> None:
        """Let the interpreter go."""
        self._interpreter = None


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _indices(details: List[Dict[str, Any]], names: List[Tuple[str, str]]) -> List[Tuple[str, int]]:
    """(name, index) of the tensors that the artifact names. LookupError where there are none."""
    known = {detail["name"]: detail["index"] for detail in details}
    for _, tensor in names:
        if tensor not in known:
            raise LookupError("the file has no tensor %r; it has %s" % (tensor, sorted(known)))
    return [(name, known[tensor]) for name, tensor in names]


load = Model

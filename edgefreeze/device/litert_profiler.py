"""LiteRT's own profiler, which its Python package does not offer, through LiteRT's C interface by ctypes.

The interpreter that is measured cannot be asked: `ai_edge_litert.interpreter` has no profiler. The same
package's libLiteRt.so has one for its CompiledModel, with the same kernels of TFLite and XNNPACK: see
litert/c/litert_compiled_model.h, litert_profiler.h and litert_profiler_event.h of LiteRT, whose interface is
this one since 2.2. It tells whole microseconds, cut off.
"""

import ctypes
import os
from typing import Any, Dict, List, Tuple

SINCE = (2, 2)
_LIBRARY = "libLiteRt.so"
_CPU, _WRITE = 1, 1
_DEFAULT, _TELEMETRY = 1, 32
_OPERATIONS = (2, 4, 8)
"""Kinds of events: an operator; one within a delegate, listed apart or among the others."""
_SUBGRAPH = b"Invoke"
"""Tag of the event with which a subgraph begins (kind _DEFAULT), and of the one at its end (_TELEMETRY)."""
_RANK = 8

_Handle = ctypes.c_void_p
_Size = ctypes.c_size_t


class _Layout(ctypes.Structure):
    _fields_ = [
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * _RANK),
        ("strides", ctypes.c_uint32 * _RANK),
    ]


class _TensorType(ctypes.Structure):
    _fields_ = [("element", ctypes.c_int), ("layout", _Layout)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", _Size * 6),  # in use before and after
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    ]


_keep = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda payload: None)
"""Frees nothing: what is handed over is Python's."""


def library(package: str, version: str) -> str:
    """Path of the library of the package in this folder.

    Raises LookupError where this version has none with a profiler.
    """
    path = os.path.join(package, _LIBRARY)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < SINCE or not os.path.exists(path):
        raise LookupError(
            "no profile by operation in LiteRT %s: its profiler can be reached since %d.%d"
            % (version, *SINCE)
        )
    return path


class Profiler:
    """A model on the CPU, compiled to be profiled."""

    def __init__(self, library_path: str, model: str, threads: int) -> None:
        """Raises OSError where the library cannot be loaded, RuntimeError where LiteRT refuses something."""
        self._library = ctypes.CDLL(library_path)
        self._shapes: List[Tuple[int, ...]] = []
        self._inputs: Any = None
        self._outputs: Any = None
        self._environment, options = _Handle(), _Handle()
        self._do("LiteRtCreateEnvironment", 0, None, ctypes.byref(self._environment))
        self._model, self._compiled, self._profiler, self._signature = (_Handle() for _ in range(4))
        path = os.fsencode(model)
        self._do("LiteRtCreateModelFromFile", self._environment, path, ctypes.byref(self._model))
        self._do("LiteRtCreateOptions", ctypes.byref(options))
        self._do("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._payloads = [ctypes.create_string_buffer(text) for text in (
            b"enable_profiling = true\n", b"num_threads = %d\n" % threads
        )]  # fmt: skip
        for name, payload in zip((b"runtime_options_string", b"xnnpack"), self._payloads):  # noqa: B905
            opaque = _Handle()
            address = ctypes.cast(payload, ctypes.c_void_p)
            self._do("LiteRtCreateOpaqueOptions", name, address, _keep, ctypes.byref(opaque))
            self._do("LiteRtAddOpaqueOptions", options, opaque)
        self._do(
            "LiteRtCreateCompiledModel", self._environment, self._model, options, ctypes.byref(self._compiled)
        )
        self._do("LiteRtCompiledModelGetProfiler", self._compiled, ctypes.byref(self._profiler))
        self._do("LiteRtGetModelSignature", self._model, _Size(0), ctypes.byref(self._signature))
        self._names = [self._name(index) for index in range(self._count("Input"))]

    def _do(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError("%s of LiteRT says %d" % (name, status))

    def _count(self, role: str) -> int:
        count = _Size()
        self._do("LiteRtGetNumSignature%ss" % role, self._signature, ctypes.byref(count))
        return count.value

    def _tensor(self, role: str, index: int) -> _Handle:
        tensor = _Handle()
        ask = "LiteRtGetSignature%sTensorByIndex" % role
        self._do(ask, self._signature, _Size(index), ctypes.byref(tensor))
        return tensor

    def _name(self, index: int) -> str:
        name = ctypes.c_char_p()
        self._do("LiteRtGetTensorName", self._tensor("Input", index), ctypes.byref(name))
        return (name.value or b"").decode("utf-8", "replace")

    def run(self, arrays: Dict[str, Any]) -> List[Tuple[str, int]]:
        """One call on inputs by the names of their tensors: (operation, microseconds) in the order in which
        they ran. Raises RuntimeError, and LookupError for an input that is not given."""
        given = [arrays[name] for name in self._names]
        shapes = [tuple(array.shape) for array in given]
        if shapes != self._shapes:
            self._fit(shapes)
            self._invoke(given)  # kernels are prepared for the shapes in the first call
        self._do("LiteRtResetProfiler", self._profiler)
        self._do("LiteRtStartProfiler", self._profiler)
        self._invoke(given)
        self._do("LiteRtStopProfiler", self._profiler)
        return self._operations()

    def _invoke(self, given: List[Any]) -> None:
        for buffer, array in zip(self._inputs, given):  # noqa: B905 - Python 3.8
            data = array.tobytes()
            place = ctypes.c_void_p()
            self._do("LiteRtLockTensorBuffer", _Handle(buffer), ctypes.byref(place), _WRITE)
            ctypes.memmove(place, data, len(data))
            self._do("LiteRtUnlockTensorBuffer", _Handle(buffer))
        ends = (_Size(len(self._inputs)), self._inputs, _Size(len(self._outputs)), self._outputs)
        self._do("LiteRtRunCompiledModel", self._compiled, _Size(0), *ends)

    def _fit(self, shapes: List[Tuple[int, ...]]) -> None:
        """Buffers for inputs of these shapes."""
        layouts = []
        for index, shape in enumerate(shapes):
            kind = self._type("Input", index)
            if tuple(kind.layout.dimensions[: kind.layout.rank]) != shape or self._shapes:
                sizes = (ctypes.c_int * len(shape))(*shape)
                self._do(
                    "LiteRtCompiledModelResizeInputTensorNonStrict",
                    self._compiled, _Size(0), _Size(index), sizes, _Size(len(shape)),
                )  # fmt: skip
            kind.layout.rank = len(shape)
            kind.layout.dimensions[: len(shape)] = shape
            layouts.append(kind.layout)
        outputs = (_Layout * self._count("Output"))()
        self._do(
            "LiteRtGetCompiledModelOutputTensorLayouts",
            self._compiled, _Size(0), _Size(len(outputs)), outputs, ctypes.c_bool(True),
        )  # fmt: skip
        self._release()
        self._inputs = self._buffers("Input", layouts)
        self._outputs = self._buffers("Output", list(outputs))
        self._shapes = shapes

    def _type(self, role: str, index: int) -> _TensorType:
        found = _TensorType()
        self._do("LiteRtGetRankedTensorType", self._tensor(role, index), ctypes.byref(found))
        return found

    def _buffers(self, role: str, layouts: List[_Layout]) -> Any:
        found = (_Handle * len(layouts))()
        for index, layout in enumerate(layouts):
            needs, buffer = _Handle(), _Handle()
            self._do(
                "LiteRtGetCompiledModel%sBufferRequirements" % role,
                self._compiled, _Size(0), _Size(index), ctypes.byref(needs),
            )  # fmt: skip
            kind = _TensorType(self._type(role, index).element, layout)
            self._do(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                self._environment, ctypes.byref(kind), needs, ctypes.byref(buffer),
            )  # fmt: skip
            found[index] = buffer.value
        return found

    def _release(self) -> None:
        for buffer in [*(self._inputs or ()), *(self._outputs or ())]:
            self._library.LiteRtDestroyTensorBuffer(_Handle(buffer))

    def _operations(self) -> List[Tuple[str, int]]:
        count = ctypes.c_int()
        self._do("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        self._do("LiteRtGetProfilerEvents", self._profiler, count, events)
        return operations([(e.tag, e.kind, e.elapsed_us) for e in events])


def operations(events: List[Tuple[bytes, int, int]]) -> List[Tuple[str, int]]:
    """(operation, microseconds) of a call, from its events (tag, kind, microseconds) in their order.

    What runs in a further subgraph (the body of a loop) is part of the operator that runs it, and not told
    again.
    """
    found = []
    depth = 0
    for tag, kind, elapsed in events:
        if tag == _SUBGRAPH and kind in (_DEFAULT, _TELEMETRY):
            depth += 1 if kind == _DEFAULT else -1
        elif kind in _OPERATIONS and depth == 1:
            found.append((tag.decode("utf-8", "replace"), elapsed))
    return found

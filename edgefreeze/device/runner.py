"""The process that runs one artifact: requests on stdin, answers on stdout, as frames (protocol.py).

    hello  {}                 -> {}                  it has started
    load   {artifact, path, threads, sys_paths, golden, pycache}
                              -> {version, import_ns, load_ns, rss_bytes, peak_bytes}
    first  {}                 -> {first_ns}          the first inference of this process
    check  {}                 -> parity.compare of all golden cases
    infer  {} + npz           -> {seconds} + npz
    block  {samples, min_s, max_s}
                              -> {samples_ns, rss_bytes, peak_bytes}

A failure is {"ok": false, "error": {"code", "message", "trace"}}. The process ends when stdin does.
"""

import importlib
import os
import sys
import time
import traceback
from typing import Any, BinaryIO, Callable, Dict, List, Tuple

from edgefreeze.device import parity, protocol, runtimes, tensors
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.frames import FrameReader
from edgefreeze.device.readings import parse_status_sizes

MAX_BLOB = 256 << 20
Answer = Tuple[Dict[str, Any], bytes]


LIBRARIES = "_libraries"
"""Folder of a runtime's tree with shared libraries that its modules ask for and the device may lack."""


def preload(paths: List[str]) -> None:
    """Load the shared libraries that trees bring along, so that modules find them by name: nothing can be
    installed where the system's loader looks. In whichever order works, since they need each other."""
    waiting = [os.path.join(path, LIBRARIES, name) for path in paths for name in _listed(path)]
    while waiting:
        left = [library for library in waiting if not _loads(library)]
        if len(left) == len(waiting):
            return  # the module that needs it says what is missing
        waiting = left


def _listed(path: str) -> List[str]:
    try:
        return sorted(os.listdir(os.path.join(path, LIBRARIES)))
    except OSError:
        return []


def _loads(library: str) -> bool:
    import ctypes

    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


class Runner:
    """One loaded model and its golden cases."""

    def __init__(self) -> None:
        self._model: Any = None
        self._artifact: Dict[str, Any] = {}
        self._cases: List[tensors.Case] = []
        self._calls: List[runtimes.Call] = []
        self._turn = 0

    def hello(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Nothing but an answer."""
        return {}, b""

    def load(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Import the runtime, load the artifact, read the golden data (untimed)."""
        sys.pycache_prefix = args["pycache"]
        sys.path[:0] = args["sys_paths"]
        importlib.invalidate_caches()
        preload(args["sys_paths"])
        self._artifact = args["artifact"]
        module = runtimes.find(self._artifact["runtime"])
        start = time.perf_counter_ns()
        module.require()
        imported = time.perf_counter_ns()
        self._model = module.load(args["path"], self._artifact, args["threads"])
        loaded = time.perf_counter_ns()
        if args.get("golden"):
            with open(args["golden"], "rb") as stream:
                self._cases = tensors.decode_golden(stream.read())
        result = {
            "version": self._model.version,
            "import_ns": imported - start,
            "load_ns": loaded - imported,
        }
        result.update(memory())
        return result, b""

    def first(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Time the first inference."""
        call = self._bound()[0]
        start = time.perf_counter_ns()
        call()
        return {"first_ns": time.perf_counter_ns() - start}, b""

    def check(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Run all golden cases and compare."""
        found = [self._model.run(inputs) for inputs, _ in self._cases]
        expected = [outputs for _, outputs in self._cases]
        allowed = dict(self._artifact.get("tolerances") or {}, **{"": self._artifact.get("tolerance", 0.0)})
        return parity.compare(expected, found, allowed), b""

    def infer(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """One inference on the tensors that came along."""
        try:
            inputs = tensors.decode(blob, MAX_BLOB)
        except tensors.TensorError as error:
            raise DeviceError("bad-input", str(error)) from None
        self._require_inputs(inputs)
        start = time.perf_counter()
        outputs = self._model.run(inputs)
        return {"seconds": time.perf_counter() - start}, tensors.encode(outputs)

    def _require_inputs(self, inputs: tensors.Tensors) -> None:
        expected = {tensor["name"]: tensor["dtype"] for tensor in self._artifact["inputs"]}
        found = {name: "string" if tensors.is_text(a) else str(a.dtype) for name, a in inputs.items()}
        if expected != found:
            raise DeviceError("bad-input", "these are not the model's inputs", expected, found)

    def block(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Time inferences on the golden inputs in turn: at least `samples` and `min_s`, at most `max_s`."""
        calls = self._bound()
        samples: List[int] = []
        start = now = time.perf_counter_ns()
        least, most = int(args["min_s"] * 1e9), int(args["max_s"] * 1e9)
        while not samples or ((len(samples) < args["samples"] or now - start < least) and now - start < most):
            call = calls[self._turn % len(calls)]
            self._turn += 1
            before = time.perf_counter_ns()
            call()
            now = time.perf_counter_ns()
            samples.append(now - before)
        return dict(memory(), samples_ns=samples), b""

    def _bound(self) -> List[runtimes.Call]:
        if not self._calls:
            self._calls = [self._model.bind(inputs) for inputs, _ in self._cases]
        if not self._calls:
            raise DeviceError("runtime-failed", "there are no golden inputs to run")
        return self._calls


def memory() -> Dict[str, int]:
    """{"rss_bytes", "peak_bytes"} of this process."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        return parse_status_sizes(stream.read())


_OPERATIONS: Dict[str, Callable[[Runner, Dict[str, Any], bytes], Answer]] = {
    "hello": Runner.hello,
    "load": Runner.load,
    "first": Runner.first,
    "check": Runner.check,
    "infer": Runner.infer,
    "block": Runner.block,
}


def _answer(runner: Runner, op: str, args: Dict[str, Any], blob: bytes) -> Tuple[Dict[str, Any], bytes]:
    try:
        result, data = _OPERATIONS[op](runner, args, blob)
        return {"ok": True, "result": result}, data
    except DeviceError as error:
        return {"ok": False, "error": error.as_dict()}, b""
    except (Exception, SystemExit) as error:
        failure = DeviceError(
            "runtime-failed",
            "%s: %s" % (type(error).__name__, str(error)[:2000]),
            trace=traceback.format_exc()[-8000:],
        )
        return {"ok": False, "error": failure.as_dict()}, b""


def _prefer_to_die() -> None:
    """Where memory runs out, this process goes, not the board's own services."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
            stream.write("1000")
    except OSError:
        pass


def main(stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Serve until stdin ends."""
    _prefer_to_die()
    reader = FrameReader(stdin, on_end=lambda: os._exit(0))
    stdout.write(protocol.MAGIC)
    stdout.flush()
    runner = Runner()
    while True:
        try:
            kind, payload = reader.get()
            if kind != b"J":
                raise protocol.ProtocolError("a data frame where a message was due")
            request = protocol.parse_message(payload)
            blob = b"".join(protocol.read_blob(reader.get, protocol.blob_size(request)))
        except protocol.ProtocolError:
            return 1
        message, data = _answer(runner, request["op"], request.get("args", {}), blob)
        message["id"] = request["id"]
        if data:
            message["blob"] = len(data)
        protocol.write_message(stdout, message)
        protocol.write_blob(stdout, data)

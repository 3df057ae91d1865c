"""The process that runs one artifact: requests on stdin, answers on stdout, as frames (protocol.py).

    hello  {}                 -> {}                  it has started
    load   {artifact, path, threads, sys_paths, golden, pycache, batch, engines, timings, checks}
                              -> {version, device, import_ns, load_ns, rss_bytes, peak_bytes, pss_bytes}
    first  {}                 -> {first_ns, cpus, disk_bytes}    the first inference of this process; where it
                              may run; what it has read from the disk so far
    check  {}                 -> parity.compare of all golden cases
    infer  {} + npz           -> {seconds} + npz
    block  {samples, min_s, max_s, rate_hz, spool}
                              -> what timing.timed() gives, lead_ns: of calls before it, rss_bytes,
                                 peak_bytes, pss_bytes, wrong: why outputs are not the golden ones, or null
    profile {calls}           -> {operations: see runtimes}

engines, timings: folders for what is built here. checks: the caller is going to ask for check, so that what
was built just now is not compared before.

A failure is {"ok": false, "error": {"code", "message", "trace"}}. The process ends when stdin does, and
with it what it has started.
"""

import importlib
import os
import re
import sys
import time
import traceback
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Set, Tuple

from edgefreeze.device import engines, parity, protocol, runtimes, tensors, timing
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.frames import FrameReader
from edgefreeze.device.probe import read_text
from edgefreeze.device.readings import parse_sizes, parse_status_sizes

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
        self._usual_ns = 0

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
        prepare = getattr(module, "prepare", None)
        if prepare is not None:  # once on a device, and not what a start of the model costs
            made = prepare(args["path"], self._artifact, args.get("engines"), args.get("timings"))
            self._artifact = dict(self._artifact, prepared=made)
        start = time.perf_counter_ns()
        module.require()
        imported = time.perf_counter_ns()
        self._model = module.load(args["path"], self._artifact, args["threads"])
        loaded = time.perf_counter_ns()
        if args.get("golden"):
            with open(args["golden"], "rb") as stream:
                self._cases = tensors.decode_golden(stream.read())
            if args.get("batch"):
                self._cases = [batched(case, args["batch"], self._artifact) for case in self._cases]
        result = {
            "version": self._model.version,
            "device": self._model.device,
            "import_ns": imported - start,
            "load_ns": loaded - imported,
        }
        if getattr(self._model, "fresh", False) and self._cases and not args.get("checks"):
            self._require_right()
        result.update(memory())
        return result, b""

    def first(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Time the first inference."""
        call = self._bound()[0]
        start = time.perf_counter_ns()
        call()
        first = time.perf_counter_ns() - start
        return {"first_ns": first, "cpus": affinity(), "disk_bytes": fetched()}, b""

    def check(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """Run all golden cases and compare."""
        return self._checked(), b""

    def _checked(self) -> Dict[str, Any]:
        found = [self._model.run(inputs) for inputs, _ in self._cases]
        expected = [outputs for _, outputs in self._cases]
        result = parity.compare(expected, found, self._allowed())
        if not result["ok"] and hasattr(self._model, "discard"):
            self._model.discard()  # or the next one would run on it unasked
        return result

    def _require_right(self) -> None:
        """What was built just now may differ from what an earlier self-test has proved."""
        result = self._checked()
        if not result["ok"]:
            reasons = ["%s: %s" % (o["name"], o["reason"]) for o in result["outputs"] if o["reason"]]
            raise DeviceError("selftest-failed", "what was built anew is wrong: " + "; ".join(reasons))

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
        """Time inferences on the golden inputs in turn, and compare what they gave, which is not timed."""
        calls = self._bound()
        stretch = timing.Stretch(args["samples"], args["min_s"], args["max_s"], args.get("rate_hz"))
        spool = timing.Spool(args["spool"], timing.MOST_SAMPLES) if args.get("spool") else None
        try:
            found = self._timed(calls, stretch, spool)
        finally:
            if spool is not None:
                spool.close()
        self._turn = found.pop("turn")
        self._usual_ns = min(found["samples_ns"])
        wrong = self._wrong(found.pop("outputs"))
        return dict(dict(memory(), wrong=wrong), **found), b""

    def _timed(
        self, calls: List[runtimes.Call], stretch: timing.Stretch, spool: Optional[timing.Spool]
    ) -> Dict[str, Any]:
        own = getattr(self._model, "timed", None)
        if own is not None:
            found: Dict[str, Any] = own(
                [inputs for inputs, _ in self._cases], self._turn, self._usual_ns, stretch, spool
            )
            return found
        led = timing.lead(calls, self._turn, self._usual_ns)
        return dict(timing.timed(calls, (self._turn + len(led)) % len(calls), stretch, spool), lead_ns=led)

    def _wrong(self, outputs: List[Any]) -> Optional[str]:
        """Why outputs (None: that case was not run) are not the golden ones; None where they are."""
        expected = [case for _, case in self._cases]
        # Cases that were not run stand as expected: the range of an output is that over all cases.
        found = [e if o is None else o for e, o in zip(expected, outputs)]  # noqa: B905 - Python 3.8
        result = parity.compare(expected, found, self._allowed())
        if result["ok"]:
            return None
        if len(expected) > 1 and self._stale(expected, outputs):
            return "its outputs are stale: they are those of the input before"
        reasons = ["%s: %s" % (o["name"], o["reason"]) for o in result["outputs"] if o["reason"]]
        return "its outputs are wrong: " + "; ".join(reasons)

    def _stale(self, expected: List[Any], outputs: List[Any]) -> bool:
        """Whether all outputs are those of the case before, or of one and the same case."""
        run = [i for i, o in enumerate(outputs) if o is not None]
        shifts = [[expected[i - 1] for i in run]] + [[case] * len(run) for case in expected]
        found = [outputs[i] for i in run]
        return any(parity.compare(other, found, self._allowed())["ok"] for other in shifts)

    def _allowed(self) -> Dict[str, float]:
        given = self._artifact.get("tolerances") or {}
        return dict(given, **{"": self._artifact.get("tolerance", 0.0)})

    def profile(self, args: Dict[str, Any], blob: bytes) -> Answer:
        """How long each operation takes, by the runtime's own word. Raises bad-input where it has none."""
        run = getattr(self._model, "profile", None)
        if run is None:
            raise DeviceError("bad-input", "%s has no profile by operation" % self._artifact["runtime"])
        return {"operations": run([inputs for inputs, _ in self._cases], args["calls"])}, b""

    def _bound(self) -> List[runtimes.Call]:
        if not self._calls:
            self._calls = [self._model.bind(inputs) for inputs, _ in self._cases]
        if not self._calls:
            raise DeviceError("runtime-failed", "there are no golden inputs to run")
        return self._calls


def batched(case: tensors.Case, rows: int, artifact: Dict[str, Any]) -> tensors.Case:
    """A golden case whose first axis has so many rows: its own, over and over.

    Raises bad-input where the artifact's batch is another, fixed one.
    """
    inputs, outputs = case
    sizes = {len(array) for array in inputs.values() if array.ndim}
    for tensor in artifact["inputs"]:
        first = tensor["shape"][0] if tensor.get("shape") else None
        if first is not None and first != rows:
            raise DeviceError("bad-input", "its batch is fixed", first, rows)
    if len(sizes) != 1:
        raise DeviceError("bad-input", "its inputs have no batch in common", "one", sorted(sizes))
    (own,) = sizes

    def repeated(array: Any) -> Any:
        if not array.ndim or len(array) != own:
            return array
        return array.take([i % own for i in range(rows)], axis=0)

    return (
        {name: repeated(array) for name, array in inputs.items()},
        {name: repeated(array) for name, array in outputs.items()},
    )


def memory() -> Dict[str, Any]:
    """{"rss_bytes", "peak_bytes", "pss_bytes" (shared pages in parts; None before Linux 4.14)}."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        found: Dict[str, Any] = dict(parse_status_sizes(stream.read()))
    found["pss_bytes"] = parse_sizes(read_text("/proc/self/smaps_rollup") or "").get("Pss")
    return found


def fetched() -> Optional[int]:
    """Bytes that this process had read from the disk, for they were not in the system's file cache (proc(5),
    io, read_bytes); None where the kernel does not count them."""
    found = re.search(r"^read_bytes: (\d+)$", read_text("/proc/self/io") or "", re.MULTILINE)
    return int(found.group(1)) if found else None


def affinity() -> List[int]:
    """Processors that the threads of this process may run on, taken together: a runtime may set its own."""
    found: Set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            found |= os.sched_getaffinity(int(thread))
        except ProcessLookupError:
            continue  # it has ended
    return sorted(found)


_OPERATIONS: Dict[str, Callable[[Runner, Dict[str, Any], bytes], Answer]] = {
    "hello": Runner.hello,
    "load": Runner.load,
    "first": Runner.first,
    "check": Runner.check,
    "infer": Runner.infer,
    "block": Runner.block,
    "profile": Runner.profile,
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


def _end() -> None:
    """Nobody asks any more: end, and with it the program that a runtime has started."""
    engines.kill_all()
    os._exit(0)


def main(stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Serve until stdin ends."""
    _prefer_to_die()
    reader = FrameReader(stdin, on_end=_end)
    stdout.write(protocol.MAGIC)
    stdout.flush()
    runner = Runner()
    while True:
        try:
            kind, payload = reader.get()
            if kind != b"J":
                raise protocol.ProtocolError("a data frame where a message was due")
            request = protocol.parse_message(payload)
            blob = protocol.take_blob(reader.get, request)
        except protocol.ProtocolError:
            return 1
        message, data = _answer(runner, request["op"], request.get("args", {}), blob)
        message["id"] = request["id"]
        if data:
            message["blob"] = len(data)
        protocol.write_message(stdout, message)
        protocol.write_blob(stdout, data)

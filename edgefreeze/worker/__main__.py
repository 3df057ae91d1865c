"""The worker: the process that owns TensorFlow. Started by edgefreeze.worker.client.

in:     stdin, one line: a JSON request {"op": "convert" | "evaluate" | ..., ...}. Then stdin stays open; its
        end means that nobody waits any more, and the worker leaves.
out:    stdout, one JSON object per line: any number of events, then one reply, then exit status 0.
          {"event": "sandbox", "holds": [..]}    {"event": "stage", "name": "load"}
          {"event": "progress", "done": n, "total": n}
          {"result": {...}}   or   {"error": {"code", "message", "expected", "found", "next", ...}}
log:    stderr, and whatever TensorFlow or a model prints: stdout is moved aside before anything is
        imported, so that a stray print cannot break the protocol.

Every request may have "sandbox": folders outside of which nothing may be written (see sandbox.py).

convert   {"model": path, "out": folder,
           "formats": [{"format", "precision", "tolerance": float, "options": {"opset", "select_ops"}}],
           "signature": key | null, "tags": [..] | null, "inputs": [..] | null, "outputs": [..] | null,
           "custom_objects": ["module:name"], "trust": bool,
           "samples": path | null, "calibration": path | null, "verify": bool, "allow_unverified": bool,
           "freeze": {"optimize": "none" | "safe" | "max", "lower_control_flow": bool,
                      "aggressive_inlining": bool, "batch": int | null, "hoist_state": bool},
           "labels": [..] | null, "normalise": text | null}
          → types.Conversion; writes the artifacts and golden.npz into `out`
evaluate  {"model", "signature", "tags", "data": samples, "out": npz to write}
          → {"calls": n, "outputs": [names], "seconds": s}
answer    {"model", "signature", "tags", …, "samples": path | null, "given": cases of another | null, "out"}
          → {"inputs", "outputs", "golden", "warnings"}; writes golden data (see answer.py)
trace     {"runtime", "model", "artifact", "tensors": [names], "cases": path, "out": folder}
          → {"there": [names]}; writes the values of the tensors, intermediate ones too (see trace.py)
attempts  {"graphs": folder, "count", "inputs": path, "output": tensor, "out"}
          → {"ran": [numbers]}; writes what each of many small graphs gives (see attempts.py)

Expected failures are error replies with a code of edgefreeze.errors; anything else is "internal", its
traceback in the log.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.worker import sandbox

_ABANDONED = 75


def main() -> int:
    """Answer the one request on stdin."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    stdin = sys.stdin.buffer
    line = stdin.readline()
    if not line:
        return _ABANDONED
    request = json.loads(line)
    # While there is one thread: namespaces cannot be left by several.
    holds = sandbox.enter([Path(p) for p in request["sandbox"]]) if request.get("sandbox") else None
    threading.Thread(target=_leave_when_abandoned, args=(stdin,), daemon=True).start()

    def emit(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    if holds is not None:
        emit({"event": "sandbox", "holds": list(holds)})
    try:
        reply = {"result": _answer(request, emit)}
    except Failure as failure:
        traceback.print_exc()
        reply = {"error": failure.as_json()}
    except Exception as error:
        traceback.print_exc()
        reply = {
            "error": Failure(
                "internal",
                f"The worker met an error of its own: {type(error).__name__}: {clean(str(error), 300)}",
            ).as_json()
        }
    emit(reply)
    return 0


def _answer(request: dict[str, Any], emit: Any) -> Any:
    if request["op"] == "trace":  # which imports what its runtime is, and no more
        from edgefreeze.worker.trace import trace

        return trace(request)
    if request["op"] == "expose":
        from edgefreeze.worker.exposing import expose

        return expose(request)
    emit({"event": "stage", "name": "start"})
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise Failure(
            "worker-no-tensorflow",
            "Freezing and converting need TensorFlow, which is not installed beside edgefreeze.",
            expected="the packages of the extra 'convert' in " + sys.prefix,
            found=clean(str(error), 300),
            next="pip install 'edgefreeze[convert]'",
        ) from error
    import msgspec

    if request["op"] == "convert":
        from edgefreeze.worker.convert import convert

        return msgspec.to_builtins(convert(request, emit))
    if request["op"] == "evaluate":
        from edgefreeze.worker.evaluate import evaluate

        return evaluate(request, emit)
    if request["op"] == "answer":
        from edgefreeze.worker.answer import answer

        return answer(request, emit)
    if request["op"] == "attempts":
        from edgefreeze.worker.attempts import attempts

        return attempts(request)
    raise Failure("internal", f"The worker knows no operation {request['op']!r}.")


def _leave_when_abandoned(stdin: BinaryIO) -> None:
    while stdin.read(4096):
        pass
    os._exit(_ABANDONED)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads and the one that waits on stdin need no farewell, and can spoil one.
    os._exit(status)

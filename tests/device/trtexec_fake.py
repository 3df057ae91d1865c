"""A stand-in for NVIDIA's trtexec: a program of its name that takes its options, prints what it prints (the
forms of tests/captured/trtexec) and writes its files. It computes the model with ONNX Runtime.

How it behaves stands in trtexec.json beside it: {"banner": "[TensorRT v8502]", "help": bool, and of the faults
those that are wanted: "fail_build": lines, "fail_run": lines, "hang": seconds, "factor": of the outputs}. Every
call of it, without --help, is a line of trtexec.calls beside it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

SCRIPT = r"""
import json, os, sys, time

here = os.path.dirname(os.path.abspath(__file__))
how = json.load(open(os.path.join(here, "trtexec.json")))
banner = how["banner"] + " " if how["banner"] else ""
line = banner + "# trtexec " + " ".join(sys.argv[1:])
given = dict((a.split("=", 1) + [""])[:2] for a in sys.argv[1:])


def say(text, level="I"):
    print("[11/21/2026-12:00:00] [%s] %s" % (level, text), flush=True)


def end(verdict):
    print("&&&& %s TensorRT.trtexec %s" % (verdict, line), flush=True)
    sys.exit(0 if verdict == "PASSED" else 1)


def fail(lines):
    for text in lines:
        say(text, "E")
    end("FAILED")


print("&&&& RUNNING TensorRT.trtexec " + line, flush=True)
if "--help" in given:
    if how.get("mute"):
        sys.exit(1)
    print("=== Build Options ===")
    for option in how["options"]:
        print("  %-33s something" % option)
    sys.exit(0)
with open(os.path.join(here, "trtexec.calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\n")
unknown = [a for a in given if a not in how["options"]]
if unknown:
    fail(["Unknown option: " + " ".join(unknown)])
say("=== Device Information ===")
say("Selected Device: Orin")
time.sleep(how.get("hang", 0))
if "--onnx" in given:
    if "fail_build" in how:
        fail(how["fail_build"])
    with open(given["--onnx"], "rb") as source, open(given["--saveEngine"], "wb") as engine:
        engine.write(b"engine of " + how["banner"].encode() + b"\n" + source.read())
    if "--timingCacheFile" in given:
        with open(given["--timingCacheFile"], "ab") as timings:
            timings.write(b"timings\n")
    say("Engine built in 2.84511 sec.")
    end("PASSED")

with open(given["--loadEngine"], "rb") as engine:
    whose, _, model = engine.read().partition(b"\n")
if whose != b"engine of " + how["banner"].encode():
    fail(["Error[1]: [runtime.cpp::parsePlan::455] Error Code 1: Serialization (version mismatch)"])
if "fail_run" in how:
    fail(how["fail_run"])
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
files = dict(entry.rsplit(":", 1) for entry in given["--loadInputs"].split(","))
shapes = dict(entry.rsplit(":", 1) for entry in given.get("--shapes", "").split(",") if entry)
feeds = {}
for tensor in session.get_inputs():
    kinds = {"tensor(float)": "f4", "tensor(int64)": "i8" if how["wide"] else "i4", "tensor(int32)": "i4"}
    raw = np.fromfile(files[tensor.name], dtype=kinds[tensor.type])
    sizes = shapes[tensor.name].split("x") if tensor.name in shapes else tensor.shape
    wanted = [int(size) for size in sizes]
    if raw.size != int(np.prod(wanted)):
        fail(["Note: Expected: %d bytes but only read: %d bytes" % (np.prod(wanted), raw.size)])
    feeds[tensor.name] = raw.reshape(wanted).astype("i8" if tensor.type == "tensor(int64)" else raw.dtype)
times = []
until = time.perf_counter() + float(given["--duration"])
while len(times) < int(given["--iterations"]) or time.perf_counter() < until:
    before = time.perf_counter()
    found = session.run(None, feeds)
    times.append((time.perf_counter() - before) * 1000)
if "--exportOutput" in given:
    with open(given["--exportOutput"], "w") as out:
        out.write("[\n")
        for number, (tensor, array) in enumerate(zip(session.get_outputs(), found)):
            array = array * how["factor"] if how.get("factor") else array
            out.write('%s{ "name" : "%s"\n' % (", " if number else "  ", tensor.name))
            out.write('  , "dimensions" : "%s"\n' % "x".join(str(s) for s in array.shape))
            out.write('  , "values" : [ %s ]\n  }\n' % ", ".join("%g" % v for v in array.ravel().tolist()))
        out.write("]\n")
if "--exportTimes" in given:
    with open(given["--exportTimes"], "w") as out:
        out.write("[\n")
        for number, ms in enumerate(times):
            out.write('%s{ "startH2dMs" : 0, "endH2dMs" : 0, "h2dMs" : 0.01, "computeMs" : %g, "d2hMs" : 0.01, '
                      '"latencyMs" : %g }\n' % (", " if number else "  ", ms, ms + 0.02))
        out.write("]\n")
if "--exportProfile" in given:
    with open(given["--exportProfile"], "w") as out:
        out.write('[\n  { "count" : %d }\n, { "name" : "gemm + relu", "timeMs" : %g, "averageMs" : %g, '
                  '"percentage" : 100 }\n]\n' % (len(times), sum(times), sum(times) / len(times)))
say("=== Performance summary ===")
end("PASSED")
"""

OPTIONS = (
    "--onnx", "--saveEngine", "--loadEngine", "--loadInputs", "--shapes", "--fp16", "--int8", "--iterations",
    "--duration", "--warmUp", "--exportOutput", "--exportTimes", "--exportProfile", "--dumpProfile",
    "--timingCacheFile", "--skipInference", "--exposeDMA",
)  # fmt: skip
SOUND: dict[str, Any] = {"banner": "[TensorRT v100300]", "options": OPTIONS, "wide": True}
"""How a sound TensorRT 10.3 is."""


class Fake:
    """A folder for the PATH with such a program."""

    def __init__(self, folder: Path, **how: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.program = folder / "trtexec"
        self.program.write_text(f"#!{sys.executable}\n{SCRIPT}")
        self.program.chmod(0o755)
        self.behave(**how)

    def behave(self, **how: Any) -> None:
        """How it is from now on; what is not said is as of a sound TensorRT 10.3."""
        (self.folder / "trtexec.json").write_text(json.dumps({**SOUND, **how}))

    def calls(self) -> list[str]:
        """The arguments of each call so far."""
        kept = self.folder / "trtexec.calls"
        return kept.read_text().splitlines() if kept.exists() else []

    def builds(self) -> int:
        """How many engines were built so far."""
        return sum("--onnx=" in call for call in self.calls())

    @property
    def path(self) -> str:
        """A PATH that leads to it first."""
        return f"{self.folder}:{os.environ['PATH']}"

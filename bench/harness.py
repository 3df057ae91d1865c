"""What the harness itself costs, and whether its TFLite figures are those of LiteRT's own benchmark.

    python bench/harness.py [MODEL.tflite] [ROUNDS]        default: no model, 15 rounds

The harness: a one-op model (y = x + 1 for 8 floats) frozen for TensorFlow and for TFLite, each called
through device/timing.py and in a bare loop over the same callable; the difference of the wall times, by
call. The two take turns in stretches that are shorter than a scheduler's slice. With a model,
`litert-benchmark` (of ai-edge-litert) and the runner's loop take turns in ROUNDS rounds, each in a fresh
process, with one thread. A call of edgefreeze's copies inputs in and outputs out, as an application's
does; one of litert-benchmark's runs on buffers that were filled before. So the runner's loop times the
bare `invoke()` as well, in turns with the whole call, and that is what is held against
litert-benchmark's median. Exit status 1 where a limit is not kept. Raw figures go to bench/results/.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import in_words, keep, machine

LIMITS_US = {"tf_frozen": 5.0, "tflite": 1.3}
WITHIN = 0.03
CALLS, STRETCHES = 250, 1000
RUNS, TURN = 100, 10
"""Calls of the model by each of the two, in each round; calls at a time of ours, whole or bare."""

ONE_OP = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
from pathlib import Path
graph = tf.Graph()
with graph.as_default():
    x = tf.compat.v1.placeholder(tf.float32, [8], name="x")
    tf.add(x, 1.0, name="y")
Path(sys.argv[1], "one.pb").write_bytes(graph.as_graph_def().SerializeToString())
f = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec([8])]).get_concrete_function()
Path(sys.argv[1], "one.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([f]).convert())
"""

OVERHEAD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from bench.harness import overhead
print(json.dumps(overhead(sys.argv[2], sys.argv[3])))
"""


def overhead(runtime: str, path: str) -> dict[str, list[float]]:
    """Nanoseconds a call, by stretch: in a bare loop, and in the harness's; and the harness's own median."""
    import numpy as np

    from edgefreeze.device import runtimes, timing

    end = {"dtype": "float32", "shape": [8]}
    names = tensors_of(path) if runtime == "tflite" else ("x:0", "y:0")
    artifact = {
        "inputs": [{"name": "x", "tensor": names[0], **end}],
        "outputs": [{"name": "y", "tensor": names[1], **end}],
    }
    call = runtimes.find(runtime).load(path, artifact, 1).bind({"x": np.ones(8, "f4")})
    stretch = timing.Stretch(CALLS, 0.0, 1e9)
    found: dict[str, list[float]] = {"bare": [], "harness": [], "median": []}

    def bare() -> None:
        started = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        found["bare"].append((time.perf_counter_ns() - started) / CALLS)

    def harness() -> None:
        with tempfile.TemporaryDirectory() as folder:
            spool = timing.Spool(os.path.join(folder, "block"), CALLS)  # noqa: PTH118
            started = time.perf_counter_ns()
            told = timing.timed([call], 0, stretch, spool)
            found["harness"].append((time.perf_counter_ns() - started) / CALLS)
            found["median"].append(statistics.median(told["samples_ns"]))
            spool.close()

    ways: list[Callable[[], None]] = [bare, harness]
    for number in range(STRETCHES + 1):
        for way in ways if number % 2 else reversed(ways):
            way()
        if not number:  # warm-up
            found = {key: [] for key in found}
    return found


def tensors_of(path: str) -> tuple[str, str]:
    """Names of the input and the output of a TFLite file with one of each."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    return interpreter.get_input_details()[0]["name"], interpreter.get_output_details()[0]["name"]


OURS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bench.harness import ours
print(json.dumps(ours(sys.argv[2])))
"""


def ours(path: str) -> dict[str, list[int]]:
    """Nanoseconds of RUNS calls of a model through the device's runner loop, after 5 for warming up: "whole",
    as they are measured on a device, and "invoke", without inputs and outputs."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from edgefreeze.device import runtimes, timing

    interpreter = Interpreter(path)
    detail, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    x = np.random.default_rng(1).uniform(-1, 1, detail["shape"]).astype(detail["dtype"])
    artifact = {
        "inputs": [{"name": "x", "tensor": detail["name"], "dtype": "float32"}],
        "outputs": [{"name": "y", "tensor": out["name"], "dtype": "float32"}],
    }
    del interpreter
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    ways = {
        "whole": runtimes.find("tflite").load(path, artifact, 1).bind({"x": x}),
        "invoke": interpreter.invoke,
    }
    found: dict[str, list[int]] = {name: [] for name in ways}
    for call in ways.values():
        timing.timed([call], 0, timing.Stretch(5, 0.0, 1e9))
    for _ in range(RUNS // TURN):
        for name, call in ways.items():
            found[name] += timing.timed([call], 0, timing.Stretch(TURN, 0.0, 1e9))["samples_ns"]
    return found


def theirs(path: str, folder: str) -> dict[str, Any]:
    """What litert-benchmark says."""
    tool = Path(sys.executable).with_name("litert-benchmark")
    result = Path(folder) / "litert.json"
    subprocess.run(
        [tool, f"--model={path}", f"--num_runs={RUNS}", "--num_threads=1", f"--result_json={result}"],
        capture_output=True, check=True,
    )  # fmt: skip
    return numbers(json.loads(result.read_text()))


def numbers(told: dict[str, Any]) -> dict[str, Any]:
    """The figures alone: names of files stay out."""
    return {
        key: numbers(value) if isinstance(value, dict) else value
        for key, value in told.items()
        if isinstance(value, (int, float, dict))
    }


def child(program: str, *arguments: str) -> Any:
    root = str(Path(__file__).resolve().parents[1])
    words = [sys.executable, "-c", program, root, *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{Path(__file__).parent}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(words, capture_output=True, check=True, env=environment)
    return json.loads(done.stdout)


def median_of(told: dict[str, Any]) -> float:
    """litert-benchmark's median in milliseconds, wherever it stands in its JSON."""
    flat = {**told, **{k: v for inner in told.values() if isinstance(inner, dict) for k, v in inner.items()}}
    return float(next(v for k, v in flat.items() if "median" in k))


def main(model: str | None, rounds: int) -> int:
    facts = machine()
    print(in_words(facts))
    content: dict[str, Any] = {"calls": CALLS, "limits_us": LIMITS_US, "overhead_ns": {}}
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", ONE_OP, folder], check=True, capture_output=True)
        for runtime, file in (("tf_frozen", "one.pb"), ("tflite", "one.tflite")):
            found = child(OVERHEAD, runtime, str(Path(folder) / file))
            content["overhead_ns"][runtime] = found
            added = [(h - b) / 1e3 for h, b in zip(found["harness"], found["bare"], strict=True)]
            median, limit = statistics.median(added), LIMITS_US[runtime]
            bad |= median > limit
            bare = statistics.median(found["bare"]) / 1e3
            print(
                f"{runtime:<10} bare {bare:6.2f} µs a call, the harness adds"
                f" {median:5.2f} µs (limit {limit}); its samples say"
                f" {statistics.median(found['median']) / 1e3:.2f} µs"
            )
        if model is not None:
            content |= {"runs": RUNS, "ours_ns": [], "theirs": []}
            for number in range(rounds):
                for way in (0, 1) if number % 2 else (1, 0):
                    if way:
                        content["ours_ns"].append(child(OURS, model))
                    else:
                        content["theirs"].append(theirs(model, folder))
            other = [median_of(told) for told in content["theirs"]]
            print(f"litert-benchmark's median {statistics.median(other):.4f} ms, over {rounds} rounds")
            for name, what in (("invoke", "bare invoke"), ("whole", "the whole call, copies too")):
                mine = [statistics.median(told[name]) / 1e6 for told in content["ours_ns"]]
                ratio = statistics.median(m / o for m, o in zip(mine, other, strict=True))
                word = "within 3 %" if abs(ratio - 1) <= WITHIN else "NOT within 3 %"
                bad |= name == "invoke" and abs(ratio - 1) > WITHIN
                print(f"{what}: {statistics.median(mine):.4f} ms, ratio {ratio:.3f} ({word})")
    file = keep("harness", facts, content)
    print(f"raw: {file.relative_to(Path(__file__).resolve().parents[1])}")
    return int(bad)


if __name__ == "__main__":
    given = [a for a in sys.argv[1:] if not a.isdigit()]
    sys.exit(main(given[0] if given else None, next((int(a) for a in sys.argv[1:] if a.isdigit()), 15)))

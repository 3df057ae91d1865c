"""Freezing's time and peak memory beside the textbook recipe, in one run, the contestants taking turns.

    python bench/freeze.py [--sizes 10,100,700,1600] [--rounds 5]

Every single run is kept in results/freeze-<date>.json, size by size as they end; the table has medians, and
the median of the rounds' ratios to the recipe of the same round. A contestant that fails, for want of memory
say, is a result: the recipe needs some 26 times the weights.

The recipe is what tutorials do: load, take the signature, convert_variables_to_constants_v2, write, import
the file again, compare one inference. edgefreeze is the whole command: worker, gate, golden data, and the
proof in a fresh process; a second row leaves the proof out. Each run is a process of its own, TensorFlow's
import included; its peak is the largest resident size of any of its processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import in_words, keep, machine, today

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 4096

MAKE = f"""
import sys, tensorflow as tf
layers = max(1, round(float(sys.argv[2]) * 1e6 / (4 * {WIDTH} * {WIDTH})))
width = {WIDTH} if layers > 1 else int((float(sys.argv[2]) * 1e6 / 4) ** 0.5)
class Dense(tf.Module):
    def __init__(self):
        self.w = [tf.Variable(tf.random.stateless_normal([width, width], [i, 1]) / width**0.5)
                  for i in range(layers)]
    @tf.function(input_signature=[tf.TensorSpec([None, width], name="x")])
    def infer(self, x):
        for w in self.w:
            x = tf.tanh(x @ w)
        return {{"y": x}}
model = Dense()
tf.saved_model.save(model, sys.argv[1], signatures=model.infer)
"""

RECIPE = """
import sys, numpy as np, tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
loaded = tf.saved_model.load(sys.argv[1])
signature = loaded.signatures["serving_default"]
frozen = convert_variables_to_constants_v2(signature)
tf.io.write_graph(frozen.graph, ".", sys.argv[2], as_text=False)
graph_def = tf.compat.v1.GraphDef()
with open(sys.argv[2], "rb") as file:
    graph_def.ParseFromString(file.read())
wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
again = wrapped.prune(frozen.inputs[0].name, frozen.outputs[0].name)
x = tf.random.stateless_normal([1, frozen.inputs[0].shape[1]], [7, 7])
assert np.allclose(again(x), signature(x=x)["y"], atol=1e-5)
"""

COMMAND = "import sys; from edgefreeze.cli.main import run; sys.exit(run(sys.argv[1:]))"


def contestants(model: Path, out: Path) -> dict[str, list[str]]:
    """The argument lists by name."""
    command = [sys.executable, "-c", COMMAND, "freeze", str(model), "-o", str(out), "--quiet"]
    return {
        "recipe": [sys.executable, "-c", RECIPE, str(model), str(out)],
        "edgefreeze": command,
        "edgefreeze --no-verify": [*command, "--no-verify"],
    }


def measure(arguments: list[str], log: Path) -> dict[str, float]:
    """Seconds and peak resident bytes of a process and its children, and its exit status."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    started = time.perf_counter()
    with log.open("ab") as file:
        process = subprocess.Popen(arguments, env=env, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": time.perf_counter() - started,
        "peak_bytes": usage.ru_maxrss * 1024,
        "status": process.returncode,
    }


def against(runs: dict[str, list[dict[str, float]]], name: str, key: str) -> float:
    """The median over the rounds of a contestant's figure by the recipe's of the same round."""
    pairs = zip(runs[name], runs["recipe"], strict=True)
    return statistics.median(own[key] / recipe[key] for own, recipe in pairs)


def kept_before() -> list[dict[str, object]]:
    """What an earlier run of this day measured, to which other sizes are added."""
    try:
        found: list[dict[str, object]] = json.loads(today("freeze").read_text())["results"]
    except FileNotFoundError:
        return []
    return found


def main() -> None:
    """Measure, print a table, keep every single run."""
    parser = argparse.ArgumentParser(description="Time and peak memory of freezing.")
    parser.add_argument("--sizes", default="10,100,700,1600", help="weights in MB")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    facts = machine()
    print(in_words(facts))
    file = today("freeze")
    for size in (float(s) for s in given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            model, out = Path(folder) / f"model-{size:g}", Path(folder) / "frozen.pb"
            subprocess.run(
                [sys.executable, "-c", MAKE, str(model), str(size)], check=True, capture_output=True
            )
            names = list(contestants(model, out))
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            load = round(os.getloadavg()[0], 2)
            for turn in range(given.rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    runs[name].append(measure(contestants(model, out)[name], Path(folder) / "log"))
        results = [entry for entry in kept_before() if entry["mb"] != size]
        results += [
            {"mb": size, "contestant": name, "load_1m": load, "runs": found} for name, found in runs.items()
        ]
        keep("freeze", facts, {"results": sorted(results, key=lambda entry: entry["mb"])})
        for name, found in runs.items():
            seconds = statistics.median(r["seconds"] for r in found)
            peak = statistics.median(r["peak_bytes"] for r in found) / 1e6
            failed = sum(r["status"] != 0 for r in found)
            time_ratio, peak_ratio = (against(runs, name, key) for key in ("seconds", "peak_bytes"))
            ratios = f"{time_ratio:.2f} × time, {peak_ratio:.2f} × memory"
            print(
                f"{size:>6g} MB  {name:<24} {seconds:>7.2f} s  {peak:>8.0f} MB  {ratios}"
                + (f"  {failed} of {len(found)} failed" if failed else ""),
                flush=True,
            )
    print(f"kept in {file}")


if __name__ == "__main__":
    main()

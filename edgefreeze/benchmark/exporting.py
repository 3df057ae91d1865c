"""Results in formats of others: CSV, pyperf's JSON, Prometheus' text. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command's choices need no NumPy
    from edgefreeze.benchmark.result import DuelResult

FORMATS = ("csv", "pyperf", "prometheus")


def export(result: DuelResult, to: str) -> str:
    """The result in one of FORMATS."""
    return {"csv": as_csv, "pyperf": as_pyperf, "prometheus": as_prometheus}[to](result)


def as_csv(result: DuelResult) -> str:
    """A line for each sample: contestant, threads, round, number in the round, nanoseconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "release", "device", "emulated", "artifact", "threads", "round", "call", "ns"])
    for contestant in result.contestants:
        for number, block in enumerate(contestant.samples_ns):
            for call, ns in enumerate(block):
                writer.writerow(
                    [result.run, result.release, result.device, int(result.emulated), contestant.format,
                     contestant.threads, number, call, ns]
                )  # fmt: skip
    return out.getvalue()


def as_pyperf(result: DuelResult) -> str:
    """pyperf's benchmark suite, version 1.0: a benchmark for each contestant, a run for each round, values
    in seconds (pyperf documentation, "pyperf JSON format")."""
    metadata = {
        "hostname": result.device,
        "cpu_model_name": result.facts.cpu_model or "",
        "cpu_count": result.facts.cpu_count,
        "platform": result.facts.platform,
        "python_version": result.facts.python,
        "unit": "second",
        "edgefreeze_release": result.release,
        "edgefreeze_emulated": str(result.emulated),
    }
    benchmarks = []
    for contestant in result.contestants:
        runs = []
        for number, block in enumerate(contestant.samples_ns):
            if not block:
                continue
            values = [ns / 1e9 for ns in block]
            run: dict[str, object] = {"metadata": {"loops": 1}, "values": values}
            if number == 0 and contestant.warmup_ns:
                run["warmups"] = [[1, ns / 1e9] for ns in contestant.warmup_ns]
            runs.append(run)
        if runs:
            name = contestant.format + (f", {contestant.threads} threads" if contestant.threads > 1 else "")
            benchmarks.append({"metadata": {"name": name}, "runs": runs})
    return json.dumps({"version": "1.0", "metadata": metadata, "benchmarks": benchmarks}) + "\n"


def as_prometheus(result: DuelResult) -> str:
    """Gauges for node_exporter's textfile collector, in seconds and bytes."""
    lines: list[str] = []

    def gauge(name: str, text: str, rows: list[tuple[str, float]]) -> None:
        if rows:
            lines.extend([f"# HELP {name} {text}", f"# TYPE {name} gauge"])
            lines.extend(f"{name}{{{labels}}} {value:.9g}" for labels, value in rows)

    common = {
        "app": result.app or "",
        "device": result.device,
        "release": result.release,
        "emulated": str(result.emulated).lower(),
    }
    latencies, memory, starts, failed = [], [], [], []
    for contestant in result.contestants:
        own = {**common, "artifact": contestant.format, "threads": str(contestant.threads)}
        failed.append((_labels(own), float(contestant.failed is not None)))
        for quantile, value in (("0.5", contestant.p50_ms), ("0.9", contestant.p90_ms),
                                ("0.95", contestant.p95_ms), ("0.99", contestant.p99_ms)):  # fmt: skip
            if value is not None:
                latencies.append((_labels({**own, "quantile": quantile}), value / 1e3))
        for kind in ("rss_bytes", "pss_bytes", "peak_bytes"):
            used = contestant.memory.get(kind)
            if used is not None:
                memory.append((_labels({**own, "kind": kind.removesuffix("_bytes")}), float(used)))
        if contestant.cold_start:
            starts.append((_labels(own), contestant.cold_start["total_ms"] / 1e3))
    gauge("edgefreeze_latency_seconds", "Latency of one inference.", latencies)
    gauge("edgefreeze_memory_bytes", "Memory of the inference process.", memory)
    gauge("edgefreeze_start_seconds", "Process start to the end of the first inference.", starts)
    gauge("edgefreeze_failed", "Whether the artifact failed in the benchmark.", failed)
    return "\n".join(lines) + "\n"


def _labels(values: dict[str, str]) -> str:
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in values.items())


def _escaped(value: str) -> str:
    return re.sub(r'["\\]', lambda m: "\\" + m[0], value).replace("\n", "\\n")

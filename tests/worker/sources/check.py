"""Loads and freezes models, several in one process: `python check.py REQUESTS REPLIES`; both are JSON files.

A request: {"path", "out", "options", "feed"}. Writes frozen.pb, saved/ and cases.npz into its `out`, for
fresh.py to compare.
"""

import json
import sys
from pathlib import Path

import msgspec
import numpy as np

from edgefreeze.device import tensors
from edgefreeze.errors import Failure
from edgefreeze.worker import sources
from edgefreeze.worker.freeze import freeze
from edgefreeze.worker.sources import Options

STRINGS = [b"ape", b"cat", b"none"]


def drawn(source, feed):
    generator = np.random.default_rng(0)
    made = {}
    for t in source.inputs:
        shape = [3 if size is None else size for size in (t.shape if t.shape is not None else (3, 1))]
        if t.name in feed:
            made[t.name] = np.array(feed[t.name], None if t.dtype == "string" else t.dtype)
        elif t.dtype == "string":
            made[t.name] = np.resize(np.array(STRINGS, object), shape)
        elif t.dtype == "float32":
            made[t.name] = generator.standard_normal(shape).astype("f")
        else:
            made[t.name] = generator.integers(0, 3, shape).astype(t.dtype)
    return made


def check(request):
    path, out = Path(request["path"]), Path(request["out"])
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in request.get("options", {}).items()}
    kind = sources.find(path)
    source = sources.module(kind).load(path, Options(**options))
    frozen = freeze(source)
    inputs = drawn(source, request.get("feed", {}))
    outputs = source.run(inputs)
    out.mkdir(parents=True)
    (out / "frozen.pb").write_bytes(frozen.graph.SerializeToString(deterministic=True))
    (out / "cases.npz").write_bytes(tensors.encode_golden([(inputs, outputs)]))
    source.save(out / "saved")
    return {
        "kind": kind,
        "signature": source.signature,
        "inputs": msgspec.to_builtins(frozen.inputs),
        "outputs": msgspec.to_builtins(frozen.outputs),
        "init_ops": list(frozen.init_ops),
        "labels": sorted(source.labels.values()),
    }


def main(requests, replies):
    answers = {}
    for name, request in json.loads(Path(requests).read_text()).items():
        try:
            answers[name] = check(request)
        except Failure as failure:
            answers[name] = {"error": failure.as_json()}
    Path(replies).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Compares what check.py wrote with the originals' outputs, in a process that never saw the originals:
`python fresh.py REPLIES FOLDERS DIFFERENCES`, JSON files. A difference is the largest absolute one."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from edgefreeze.device import tensors

v1 = tf.compat.v1


def difference(expected, found):
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        return f"{expected.shape} against {found.shape}"
    if expected.dtype.kind in "OS":
        return 0.0 if np.array_equal(expected.astype(object), found.astype(object)) else "other strings"
    return float(np.abs(expected.astype("d") - found.astype("d")).max(initial=0))


def frozen(folder, reply, inputs):
    definition = v1.GraphDef.FromString((folder / "frozen.pb").read_bytes())
    with tf.Graph().as_default():
        tf.import_graph_def(definition, name="")
        with v1.Session() as session:
            for operation in reply["init_ops"]:
                session.run(operation)
            feeds = {t["tensor"]: inputs[t["name"]] for t in reply["inputs"]}
            return session.run({t["name"]: t["tensor"] for t in reply["outputs"]}, feeds)


def saved(folder, reply, inputs):
    loaded = tf.saved_model.load(str(folder / "saved"))
    types = {t["name"]: t["dtype"] for t in reply["inputs"]}
    called = loaded.signatures[reply["signature"]](**{k: tf.constant(v, types[k]) for k, v in inputs.items()})
    return {key: value.numpy() for key, value in called.items()}


def main(replies, folders, differences):
    found = {}
    for name, folder in json.loads(Path(folders).read_text()).items():
        reply = json.loads(Path(replies).read_text())[name]
        if "error" in reply:
            continue
        folder = Path(folder)
        ((inputs, outputs),) = tensors.decode_golden((folder / "cases.npz").read_bytes())
        for way in (frozen, saved):
            results = way(folder, reply, inputs)
            found.setdefault(name, {})[way.__name__] = {
                key: difference(value, results[key]) for key, value in outputs.items()
            }
    Path(differences).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

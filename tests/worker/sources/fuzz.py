"""Loads damaged copies of models: `python fuzz.py REQUESTS REPLIES SCRATCH`, JSON files. Forks once for each
copy, from a process that has imported what loading needs: an import for each would take an hour.

A request: {"model", "file" (the one to damage, relative to the model; "" for the model itself), "options",
"offsets"}. Half of the copies are cut off, half have 16 bytes overwritten. The reply counts the ends:
"loaded", the Failure's code, "exception: …", "signal N", "hang".
"""

import collections
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path

import keras  # noqa: F401
import tensorflow as tf  # noqa: F401
import tf_keras  # noqa: F401

from edgefreeze.errors import Failure
from edgefreeze.worker import sources
from edgefreeze.worker.freeze import freeze
from edgefreeze.worker.sources import Options

PARALLEL = 2
LONGEST_S = 60


def damaged(content, offset, cut, generator):
    if cut:
        return content[:offset]
    return content[:offset] + generator.randbytes(16) + content[offset + 16 :]


def attempt(path, options):
    """In the child: load and freeze, and say how it ended."""
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(LONGEST_S)
    try:
        # Not sources.load, which catches what is unforeseen: this looks for that.
        source = sources.module(sources.find(path)).load(path, Options(**options))
        freeze(source)
        return "loaded"
    except Failure as failure:
        return failure.code
    except Exception as error:
        traceback.print_exc()
        return f"exception: {type(error).__name__}: {str(error)[:200]}"


def start(path, options):
    """(process id, end of a pipe that the child's answer comes out of)."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    os.close(read)
    answer = attempt(path, options)
    os.write(write, answer.encode())
    sys.stderr.flush()
    os._exit(0)


def finish(child, read):
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer:
        return answer
    return "hang" if status == -signal.SIGALRM else f"signal {-status}"


def warm_up(path, options):
    """Import what loading the undamaged model imports, so that no child has to; a child finds out what. The
    parent itself must load none: TensorFlow's threads do not survive a fork."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        attempt(path, options)
        with os.fdopen(write, "w") as pipe:
            pipe.write("\n".join(sys.modules))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        modules = pipe.read().split("\n")
    os.waitpid(child, 0)
    for name in modules:
        with contextlib.suppress(Exception):  # names that were put there by hand
            importlib.import_module(name)


def fuzz(request, scratch):
    model, generator = Path(request["model"]), random.Random(1)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in request["options"].items()}
    warm_up(model, options)
    content = (model / request["file"]).read_bytes()
    ends = collections.Counter()
    running = []
    for index in range(request["offsets"]):
        folder = scratch / str(index % (PARALLEL + 1))
        shutil.rmtree(folder, ignore_errors=True)
        copy = folder / model.name
        if request["file"]:
            shutil.copytree(model, copy)
        else:
            folder.mkdir()
        offset = len(content) * index // request["offsets"] + 1
        (copy / request["file"]).write_bytes(damaged(content, offset, index % 2 == 0, generator))
        running.append(start(copy, options))
        if len(running) == PARALLEL:
            ends[finish(*running.pop(0))] += 1
    for child in running:
        ends[finish(*child)] += 1
    return dict(ends)


def main(requests, replies, scratch):
    asked = json.loads(Path(requests).read_text())
    answers = {name: fuzz(request, Path(scratch)) for name, request in asked.items()}
    Path(replies).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

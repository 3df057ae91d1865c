"""Runs several requests of the worker in one process: `python many.py < requests > replies`, JSON lists.

For refusals and small conversions, whose cost is TensorFlow's import. What must be seen from outside (the
process, its log, its end) is tested through the client.
"""

import json
import os
import sys
from pathlib import Path

import msgspec


def main():
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from edgefreeze.errors import Failure
    from edgefreeze.worker.convert import convert

    answers = []
    for request in json.loads(sys.stdin.read()):
        events = []
        try:
            answers.append({"result": msgspec.to_builtins(convert(request, events.append)), "events": events})
        except Failure as failure:
            answers.append(
                {"error": failure.as_json(), "left": sorted(p.name for p in Path(request["out"]).glob("*"))}
            )
    replies.write(json.dumps(answers))
    replies.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

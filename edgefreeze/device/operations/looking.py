"""What a device and its apps are, without changing them."""

import heapq
import os
import subprocess
from typing import Any, Dict

from edgefreeze.device import (
    boot,
    checks,
    engines,
    files,
    health,
    probe,
    protocol,
)
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.measure import GREETING_S
from edgefreeze.device.requests import (
    APP,
    Operation,
    Request,
    Result,
    takes,
)
from edgefreeze.device.session import Session


def _ping(session: Session, request: Request) -> Result:
    return {"protocol": protocol.PROTOCOL, "pid": os.getpid(), "root": session.root}


def _probe(session: Session, request: Request) -> Result:
    python = request.args.get("python")
    interpreter = None if python is None else _facts_of(python, session.program)
    return probe.device_facts(session.root, interpreter, engines.programs())


def _facts_of(python: str, program: str) -> Dict[str, Any]:
    """interpreter_facts() of another Python. Raises python-missing."""
    try:
        done = subprocess.run(
            [python, "-I", program, "facts"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=GREETING_S,
            check=True,
        )
        facts = files.parse_json(done.stdout, checks.dict_of(checks.anything), python)
        assert isinstance(facts, dict)
        return facts
    except (OSError, subprocess.SubprocessError, checks.Invalid) as error:
        stderr = getattr(error, "stderr", None) or b""
        raise DeviceError(
            "python-missing",
            "%s is no Python that can run the helper" % python,
            expected="Python 3.8 or later",
            found=str(error),
            stderr=stderr[-2000:].decode("utf-8", "replace"),
        ) from None


def _health(session: Session, request: Request) -> Result:
    return health.collect(session.root)


def _status(session: Session, request: Request) -> Result:
    name = request.args.get("app")
    # A folder in which nothing ever was: a first deployment that failed, a model that was only measured.
    apps = [a for a in session.every_app() if not a.blank] if name is None else [session.existing(name)]
    disk = os.statvfs(session.root)
    return {
        "apps": [app.status() for app in apps],
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "store_bytes": session.store.total_bytes(),
        "boot": boot.look(session.root),
    }


def _history(session: Session, request: Request) -> Result:
    """What happened to the app, and in between who was trusted to change it."""
    entries = session.existing(request.args["app"]).memory.history()
    return {"entries": list(heapq.merge(session.trust.history(), entries, key=lambda e: str(e["time"])))}


def _bye(session: Session, request: Request) -> Result:
    return {}


OPERATIONS: Dict[str, Operation] = {
    "ping": Operation(_ping, takes({})),
    "probe": Operation(_probe, takes({}, {"python": checks.absolute_path})),
    "health": Operation(_health, takes({})),
    "status": Operation(_status, takes({}, APP)),
    "history": Operation(_history, takes(APP)),
    "bye": Operation(_bye, takes({})),
}

"""The application's own service around a switch: a hook that tells it, and a check that it is well.

Both are argument lists, never shell lines, and run without privileges, in a process group of their own that
is killed at the deadline. They see EDGEFREEZE_APP, EDGEFREEZE_RELEASE and EDGEFREEZE_CURRENT (the folder that
the application opens).
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from edgefreeze.device import checks
from edgefreeze.device.child import describe_exit
from edgefreeze.device.errors import DeviceError

KEPT_OUTPUT = 4096
"""Bytes of a command's output that are kept, the last ones."""
Plan = Dict[str, Any]

_argv = checks.list_of(checks.text(4096, re.compile(r"[^\x00]+"), "an argument"), 100)
_seconds = checks.number(0.05, 86_400)
check_plan: checks.Check = checks.record(
    {
        "restart": _argv,
        "restart_timeout_s": _seconds,
        "health": _argv,
        "health_url": checks.optional(checks.text(2000, re.compile(r"https?://[^\s]+"), "an http URL")),
        "successes": checks.integer(1, 1000),
        "period_s": _seconds,
        "deadline_s": _seconds,
    },
    closed=True,
)


class Where(NamedTuple):
    """What a hook is told of: the app, the release that `current` names, the app's folder, and the helper's
    program, which starts it."""

    app: str
    release: str
    folder: str
    program: str


def longest_s(plan: Plan) -> float:
    """How long a change-over with this plan may take, going back included."""
    return float(2 * plan["restart_timeout_s"] + plan["deadline_s"])


def tell(plan: Plan, where: Where) -> None:
    """Run the hook, if there is one. Raises hook-failed."""
    if not plan["restart"]:
        return
    failure = _run(plan["restart"], plan["restart_timeout_s"], where)
    if failure is not None:
        raise DeviceError("hook-failed", "the hook %s" % failure, "exit status 0", plan["restart"])


def require_healthy(plan: Plan, where: Where, tick: Callable[[int], None]) -> None:
    """Wait until the check succeeds `successes` times in a row, `period_s` apart, or the deadline passes.

    tick: called after each check with the successes so far; what it raises ends the wait. Raises
    health-failed.
    """
    if not plan["health"] and plan["health_url"] is None:
        return
    deadline = time.monotonic() + plan["deadline_s"]
    row, last = 0, ""
    while row < plan["successes"]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeviceError(
                "health-failed",
                "the health check did not succeed %d times in a row within %g s: %s"
                % (plan["successes"], plan["deadline_s"], last or "it was not asked"),
                "%d successes" % plan["successes"],
                last or None,
            )
        failure = _unhealthy(plan, where, left)
        row = row + 1 if failure is None else 0
        if failure is not None and not (last and time.monotonic() >= deadline):
            last = failure  # a check that the deadline cut short says less than the one before
        tick(row)
        if row < plan["successes"]:
            time.sleep(min(plan["period_s"], max(0.0, deadline - time.monotonic())))


def _unhealthy(plan: Plan, where: Where, left_s: float) -> Optional[str]:
    """Why the service is not well, None where it is."""
    if plan["health"]:
        return _run(plan["health"], left_s, where)
    said: List[Optional[str]] = []
    # A timeout of a socket is for each read: whoever sends a byte now and then would never be done.
    url = plan["health_url"]
    asking = threading.Thread(target=lambda: said.append(_ask(url, left_s)), name="health", daemon=True)
    asking.start()
    asking.join(left_s)
    return said[0] if said else "%s: no whole answer within %.1f s" % (url, left_s)


def _ask(url: str, timeout_s: float) -> Optional[str]:
    """Why this address does not answer well, None where it does."""
    import http.client
    import urllib.request  # a fifth of the helper's start, and few services need it

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            answer.read(KEPT_OUTPUT)
            return None
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and HTTPError are OSErrors
        return "%s: %s" % (url, str(error) or type(error).__name__)


def _run(argv: List[str], timeout_s: float, where: Where) -> Optional[str]:
    """Run a command; why it failed, None where it ended with status 0."""
    environment = dict(
        os.environ,
        EDGEFREEZE_APP=where.app,
        EDGEFREEZE_RELEASE=where.release,
        EDGEFREEZE_CURRENT=os.path.join(where.folder, "current"),
    )
    # Through the helper's own program, which takes back the signals that the helper blocks.
    process = subprocess.Popen(
        [sys.executable, "-I", where.program, "exec", "--", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    tail = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(process, tail), daemon=True)
    reader.start()
    try:
        status: Optional[int] = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        status = None
    if status != 0:
        # What a successful hook leaves running, such as a daemon, is the user's.
        _kill_group(process.pid)
        process.wait()
    reader.join(0.5)
    if status == 0:
        return None
    said = bytes(tail).decode("utf-8", "replace").strip()
    how = "took longer than %g s and was killed" % timeout_s if status is None else describe_exit(status)
    return "%s: %s%s" % (argv[0], how, "; it said: %s" % said[-500:] if said else "")


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it is gone


def _keep_tail(process: "subprocess.Popen[bytes]", tail: bytearray) -> None:
    assert process.stdout is not None
    while True:
        part = os.read(process.stdout.fileno(), 4096)
        if not part:
            return
        tail += part
        del tail[:-KEPT_OUTPUT]

"""From one release to another with the application's service: switch, tell, look, commit; or go back.

While the release is on trial a watcher outlives the connection: a process of its own that goes back at the
deadline unless the trial was confirmed (a dead-man switch).
"""

import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Optional

from edgefreeze.device import service, state
from edgefreeze.device.app import App
from edgefreeze.device.checks import Invalid, anything
from edgefreeze.device.errors import DeviceError
from edgefreeze.device.files import read_json
from edgefreeze.device.store import Store

MARGIN_S = 15.0
"""The watcher waits so much longer than the change-over itself may take."""
_APPEARS_S = 10.0
_POLL_S = 0.25
_LOCK_S = 10.0

Event = Callable[[Dict[str, Any]], None]


def change_over(app: App, release: str, plan: service.Plan, event: Event, **activation: Any) -> bool:
    """Switch to a release and keep it only if the service is well with it; False where it was active.

    activation: as App.activate. Raises what that raises; hook-failed and health-failed, when the release
    before runs again; rollback-failed where that one's hook failed too.
    """
    app.releases.keep_service(release, plan)
    watcher = _start_watcher(app, release, service.longest_s(plan) + MARGIN_S)
    try:
        return app.activate(release, trial=True, **activation) and _kept(app, release, plan, event)
    finally:
        # Nothing is on trial: it has nothing left to watch. Whoever is killed before this leaves it at work.
        if app.memory.read()["phase"] != state.TRIAL:
            watcher.kill()
            watcher.wait()


def _kept(app: App, release: str, plan: service.Plan, event: Event) -> bool:
    """Tell the service of the release on trial, look whether it is well, commit. Raises as change_over."""
    try:
        event({"kind": "service", "step": "hook"})
        service.tell(plan, app.told(release))
        service.require_healthy(
            plan,
            app.told(release),
            lambda row: event({"kind": "service", "step": "health", "successes": row}),
        )
    except DeviceError as error:
        failed = app.go_back(error.message)
        if failed is not None:
            raise DeviceError(
                "rollback-failed",
                "%s; and going back, %s" % (error.message, failed),
                error.expected,
                error.found,
            ) from None
        raise
    app.confirm()
    return True


def _start_watcher(app: App, release: str, deadline_s: float) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable, "-I", app.program, "watch", "--root", app.root, "--app", app.name,
            "--release", release, "--deadline", "%.3f" % deadline_s,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )  # fmt: skip


def watch(root: str, program: str, name: str, release: str, deadline_s: float) -> Optional[str]:
    """Go back from the trial of a release unless it ends before the deadline; what was done, in words."""
    app = App(root, name, Store(root), program)
    started, seen = time.monotonic(), False
    while True:
        known = app.memory.read()
        on_trial = known["phase"] == state.TRIAL and known["trial"] == release
        waited = time.monotonic() - started
        if not on_trial and (seen or waited > _APPEARS_S):
            return None
        seen = seen or on_trial
        if waited > deadline_s:
            break
        time.sleep(_POLL_S)
    return _take_over(app)


def _take_over(app: App) -> str:
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            recovered = app.open_for_writing("dead-man switch")
            app.close()
            return "; ".join(recovered)
        except DeviceError as error:
            if error.code != "locked":
                raise
            if time.monotonic() > until:
                _kill_holder(app)
                until = time.monotonic() + _LOCK_S
        time.sleep(_POLL_S)


def _kill_holder(app: App) -> None:
    """Kill the helper that holds the lock past every deadline: it hangs. Nothing that is no helper."""
    try:
        pid = read_json(os.path.join(app.folder, "lock"), anything, 4096)["pid"]
        with open("/proc/%d/cmdline" % pid, "rb") as stream:
            words = stream.read().split(b"\0")
        if os.fsencode(app.program) in words and b"serve" in words:
            os.kill(pid, signal.SIGKILL)
    except (OSError, Invalid, KeyError, TypeError):
        pass  # it is gone, or somebody else's: the next round asks again

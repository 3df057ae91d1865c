"""What an app's folder knows of its past: state.json (which release, which before it, in which phase) and
history.jsonl (what happened). Both are read back as if a stranger had written them."""

import json
import os
from typing import Any, Dict, List, Optional

from edgefreeze.device import checks, files, protocol
from edgefreeze.device.lock import utc_instant

EMPTY, TRIAL, COMMITTED = "EMPTY", "TRIAL", "COMMITTED"
MAX_HISTORY = 1 << 20
KEPT_HISTORY = 1000

State = Dict[str, Any]
"""schema, phase, active (the last release committed), previous (the one before it), trial (the release
that `current` is being switched to, in phase TRIAL)."""

_release = checks.optional(checks.digest)
_check_state = checks.record(
    {
        "schema": checks.integer(1, 1),
        "phase": checks.one_of(EMPTY, TRIAL, COMMITTED),
        "active": _release,
        "previous": _release,
        "trial": _release,
    }
)
_check_entry = checks.record(
    {
        "time": checks.line,
        "event": checks.text(32),
        "release": _release,
        "previous": _release,
        "who": checks.line,
        "detail": checks.optional(checks.text(4096)),
    }
)


def committed(active: Optional[str], previous: Optional[str]) -> State:
    """The state in which nothing is under way."""
    phase = EMPTY if active is None else COMMITTED
    return {"schema": 1, "phase": phase, "active": active, "previous": previous, "trial": None}


class Memory:
    """state.json, history.jsonl and the `current` link of one app folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._state = os.path.join(folder, "state.json")
        self._history = os.path.join(folder, "history.jsonl")
        self._link = os.path.join(folder, "current")

    def current(self) -> Optional[str]:
        """The release that `current` names, None where it names none of ours."""
        try:
            target = os.readlink(self._link)
        except OSError:
            return None
        head, _, name = target.rpartition("/")
        return name if head == "releases" and protocol.SHA256.fullmatch(name) else None

    def point(self, release: Optional[str]) -> None:
        """Make `current` name the release, in one atomic and durable step (None: take it away)."""
        if release is None:
            files.remove_file(self._link)
        else:
            temporary = os.path.join(self.folder, ".%s.link" % files.random_name())
            os.symlink("releases/" + release, temporary)
            os.rename(temporary, self._link)
        files.fsync_path(self.folder)

    def read(self) -> State:
        """The state; rebuilt from `current` and the history where its file is missing or damaged."""
        try:
            state: State = files.read_json(self._state, _check_state, 65536)
        except (OSError, checks.Invalid):
            return self._rebuilt()
        return state

    def _rebuilt(self) -> State:
        active = self.current()
        previous = None
        for entry in self.history():
            if active is not None and entry["release"] == active and entry["previous"] != active:
                previous = entry["previous"]
        return committed(active, previous)

    def write(self, state: State) -> None:
        """Write the state, durably."""
        files.write_json(self._state, state)

    def history(self) -> List[Dict[str, Any]]:
        """All entries that can be read, oldest first."""
        try:
            lines = files.read_bytes(self._history, 4 * MAX_HISTORY).splitlines()
        except (OSError, checks.Invalid):
            return []
        entries = []
        for text in lines:
            try:
                entries.append(files.parse_json(text, _check_entry, "history.jsonl"))
            except checks.Invalid:
                pass  # torn by a power cut
        return entries

    def log(
        self,
        event: str,
        release: Optional[str],
        previous: Optional[str],
        who: str,
        detail: Optional[str] = None,
    ) -> None:
        """Append an entry, durably; the oldest go once there are far too many."""
        entry = {
            "time": utc_instant(),
            "event": event,
            "release": release,
            "previous": previous,
            "who": who,
            "detail": detail,
        }
        if (files.regular_size(self._history) or 0) > MAX_HISTORY:
            kept = self.history()[-KEPT_HISTORY:]
            files.write_durably(self._history, b"".join(_line(old) for old in kept))
        fd = os.open(
            self._history, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            files.write_all(fd, (b"\n" if torn else b"") + _line(entry))
            os.fsync(fd)
        finally:
            os.close(fd)
        if size == 0:
            files.fsync_path(self.folder)


def _line(entry: Dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True).encode("utf-8") + b"\n"

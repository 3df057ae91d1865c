"""What the report of a defect needs, without what is nobody's business.

The rule, which the report itself states (RULE): facts of the machine and versions are told as they are.
Of edgefreeze.toml the keys that edgefreeze knows, numbers, truth values and the kinds of boards are
told; other texts, and the names of devices, are "…". In the log of the last run these are "…": every
argument that is a value, every text of edgefreeze.toml that is not told, the names of user, machine and
devices, values of environment variables that are named as secrets are; whatever looks like a path, a
URL, an address, the name of a host, user@host, a long token, or is said to be a password, token, secret
or key.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import re
import socket
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import edgefreeze
from edgefreeze import formats, inventory, logs, stack, targets
from edgefreeze.text import clean, size

HIDDEN = "…"
RULE = (
    "Left out, as …: names of devices, hosts, users and apps, addresses, paths, URLs, values of arguments,"
    " texts of edgefreeze.toml, tokens, and what is called a password, token, secret or key. Read it before"
    " you send it."
)
_TOLD = ("target", "transport")
"""Keys of edgefreeze.toml whose texts are told: kinds of boards and of connections."""
_SECRET = re.compile(r"(?i)token|secret|passw|passphrase|api_?key|credential|auth")
_PATTERNS = (
    re.compile(r"(?i)\b(?:\w*(?:passw\w*|passphrase|token|secret|credential|key))\b\s*[=:]\s*\S+"),
    re.compile(r"[a-z][a-z0-9+.-]*://\S+"),
    re.compile(r"[\w.+-]+@[\w.:\[\]-]+"),
    re.compile(r"(?:[~.\w-]*/)+[^\s'\",;:)\]]*"),
    re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"),
    re.compile(r"\b(?:[0-9a-fA-F]{0,4}:){3,}[0-9a-fA-F]{0,4}\b"),
    re.compile(r"(?<![\w.-])(?!(?:edgefreeze|tensorflow|keras|numpy)\.)(?:[\w-]+\.)+[A-Za-z]{2,}\b"),
    re.compile(r"[A-Za-z0-9+_=-]{24,}"),
)
_LONGEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class BugReport:
    """Facts without names, addresses and paths."""

    rule: str
    versions: dict[str, str]
    machine: dict[str, str]
    config: tuple[str, ...] | None
    """Lines of edgefreeze.toml; None: there is none."""
    log: tuple[str, ...] | None
    """Lines of the last run's log, of the last one that failed where one did; None: there is none."""

    @property
    def text(self) -> str:
        """To read, and to paste into an issue."""
        parts = [f"{RULE}\n"]
        for title, facts in (("Versions", self.versions), ("Machine", self.machine)):
            parts.append(f"## {title}\n\n" + "".join(f"- {k}: {v}\n" for k, v in facts.items()))
        for title, lines in (("edgefreeze.toml", self.config), ("Last run", self.log)):
            body = "none\n" if lines is None else "```text\n" + "".join(f"{x}\n" for x in lines) + "```\n"
            parts.append(f"## {title}\n\n{body}")
        return "\n".join(parts)


def collect(commands: Iterable[str], config: Path | None = None) -> BugReport:
    """The report of this machine. commands: edgefreeze's, as words that may be told. config: edgefreeze.toml;
    None: the one of this folder, if there is one."""
    file = config or Path(inventory.FILE)
    shown, private = _config(file)
    path = _last_run()
    return BugReport(
        rule=RULE,
        versions={"edgefreeze": edgefreeze.__version__, **stack.versions()},
        machine=_machine(),
        config=shown,
        log=None if path is None else _log(path, private, _plain_words(commands)),
    )


def _machine() -> dict[str, str]:
    found = {
        "system": f"{_os()}, {platform.system()} {platform.release()}",
        "processor": f"{_first('/proc/cpuinfo', 'model name|Model') or '?'}, {os.cpu_count()} of them,"
        f" {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "locale": os.environ.get("LC_ALL") or os.environ.get("LANG") or "unset",
    }
    memory = _first("/proc/meminfo", "MemTotal")
    if memory and memory.split()[0].isdigit():
        found["memory"] = size(int(memory.split()[0]) * 1024)
    return {key: clean(value, 200) for key, value in found.items()}


def _first(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^(?:{name})\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else None


def _os() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


# --- edgefreeze.toml


def _config(file: Path) -> tuple[tuple[str, ...] | None, set[str]]:
    """(lines that are told, texts that are not)."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, set()
    except (OSError, ValueError) as error:
        return (f"cannot be read: {type(error).__name__}",), set()
    lines: list[str] = []
    private: set[str] = set()
    _tell(found, (), lines, private)
    return tuple(lines), private


def _tell(table: dict[str, Any], path: tuple[str, ...], lines: list[str], private: set[str]) -> None:
    known = _keys()
    for number, (key, value) in enumerate(table.items(), 1):
        if path == ("devices",):
            private.add(key)
            name = f"device-{number}"
        else:
            name = key if key in known else HIDDEN
        place = (*path, name)
        if isinstance(value, dict):
            _tell(value, place if place != ("devices",) else ("devices",), lines, private)
        else:
            lines.append(f"{'.'.join(place)} = {_value(key, value, private)}")


def _value(key: str, value: Any, private: set[str]) -> str:
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(key, entry, private) for entry in value) + "]"
    if key in _TOLD and isinstance(value, str) and value in {*targets.names(), "ssh", "local"}:
        return json.dumps(value)
    private.add(str(value))
    return HIDDEN


def _keys() -> set[str]:
    kinds = (
        inventory.ConfigFile, inventory.DeviceEntry, inventory.Service, inventory.Signing, targets.Bench,
        targets.Limits, targets.Freeze,
    )  # fmt: skip
    return {field.name for kind in kinds for field in msgspec.structs.fields(kind)}


# --- the last run


def _last_run() -> Path | None:
    """The newest log of a run that failed, else the newest; this run has none."""
    known = logs.runs()
    failed = [path for path in known if not _lines(path)[-1:] or not _lines(path)[-1].endswith("status 0")]
    return next(iter(reversed(failed or known)), None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _log(path: Path, private: set[str], plain: set[str]) -> tuple[str, ...]:
    lines = _lines(path)
    try:
        arguments = [str(word) for word in json.loads(lines[0])]
    except (IndexError, ValueError, TypeError):
        arguments = []
    values = {word for word in arguments if not word.startswith("-")}
    values |= {word.partition("=")[2] for word in arguments if "=" in word}
    names = {*private, *_own_names(), *(values - plain)}
    told = (w.partition("=")[0] if w.startswith("-") else w if w in plain else HIDDEN for w in arguments)
    return (" ".join(told), *(redacted(line, names - plain) for line in lines[1:_LONGEST]))


def _plain_words(commands: Iterable[str]) -> set[str]:
    """Words of a command line that say nothing of who gave them."""
    return {*commands, *formats.FORMATS, *targets.names()}


def _own_names() -> set[str]:
    names = {socket.gethostname(), socket.gethostname().partition(".")[0], str(Path.home())}
    with contextlib.suppress(KeyError, OSError):  # a user without a name
        names.add(getpass.getuser())
    names |= {value for key, value in os.environ.items() if _SECRET.search(key)}
    return names - {"root", "localhost", "local"}


def redacted(text: str, names: Iterable[str]) -> str:
    """A line of a log with these names, and whatever looks like a name of a place or a secret, left out."""
    for name in sorted((n for n in names if len(n) >= 2 and not n.isdigit()), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", HIDDEN, text)
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    return clean(text, 1000)

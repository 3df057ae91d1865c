"""Is this the host it was? known_hosts, as OpenSSH reads it: hashed names, patterns, @revoked.

paramiko's own reader skips the markers, so a revoked key would pass.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefreeze.errors import Failure
from edgefreeze.transport.ssh_config import Resolved

Verdict = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of known_hosts that speaks of a host."""

    file: Path
    line: int
    revoked: bool
    kind: str
    key: bytes


def entries(text: str, file: Path, name: str) -> list[Entry]:
    """The entries of one known_hosts text for a name. Pure. Lines that make no sense are skipped, as
    OpenSSH does; @cert-authority lines are no host's key."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except ValueError:
            continue
        if _names(fields[0], name):
            found.append(Entry(file=file, line=number, revoked=marker == "@revoked", kind=fields[1], key=key))
    return found


def _names(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        parts = patterns.split("|")
        if len(parts) != 4:
            return False
        try:
            salt, want = base64.b64decode(parts[2]), base64.b64decode(parts[3])
        except ValueError:
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), want)
    matched = False
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        # fnmatch would read [host]:port as a character class; in known_hosts only * and ? are special.
        literal = pattern.lstrip("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), literal):
            if negated:
                return False
            matched = True
    return matched


def judge(known: list[Entry], kind: str, key: bytes) -> tuple[Verdict, Entry | None]:
    """What the entries say of the key that a host presents. Pure."""
    for entry in known:
        if entry.revoked and entry.key == key:
            return "revoked", entry
    live = [entry for entry in known if not entry.revoked]
    for entry in live:
        if entry.key == key:
            return "known", entry
    if live:
        same_kind = [entry for entry in live if entry.kind == kind]
        return "changed", (same_kind or live)[0]
    return "unknown", None


def load(host: Resolved) -> list[Entry]:
    """All entries for a host, from the files that OpenSSH would read."""
    found: list[Entry] = []
    for file in host.known_hosts:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += entries(text, file, host.known_hosts_name)
    return found


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` prints it: SHA256:… of the key blob, base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def check(host: Resolved, known: list[Entry], kind: str, key: bytes) -> None:
    """Raise Failure host-key-unknown, -changed or -revoked unless the key is the known one."""
    verdict, entry = judge(known, kind, key)
    shown = f"{kind} {fingerprint(key)}"
    name = host.known_hosts_name
    unchanged = "not contacted beyond its host key; unchanged"
    if verdict == "known":
        return
    if verdict == "unknown":
        raise Failure(
            "host-key-unknown",
            f"{host.destination}: the host key of {name} is not known",
            expected="an entry in " + (str(host.known_hosts[0]) if host.known_hosts else "known_hosts"),
            found=shown,
            device_state=unchanged,
            retry_safe=True,
            next=f"{host.accept_command}    (compare the fingerprint before you say yes)",
        )
    assert entry is not None
    if verdict == "revoked":
        raise Failure(
            "host-key-revoked",
            f"{host.destination}: the host key of {name} is revoked in {entry.file}, line {entry.line}",
            expected="a key that is not revoked",
            found=shown,
            device_state=unchanged,
            retry_safe=False,
        )
    raise Failure(
        "host-key-changed",
        f"{host.destination}: the host key of {name} is not the known one: another machine, a re-installed"
        " one, or somebody in between",
        expected=f"{entry.kind} {fingerprint(entry.key)} ({entry.file}, line {entry.line})",
        found=shown,
        device_state=unchanged,
        retry_safe=False,
        next=f"if you know why: ssh-keygen -R '{name}' -f {entry.file} && {host.accept_command}",
    )

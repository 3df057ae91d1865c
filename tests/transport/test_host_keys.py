"""known_hosts, line by line."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from edgefreeze.transport.host_keys import entries, judge

KEY = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 " + bytes(32)
OTHER = KEY[:-1] + b"\x01"
B64, OTHER_B64 = (base64.b64encode(k).decode() for k in (KEY, OTHER))
FILE = Path("known_hosts")


def found(text: str, name: str = "cam1") -> list[tuple[int, bool]]:
    return [(entry.line, entry.revoked) for entry in entries(text, FILE, name)]


@pytest.mark.parametrize(
    ("line", "name", "matches"),
    [
        (f"cam1 ssh-ed25519 {B64}", "cam1", True),
        (f"CAM1,other ssh-ed25519 {B64} a comment", "cam1", True),
        (f"cam* ssh-ed25519 {B64}", "cam1", True),
        (f"cam*,!cam1 ssh-ed25519 {B64}", "cam1", False),
        (f"cam2 ssh-ed25519 {B64}", "cam1", False),
        (f"[cam1]:2222 ssh-ed25519 {B64}", "[cam1]:2222", True),
        (f"[cam1]:2222 ssh-ed25519 {B64}", "cam1", False),
        (f"[cam1]:2222 ssh-ed25519 {B64}", "c:2222", False),
        (f"@cert-authority cam1 ssh-ed25519 {B64}", "cam1", False),
        (f"# cam1 ssh-ed25519 {B64}", "cam1", False),
        ("cam1 ssh-ed25519 not!base64", "cam1", False),
        ("cam1 ssh-ed25519", "cam1", False),
        ("|1|garbage ssh-ed25519 " + B64, "cam1", False),
        ("", "cam1", False),
    ],
)
def test_names(line: str, name: str, matches: bool) -> None:
    assert bool(found(line, name)) is matches


def test_lines_are_counted_and_markers_read() -> None:
    text = f"# x\ncam1 ssh-ed25519 {B64}\n\n@revoked cam1 ssh-ed25519 {OTHER_B64}\n"
    assert found(text) == [(2, False), (4, True)]


def test_a_host_key_is_known_changed_unknown_or_revoked() -> None:
    known = entries(f"cam1 ssh-ed25519 {B64}\n", FILE, "cam1")
    assert judge(known, "ssh-ed25519", KEY)[0] == "known"
    assert judge(known, "ssh-ed25519", OTHER)[0] == "changed"
    assert judge(known, "ssh-rsa", OTHER)[0] == "changed"
    assert judge([], "ssh-ed25519", KEY)[0] == "unknown"
    both = entries(f"cam1 ssh-ed25519 {B64}\n@revoked * ssh-ed25519 {B64}\n", FILE, "cam1")
    assert judge(both, "ssh-ed25519", KEY)[0] == "revoked"
    only = entries(f"@revoked * ssh-ed25519 {OTHER_B64}\n", FILE, "cam1")
    assert judge(only, "ssh-ed25519", KEY)[0] == "unknown"

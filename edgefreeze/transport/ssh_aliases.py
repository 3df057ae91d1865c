"""The names that an SSH configuration gives to hosts: its `Host` lines, with what it includes."""

from __future__ import annotations

import glob
import os
import shlex
from pathlib import Path

_DEEPEST = 16
"""As OpenSSH: files that include each other end there."""


def aliases() -> tuple[str, ...]:
    """Every alias of the user's configuration (EDGEFREEZE_SSH_CONFIG, else ~/.ssh/config), in its order.
    Names with * or ? stand for many hosts and are left out, and those with ! for none."""
    own = os.environ.get("EDGEFREEZE_SSH_CONFIG")
    home = Path.home() / ".ssh"
    return tuple(dict.fromkeys(_of(Path(own) if own else home / "config", home, 0)))


def _of(file: Path, home: Path, depth: int) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for keyword, words in lines(text):
        if keyword == "host":
            found += [w for w in words if not set(w) & set("*?!")]
        elif keyword == "include" and depth < _DEEPEST:
            for word in words:
                # OpenSSH looks in ~/.ssh for what is not an absolute path, whichever file says so.
                pattern = str(home / Path(word).expanduser())
                for name in sorted(glob.glob(pattern)):  # noqa: PTH207 - the pattern may be absolute
                    found += _of(Path(name), home, depth + 1)
    return found


def lines(text: str) -> list[tuple[str, list[str]]]:
    """The (keyword in small letters, words) of a configuration's lines: "Host a b", "Port=22". Lines that
    make no sense are left out, as their mistake is ssh's to tell. Pure."""
    found = []
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if not words:
            continue
        keyword, equals, rest = words[0].partition("=")
        rest_words = ([rest] if rest else []) + words[1:]
        if not equals and rest_words[:1] == ["="]:
            rest_words = rest_words[1:]
        found.append((keyword.lower(), rest_words))
    return found

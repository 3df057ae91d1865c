"""The systemd unit that goes back from a trial at boot: its name, its text, and the command in it. Pure.

What systemd makes of a line is in systemd.syntax(7), systemd.service(5), "Command lines", and
systemd.unit(5), "Specifiers": a quoted word knows C's escapes, `%` begins a specifier, and `$` a variable but
in the program's path.
"""

import hashlib
import re
from typing import List

_TEXT = """\
# Written by edgefreeze. `edgefreeze device recover-at-boot --remove` takes it away.
[Unit]
Description=edgefreeze: go back from a trial of a release that was cut

[Service]
Type=oneshot
ExecStart=%s

[Install]
WantedBy=default.target
"""
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "%%": "%", "$$": "$"}


def name(root: str, usual: str) -> str:
    """The unit's file name; a root folder other than the usual one has a unit of its own."""
    if root == usual:
        return "edgefreeze-recover.service"
    digest = hashlib.sha256(root.encode("utf-8", "surrogateescape")).hexdigest()
    return "edgefreeze-recover-%s.service" % digest[:12]


def text(argv: List[str]) -> str:
    """The unit that runs a command once at boot. Raises ValueError where a word cannot stand in a unit."""
    program, *rest = argv
    if "$" in program:
        raise ValueError("systemd runs no program with a $ in its path: %s" % program)
    return _TEXT % " ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in rest)])


def _quoted(word: str) -> str:
    if not word.isprintable():  # control characters, and bytes that are no UTF-8
        raise ValueError("no unit can hold a path with such characters: %s" % ascii(word))
    return '"%s"' % word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def command(written: str) -> List[str]:
    """The words of a unit's ExecStart, as text() wrote them; none where there is no such line."""
    for line in written.splitlines():
        if line.startswith("ExecStart="):
            return [_plain(word) for word in _WORD.findall(line)]
    return []


def _plain(word: str) -> str:
    return re.sub(r"\\\\|\\\"|%%|\$\$", lambda found: _ESCAPES[found[0]], word)

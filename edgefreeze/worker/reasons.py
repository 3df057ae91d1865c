"""What an exception of TensorFlow says, without what it wraps it in."""

from __future__ import annotations

import re

from edgefreeze.text import clean

_WRAPPING = re.compile(
    r"^(Graph execution error:|Detected at node .*|<stack traces unavailable>|\s*\[\[\{\{node .*|"
    r"Exception encountered when calling .*|Function call stack:|\s*File \".*)$"
)
_OP_CONTEXT = re.compile(r"\s*(\[\[\{\{node [^\]]*\]\]|\[Op:[^\]]*\]|name: )\s*$")


def reason(error: BaseException, limit: int = 400) -> str:
    """ "InvalidArgumentError: what is wrong", fit for a terminal, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not _WRAPPING.match(line)]
    text = _OP_CONTEXT.sub("", clean(" ".join(lines), limit))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

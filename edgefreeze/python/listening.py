"""A ready-made callback for `progress=`."""

from __future__ import annotations

import sys

from edgefreeze.progress import Event
from edgefreeze.text import clean


def print_progress(event: Event) -> None:
    """A line to stderr for each stage that begins, and for each note."""
    if event.kind != "advance":
        note = "note: " if event.kind == "note" else ""
        sys.stderr.write(f"  {note}{clean(event.text)}\n")
        sys.stderr.flush()

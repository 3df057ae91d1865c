"""edgefreeze unpin."""

from __future__ import annotations

from edgefreeze.cli.pin import pinning

command = pinning(
    "unpin",
    keep=False,
    done="is no longer kept",
    text="Let a pinned release go in its turn, with the others. RELEASE: its id, or the first digits.",
)

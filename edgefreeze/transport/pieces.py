"""How the pieces of a content go out: squeezed where the link takes longer than squeezing does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

from edgefreeze.device import protocol, squeezed

SLOW = 6_000_000
"""Bytes a second: on a slower link every piece is squeezed, which one core does at some 15 MB/s. A link that
is faster gains nothing, and a slow board's processor would lose."""


_WEIGHT = 1 / 8
"""Of the last piece in the running mean of the time that a byte takes: a window opens in bursts."""


class Pieces:
    """Writes pieces, and sees from the last ones how fast the link takes them: a full one blocks.

    at_once: flush each, for a limited rate, which is a slow link too.
    """

    def __init__(
        self, writer: BinaryIO, *, at_once: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._writer = writer
        self._at_once = at_once
        self._clock = clock
        self._byte_s = 0.0

    def send(self, piece: bytes) -> int:
        """Write one as a frame; the bytes of it on the wire."""
        slow = self._at_once or self._byte_s > 1 / SLOW
        smaller = squeezed.squeeze(piece) if slow else None
        data = piece if smaller is None else smaller
        started = self._clock()
        protocol.write_frame(self._writer, b"D" if smaller is None else b"Z", data)
        if self._at_once:
            self._writer.flush()
        took = (self._clock() - started) / len(data)
        self._byte_s += _WEIGHT * (took - self._byte_s)
        return len(data)

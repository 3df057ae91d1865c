"""Pieces that are squeezed for a slow link."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.device import protocol, squeezed
from edgefreeze.transport.pieces import SLOW, Pieces

MOST = protocol.MAX_DATA
WEIGHTS = np.random.default_rng(1).standard_normal(MOST // 4, dtype=np.float32).tobytes()


@given(st.binary(min_size=1, max_size=300), st.integers(1, 400))
def test_what_is_squeezed_comes_back(piece: bytes, times: int) -> None:
    whole = (piece * times)[:MOST]
    smaller = squeezed.squeeze(whole)
    if smaller is not None:
        assert len(smaller) <= len(whole)
        assert squeezed.restore(smaller, MOST) == whole


@pytest.mark.parametrize("cut", range(5))
def test_weights_lose_a_sixth_whatever_their_end(cut: int) -> None:
    piece = WEIGHTS[: len(WEIGHTS) - cut]
    smaller = squeezed.squeeze(piece)
    assert smaller is not None
    assert 0.80 < len(smaller) / len(piece) < 0.86
    assert squeezed.restore(smaller, MOST) == piece


def test_a_program_loses_more_and_noise_is_left_alone() -> None:
    smaller = squeezed.squeeze(
        Path(np.__file__).with_name("_core").joinpath("fromnumeric.py").read_bytes()[:MOST]
    )
    assert smaller is not None
    assert smaller[:1] == b"\0"
    assert len(smaller) < MOST / 3
    assert squeezed.squeeze(os.urandom(MOST)) is None


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"\0", b"\0no zlib", b"\1" + zlib.compress(b"x"), b"\0" + zlib.compress(b"x" * 100)[:-2],
        b"\0" + zlib.compress(bytes(MOST + 1)), b"\4" + zlib.compress(bytes(1 << 26)),
    ],
)  # fmt: skip
def test_what_is_no_squeezed_piece_breaks_the_protocol(bad: bytes) -> None:
    with pytest.raises(ValueError, match="no squeezed piece"):
        squeezed.restore(bad, MOST)
    stream = io.BytesIO()
    protocol.write_frame(stream, b"Z", bad)
    stream.seek(0)
    with pytest.raises(protocol.ProtocolError, match=r"no squeezed piece|frame of"):
        list(protocol.read_blob(lambda: protocol.read_frame(stream), MOST + 1))


class Link(io.BytesIO):
    """Takes so many bytes a second, by a clock of its own."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.now = rate, 0.0

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        self.now += len(data) / self.rate
        return super().write(data)


@pytest.mark.parametrize(
    ("rate", "at_once", "squeezes"),
    [(SLOW / 2, False, True), (SLOW * 2, False, False), (SLOW * 2, True, True)],
)
def test_a_slow_link_is_noticed_and_only_it(rate: float, at_once: bool, squeezes: bool) -> None:
    link = Link(rate)
    pieces = Pieces(link, at_once=at_once, clock=lambda: link.now)
    sent = [pieces.send(WEIGHTS) for _ in range(20)]
    assert (sent[-1] < MOST) is squeezes
    assert sum(sent) == link.tell() - 20 * 5
    link.seek(0)
    blob = protocol.read_blob(lambda: protocol.read_frame(link), 20 * MOST)
    assert list(blob) == [WEIGHTS] * 20


def test_it_goes_back_when_the_link_is_fast_again() -> None:
    link = Link(SLOW / 10)
    pieces = Pieces(link, at_once=False, clock=lambda: link.now)
    for _ in range(20):
        pieces.send(WEIGHTS)
    link.rate = 1e12
    sent = [pieces.send(WEIGHTS) for _ in range(60)]
    assert sent[0] < MOST
    assert sent[-1] == MOST

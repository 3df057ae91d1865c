"""Pieces of content made smaller for a slow link, each by itself.

A squeezed piece is one byte, and a zlib stream (RFC 1950): of the piece as it is (0), or of its bytes by
their place in words of so many bytes (4). Weights are float32, whose exponents are alike and whose mantissas
are noise: side by side the former take little. The content's digest checks what comes of it.
"""

import zlib
from typing import Optional

WORD = 4
_PLAIN, _PLANES = b"\x00", bytes([WORD])


def squeeze(piece: bytes) -> Optional[bytes]:
    """The smaller of both ways; None where neither saves a thirty-second."""
    planes = b"".join(piece[place::WORD] for place in range(WORD))
    # Level 1 finds what repeats, in programs and text; in planes of weights nothing does, and looking costs.
    huffman = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)
    found = min(
        _PLAIN + zlib.compress(piece, 1), _PLANES + huffman.compress(planes) + huffman.flush(), key=len
    )
    return found if len(found) <= len(piece) - len(piece) // 32 else None


def restore(squeezed: bytes, most: int) -> bytes:
    """The piece again, of at most so many bytes. Raises ValueError."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(squeezed[1:], most + 1)
    except zlib.error as error:
        raise ValueError("no squeezed piece: %s" % error) from None
    if not inflater.eof or len(data) > most or squeezed[:1] not in (_PLAIN, _PLANES):
        raise ValueError("no squeezed piece: it is cut, too long or of another kind")
    if squeezed[:1] == _PLAIN:
        return data
    piece, start = bytearray(len(data)), 0
    for place in range(WORD):
        count = len(range(place, len(data), WORD))
        piece[place::WORD] = data[start : start + count]
        start += count
    return bytes(piece)

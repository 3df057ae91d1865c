"""Verifying Ed25519 signatures in plain Python (RFC 8032, section 5.1), for devices without ssh-keygen.

Verification alone: it touches no secret, so it need not take the same time for each input. Encodings are
taken only as RFC 8032 writes them: coordinates below p, S below the group's order. A public key of small
order, for which anybody can make signatures, is none.
"""

import hashlib
from typing import Optional, Tuple

Point = Tuple[int, int, int, int]
"""Extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, x*y = T/Z."""

KEY_BYTES, SIGNATURE_BYTES = 32, 64
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_NEUTRAL: Point = (0, 1, 1, 0)


def _add(a: Point, b: Point) -> Point:
    """RFC 8032, 5.1.4: complete, so it doubles as well."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % _P, (a[1] + a[0]) * (b[1] + b[0]) % _P
    g, h = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    i, j, k, m = f - e, h - g, h + g, f + e
    return (i * j % _P, k * m % _P, j * k % _P, i * m % _P)


def _multiply(scalar: int, point: Point) -> Point:
    result = _NEUTRAL
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _x_of(y: int, odd: int) -> Optional[int]:
    """The x with this lowest bit of the point with this y; None where there is none (5.1.3)."""
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if odd else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
    if (x * x - square) % _P:
        return None
    return _P - x if x & 1 != odd else x


def _decode(data: bytes) -> Optional[Point]:
    number = int.from_bytes(data, "little")
    y, odd = number & ((1 << 255) - 1), number >> 255
    x = _x_of(y, odd) if y < _P else None
    return None if x is None else (x, y, 1, x * y % _P)


def _encode(point: Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _base() -> Point:
    y = 4 * pow(5, _P - 2, _P) % _P
    x = _x_of(y, 0)
    assert x is not None
    return (x, y, 1, x * y % _P)


_BASE = _base()


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the 64 bytes are the signature of the message by the 32 bytes of public key."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key = _decode(public)
    if key is None or _encode(_multiply(8, key)) == _encode(_NEUTRAL):
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= _ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % _ORDER
    negative: Point = (-key[0] % _P, key[1], key[2], -key[3] % _P)
    return _encode(_add(_multiply(s, _BASE), _multiply(k, negative))) == r

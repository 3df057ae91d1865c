"""Multicast DNS: a responder on loopback, and packets that make no sense."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.transport import mdns


def name(text: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack("!2HIH", kind, 0x8001, 120, len(data)) + data


def response(*records: bytes, answers: int = 1, flags: int = 0x8400) -> bytes:
    return struct.pack("!6H", 0, flags, 0, answers, 0, len(records) - answers) + b"".join(records)


def board() -> bytes:
    """As avahi answers: names are given once, and pointed to after that."""
    head = record(name(mdns.SERVICE), mdns.PTR, b"\x05porch\xc0\x0c")
    instance = 12 + len(name(mdns.SERVICE)) + 10
    pointer = struct.pack("!H", 0xC000 | instance)
    srv = record(pointer, mdns.SRV, struct.pack("!3H", 0, 0, 2222) + name("porch.local"))
    return response(head, srv, record(name("porch.local"), mdns.A, socket.inet_aton("192.0.2.17")))


PORCH = mdns.Found(name="porch", host="porch.local", port=2222, address="192.0.2.17")


def test_an_answer_with_pointers() -> None:
    assert mdns.answers(board(), "127.0.0.1") == (PORCH,)


def test_what_is_no_answer() -> None:
    packet = board()
    assert mdns.answers(packet[:2] + b"\0\0" + packet[4:], "127.0.0.1") == ()  # a question
    assert mdns.answers(mdns.question(), "127.0.0.1") == ()
    looping = response(record(b"\xc0\x0c", mdns.PTR, b"\xc0\x0c"))
    assert mdns.answers(looping, "127.0.0.1") == ()
    other = response(record(name("_ipp._tcp.local"), mdns.PTR, name("printer._ipp._tcp.local")))
    assert mdns.answers(other, "127.0.0.1") == ()
    nowhere = response(record(name(mdns.SERVICE), mdns.PTR, name("porch." + mdns.SERVICE)))
    assert mdns.answers(nowhere, "127.0.0.1") == ()


def test_every_cut_of_a_packet() -> None:
    packet = board()
    for length in range(len(packet)):
        assert mdns.answers(packet[:length], "127.0.0.1") in ((), (PORCH,))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    mdns.answers(data, "127.0.0.1")
    mdns.answers(struct.pack("!6H", 0, 0x8400, 0, 3, 0, 0) + data, "127.0.0.1")


@pytest.fixture
def responder() -> Iterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)

        def answer() -> None:
            asked, sender = sock.recvfrom(9000)
            assert asked == mdns.question()
            sock.sendto(b"nonsense", sender)
            sock.sendto(board(), sender)
            sock.sendto(board(), sender)

        thread = threading.Thread(target=answer)
        thread.start()
        yield sock.getsockname()
        thread.join(10)


def test_a_board_is_heard(responder: tuple[str, int]) -> None:
    assert mdns.browse(0.5, responder) == (PORCH,)

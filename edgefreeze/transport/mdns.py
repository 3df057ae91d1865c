"""Hosts on the local network that say by multicast DNS that they offer SSH (RFC 6762, RFC 6763): avahi on a
board does so where it is told to publish `_ssh._tcp`. One question, and what comes back in a few seconds."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass

from edgefreeze.text import clean

SERVICE = "_ssh._tcp.local"
GROUP = ("224.0.0.251", 5353)
A, PTR, SRV = 1, 12, 33
_UNICAST_REPLY = 0x8001
"""Class IN, with the bit that asks for an answer to the port that asked (RFC 6762, 5.4)."""
_MOST_PACKETS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A host that offers SSH: its name as it says it, and where."""

    name: str
    host: str
    port: int
    address: str


def browse(seconds: float = 2.0, group: tuple[str, int] = GROUP) -> tuple[Found, ...]:
    """Ask, and listen for so long. Nothing where the network takes no such question."""
    found: dict[tuple[str, int], Found] = {}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.sendto(question(), group)
        deadline = time.monotonic() + seconds
        for _ in range(_MOST_PACKETS):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            sock.settimeout(left)
            packet, (sender, *_) = sock.recvfrom(9000)
            for entry in answers(packet, sender):
                found[entry.name, entry.port] = entry
    return tuple(sorted(found.values(), key=lambda entry: entry.name))


def question() -> bytes:
    """Who offers SSH? Pure."""
    return struct.pack("!6H", 0, 0, 1, 0, 0, 0) + _encoded(SERVICE) + struct.pack("!2H", PTR, _UNICAST_REPLY)


def answers(packet: bytes, sender: str) -> tuple[Found, ...]:
    """The hosts in a packet. Whatever makes no sense in it is left out. Pure."""
    try:
        records = _records(packet)
    except (IndexError, struct.error, ValueError, OSError):
        return ()
    offered = [str(value) for name, kind, value in records if kind == PTR and name == SERVICE]
    places = {name: value for name, kind, value in records if kind == SRV}
    addresses = {name: str(value) for name, kind, value in records if kind == A}
    found = []
    for instance in dict.fromkeys(offered):
        place = places.get(instance)
        if isinstance(place, tuple):
            host, port = place
            found.append(
                Found(
                    name=clean(instance.removesuffix("." + SERVICE), 63),
                    host=clean(host, 255),
                    port=port,
                    address=addresses.get(host, sender),
                )
            )
    return tuple(found)


Value = str | tuple[str, int] | None


def _records(packet: bytes) -> list[tuple[str, int, Value]]:
    """(name, type, value) of a response's records: PTR a name, SRV (host, port), A an address."""
    _, flags, questions, *counts = struct.unpack_from("!6H", packet)
    if not flags & 0x8000:
        raise ValueError("a question")
    at = 12
    for _ in range(questions):
        _, at = _name(packet, at)
        at += 4
    found: list[tuple[str, int, Value]] = []
    for _ in range(sum(counts)):
        name, at = _name(packet, at)
        kind, _, _, size = struct.unpack_from("!2HIH", packet, at)
        at += 10
        value: Value = None
        if kind == PTR:
            value = _name(packet, at)[0]
        elif kind == SRV:
            value = (_name(packet, at + 6)[0], struct.unpack_from("!H", packet, at + 4)[0])
        elif kind == A and size == 4:
            value = socket.inet_ntoa(packet[at : at + 4])
        found.append((name, kind, value))
        at += size
    return found


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """A name, and where what follows it begins. Pointers lead backwards only, so that they end."""
    labels: list[str] = []
    after, limit = 0, len(packet)
    while True:
        length = packet[at]
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | packet[at + 1]
            after = after or at + 2
            if target >= min(at, limit):
                raise ValueError("a pointer that does not lead backwards")
            at = limit = target
            continue
        at += 1
        if not length:
            return ".".join(labels), after or at
        label = packet[at : at + length]
        if len(label) < length:
            raise ValueError("a name that is cut")
        labels.append(label.decode("utf-8", "replace"))
        at += length


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"

"""One bit is wrong: in the manifest, on the way to the helper, in the packets, on the device's disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edgefreeze.transport import client

from . import connection
from .cases import Attempt, Case, Kind, impatient, shipped
from .server import DOWN, UP, Proxy
from .world import VARIANTS, Site, World, with_text

AT_RANDOM = 500
IN_PACKETS = 100


def flipped(data: bytes, offset: int, bit: int) -> bytes:
    """The data with one bit changed."""
    return data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :]


def _manifest_places(world: World) -> list[tuple[str, int]]:
    return [(str(offset), offset % 4) for offset in range(len(world.b.manifest_text))]


def _manifest_in_transit(case: Case, site: Site) -> Attempt:
    changed = flipped(site.world.b.manifest_text.encode(), int(case.place), case.random.randrange(8))
    failure = shipped(site, release=with_text(site.world.b, changed.decode("latin-1")))
    return Attempt(failure, struck=failure is not None)


def _manifest_at_rest(case: Case, site: Site) -> Attempt:
    """Of the release that is active (even seeds: of B, which is there as well)."""
    if case.seed % 2 == 0:
        site.ship()
        site.ship(site.world.a)
    release = site.world.b.id if case.seed % 2 == 0 else site.world.a.id
    file = site.app / "releases" / release / "manifest.json"
    data = file.read_bytes()
    _write(file, flipped(data, int(case.place) % len(data), case.random.randrange(8)))
    return Attempt(shipped(site))


def _write(file: Path, data: bytes) -> None:
    mode = file.stat().st_mode
    file.chmod(0o600)
    file.write_bytes(data)
    file.chmod(mode)


class _Counting:
    """A writer that flips one bit of what goes through it, and counts."""

    def __init__(self, inner: BinaryIO, offset: int, bit: int) -> None:
        self.inner, self.offset, self.bit, self.count, self.struck = inner, offset, bit, 0, False

    def write(self, data: bytes) -> int:
        left = self.offset - self.count
        self.count += len(data)
        if 0 <= left < len(data):
            self.struck = True
            data = flipped(bytes(data), left, self.bit)
        return self.inner.write(data)

    def flush(self) -> None:
        self.inner.flush()


@contextlib.contextmanager
def wired(offset: int, bit: int) -> Iterator[list[_Counting]]:
    """Streams that are greeted in here write through _Counting."""
    made: list[_Counting] = []
    greet = client.greet

    def greeted(stream: Any, **how: Any) -> Any:
        made.append(_Counting(stream.writer, offset, bit))
        stream.writer = made[-1]
        return greet(stream, **how)

    client.greet = greeted
    try:
        yield made
    finally:
        client.greet = greet


def plain_bytes(world: World) -> dict[str, int]:
    """How many bytes go to the device before they are encrypted, by variant."""
    if "plain" not in world.counts:
        found = {}
        for variant in VARIANTS:
            folder = world.folder / f"plain-{variant.name}"
            shutil.copytree(world.base(variant), folder / "device", symlinks=True)
            with wired(-1, 0) as made:
                Site(world, variant, folder / "device").ship()
            found[variant.name] = made[0].count
            shutil.rmtree(folder)
        world.counts["plain"] = found
    return world.counts["plain"]  # type: ignore[no-any-return]


def _transit_places(world: World) -> list[tuple[str, int]]:
    plain_bytes(world)
    return [(str(number), number % 4) for number in range(AT_RANDOM)]


def _in_transit(case: Case, site: Site) -> Attempt:
    dice = case.random
    offset = dice.randrange(plain_bytes(site.world)[site.variant.name])
    with impatient(site), wired(offset, dice.randrange(8)) as made:
        failure = shipped(site)
    return Attempt(failure, struck=bool(made) and made[0].struck)


def _packet_places(world: World) -> list[tuple[str, int]]:
    connection.lengths(world)
    return [(f"{way}/{number}", number % 4) for way in (UP, DOWN) for number in range(IN_PACKETS)]


def _in_packets(case: Case, site: Site) -> Attempt:
    direction, dice = case.place.partition("/")[0], case.random
    offset = dice.randrange(connection.lengths(site.world)[site.variant.name][direction])
    assert site.world.server is not None
    proxy = Proxy(site.world.server.port, direction, offset, "flip", dice.randrange(8))
    connection.through(site, proxy)
    with impatient(site):
        failure = shipped(site)
    proxy.close()
    return Attempt(failure, struck=proxy.struck)


def _rest_places(world: World) -> list[tuple[str, int]]:
    return [(f"{what}/{number}", number % 8) for what in ("first", "second") for number in range(AT_RANDOM)]


def _at_rest(case: Case, site: Site) -> Attempt:
    """A bit of any file of the device. second: B is there already, and A was shipped after it."""
    if case.place.startswith("second"):
        site.ship()
        site.ship(site.world.a)
    dice = case.random
    files = sorted(p for p in site.root.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_size)
    file = dice.choice([p for p in files if "helper" not in p.parts or dice.random() < 0.2] or files)
    inode = file.stat().st_ino
    site.excused = {p.relative_to(site.root).as_posix() for p in files if p.stat().st_ino == inode}
    data = file.read_bytes()
    _write(file, flipped(data, dice.randrange(len(data)), dice.randrange(8)))
    return Attempt(shipped(site), told=file.relative_to(site.root).as_posix())


KINDS = [
    Kind("manifest-in-transit", _manifest_places, _manifest_in_transit),
    Kind("manifest-at-rest", _manifest_places, _manifest_at_rest),
    Kind("bit-in-transit", _transit_places, _in_transit),
    Kind("bit-in-packets", _packet_places, _in_packets, connection.lacks),
    Kind("bit-at-rest", _rest_places, _at_rest),
]

"""All kinds of faults."""

from . import connection, death, filesystems, flips, link, misbehaviour, surroundings, syscalls
from .cases import Kind

KINDS: list[Kind] = [
    *syscalls.KINDS,
    *connection.KINDS,
    *link.KINDS,
    *death.KINDS,
    *flips.KINDS,
    *filesystems.KINDS,
    *surroundings.KINDS,
    *misbehaviour.KINDS,
]

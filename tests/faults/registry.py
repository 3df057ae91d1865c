"""All kinds of faults."""

from . import connection, filesystems, flips, misbehaviour, surroundings, syscalls
from .cases import Kind

KINDS: list[Kind] = [
    *syscalls.KINDS,
    *connection.KINDS,
    *flips.KINDS,
    *filesystems.KINDS,
    *surroundings.KINDS,
    *misbehaviour.KINDS,
]

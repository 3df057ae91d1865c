"""All kinds of faults."""

from . import connection, flips, syscalls
from .cases import Kind

KINDS: list[Kind] = [*syscalls.KINDS, *connection.KINDS, *flips.KINDS]

"""How much memory was used at most, and giving it back to the system between two large steps."""

from __future__ import annotations

import ctypes
import gc
import resource


def give_back() -> None:
    """Collect garbage, and have the C library return what it holds free. Only glibc keeps much."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak() -> int:
    """The most bytes that this process, or one that it started and waited for, had in memory."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) * 1024

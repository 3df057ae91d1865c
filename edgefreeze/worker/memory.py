"""Giving memory back to the system between two large steps."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collect garbage, and have the C library return what it holds free. Only glibc keeps much."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

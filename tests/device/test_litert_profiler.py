"""LiteRT's profiler: which versions have it, and what is an operation among its events."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefreeze.device import litert_profiler


def test_a_loop_is_one_operation_and_its_body_is_not_told_again() -> None:
    """Events as LiteRT 2.3.0 kept them of a model with a while_loop between two layers of XNNPACK."""
    body = [(b"Invoke", 1, 22), (b"ADD", 2, 1), (b"TanH (NC)", 8, 3), (b"Invoke", 32, 4294967296)]
    events = [
        (b"LiteRT::Run[buffer registration]", 1, 87),
        (b"Invoke", 1, 514),
        (b"Fully Connected (NC, F32) GEMM", 8, 5),
        (b"WHILE", 2, 489),
        (b"AllocateTensors", 1, 21),
        *body,
        *body,
        (b"Softmax (NC, F32)", 8, 2),
        (b"Invoke", 32, 4294967296),
        (b"LiteRT::Run[Buffer sync]", 1, 18),
    ]
    assert litert_profiler.operations(events) == [
        ("Fully Connected (NC, F32) GEMM", 5), ("WHILE", 489), ("Softmax (NC, F32)", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("version", "has"), [("2.1.6", False), ("2.2.0", True), ("3.0", True), ("?", False)])
def test_the_versions_that_have_it(tmp_path: Path, version: str, has: bool) -> None:
    (tmp_path / "libLiteRt.so").touch()
    if has:
        assert litert_profiler.library(str(tmp_path), version) == str(tmp_path / "libLiteRt.so")
        (tmp_path / "libLiteRt.so").unlink()
    with pytest.raises(LookupError, match="no profile by operation in LiteRT"):
        litert_profiler.library(str(tmp_path), version)

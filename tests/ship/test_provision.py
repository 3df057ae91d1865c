"""A runtime is brought at the rate that was asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgefreeze import targets
from edgefreeze.progress import Silent
from edgefreeze.ship import provision
from edgefreeze.transport.client import Upload
from tests.doctor.conftest import FACTS
from tests.faults.world import write_tree


class Device:
    """What is asked of a helper, and answered as one that has nothing."""

    where = "board"

    def __init__(self, lacks: bool) -> None:
        self.lacks, self.rates, self.sent = lacks, list[int | None](), 0

    def request(self, op: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        if op == "missing":
            assert args is not None
            return {"missing": [sha256 for sha256, _ in args["digests"]] if self.lacks else []}
        return {"present": False}

    def put(self, uploads: Iterable[Upload], on_bytes: Callable[[int], None], rate: int | None = None) -> int:
        self.rates.append(rate)
        self.sent = sum(upload.bytes for upload in uploads)
        return self.sent


@pytest.mark.parametrize("rate", [None, 200_000])
def test_the_rate_is_heeded(tmp_path: Path, rate: int | None) -> None:
    plan, device = write_tree(tmp_path / "tree"), Device(lacks=True)
    plan = replace(plan, choice=replace(plan.choice, requirement=("ai-edge-litert==2.3.0",)))
    sent = provision.bring(device, plan, FACTS, targets.load("pi4"), Silent(), rate)  # type: ignore[arg-type]
    assert device.rates == [rate]
    assert plan.tree is not None
    assert sent == device.sent == plan.tree.bytes

"""All is durable before it is named, told or switched to; and each fsync and each rename is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import mutations

pytestmark = pytest.mark.process


def test_nothing_volatile_is_ever_named_told_or_switched_to(tmp_path: Path) -> None:
    requests = mutations.write_requests(tmp_path)
    (tmp_path / "it").mkdir()
    assert mutations.judge(tmp_path / "it", requests, None) is None


@pytest.mark.timeout(300)
def test_every_fsync_and_every_rename_is_needed(tmp_path: Path) -> None:
    left, noticed = mutations.survivors(tmp_path)
    assert not left, [mutant.name for mutant in left]
    assert len(noticed) >= 30

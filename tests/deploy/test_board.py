"""Adding a board takes one file: one in a temporary folder is deployed to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Result

pytestmark = pytest.mark.tf
Run = Callable[..., Result]

BOARD = """
summary = "A box in a cabinet"
transport = "local"

[match]
machine = ["x86_64"]

[[formats]]
format = "tflite"

[limits]
keep_free_mb = 1
"""


def test_a_board_of_ones_own_is_deployed_to(
    small: Path, device: Path, edgefreeze_: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "cabinet.toml").write_text(BOARD)
    where = ("--target", "cabinet", "--targets", folder)
    result = edgefreeze_("deploy", small / "small_a", "--app", "demo", "--no-bench", "--json", *where)
    assert result.status == 0, result.out
    document = result.json
    assert document["target"] == "cabinet"
    assert document["active"] == document["release"]
    assert [t["format"] for t in document["selftest"] if t["ok"]] == ["tflite"]
    assert (device / "apps" / "demo" / "current" / "model.tflite").is_file()


def test_a_board_on_top_of_a_shipped_one_and_a_device_with_a_value_of_its_own(
    small: Path, device: Path, edgefreeze_: Run, prebuilt: None, tmp_path: Path
) -> None:
    Path("boards").mkdir()
    Path("boards/cabinet.toml").write_text(
        'extends = "x86"\nsummary = "A box"\n[limits]\nkeep_releases = 2\n'
    )
    Path("edgefreeze.toml").write_text(
        f'targets = "boards"\n[devices.box]\ntarget = "cabinet"\ntransport = "local"\nroot = "{tmp_path}/box"\n'
        "[devices.box.limits]\nkeep_free_mb = 900000000\n"
    )
    deploy = ("deploy", small / "small_a", "--app", "demo", "--format", "tflite", "--no-bench", "--json")
    result = edgefreeze_(*deploy, "--host", "box")
    assert (result.status, result.json["error"]["code"]) == (1, "disk-space"), result.out
    assert "900000000 MB reserve" in result.json["error"]["expected"]
    # The target itself asks for less.
    Path("edgefreeze.toml").write_text('targets = "boards"\n')
    done = edgefreeze_(*deploy, "--target", "cabinet")
    assert (done.status, done.json["target"]) == (0, "cabinet"), done.out

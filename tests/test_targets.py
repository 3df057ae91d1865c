"""Targets are data: found by file name, validated, matched against a probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefreeze import targets
from edgefreeze.errors import Failure

MINE = 'summary = "mine"\n[match]\nmachine = ["aarch64"]\nboard = ["Foo"]\n[[formats]]\nformat = "tflite"\n'


@pytest.mark.parametrize("name", sorted(targets.names()))
def test_every_target_that_is_shipped_is_valid(name: str) -> None:
    target = targets.load(name)
    assert target.name == name
    assert target.summary
    assert len({f.format for f in target.formats}) == len(target.formats)


def test_the_three_boards_are_there() -> None:
    assert {"x86", "pi4", "jetson-orin"} <= set(targets.names())


def test_an_unknown_target_offers_the_nearest() -> None:
    with pytest.raises(Failure) as caught:
        targets.load("pi-4")
    assert caught.value.code == "target-unknown"
    assert "did you mean 'pi4'" in caught.value.message
    assert caught.value.next == "edgefreeze targets show pi4"


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "x86.toml").write_text(MINE)
    (tmp_path / "foo.toml").write_text(MINE)
    (tmp_path / "not a name.toml").write_text("garbage")
    known = targets.names((tmp_path,))
    assert known["x86"] == tmp_path / "x86.toml"
    assert targets.load("foo", (tmp_path,)).summary == "mine"
    assert "not a name" not in known


def test_the_architecture_must_fit_and_the_board_should(tmp_path: Path) -> None:
    (tmp_path / "foo.toml").write_text(MINE)
    target = targets.load("foo", (tmp_path,))
    assert target.mismatches("aarch64", "The foo board", None) == (None, ())
    fatal, _ = target.mismatches("x86_64", None, None)
    assert fatal == "architecture x86_64; target 'foo' is for aarch64"
    fatal, warnings = target.mismatches("aarch64", "Bar", None)
    assert fatal is None
    assert warnings == ("the board is 'Bar'; target 'foo' expects Foo",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            MINE.replace('[[formats]]\nformat = "tflite"\n', "formats = []\n").replace("[match]", ""),
            "no [[formats]]",
        ),
        (MINE.replace('["aarch64"]', "[]"), "match.machine is empty"),
        ('python = "python3; rm -rf /"\n' + MINE, "not a plain path"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, says: str) -> None:
    if "formats = []" in text:
        text = 'summary = "mine"\nformats = []\n[match]\nmachine = ["aarch64"]\n'
    (tmp_path / "foo.toml").write_text(text)
    with pytest.raises(Failure) as caught:
        targets.load("foo", (tmp_path,))
    assert says in caught.value.message

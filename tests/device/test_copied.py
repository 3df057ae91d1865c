"""A bit that flips in a small file is put right from its copy; what somebody changed stays changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefreeze.device.copied import NAME, Copied

ONE, TWO = b'{"cam": 1764500000}\n', b"signer ssh-ed25519 AAAA me\nsigner ssh-ed25519 BBBB you\xff\n"


@pytest.fixture
def kept(tmp_path: Path) -> Copied:
    found = Copied(str(tmp_path), ("one", "two"))
    found.write("one", ONE)
    found.write("two", TWO)
    return found


def flip(path: Path, offset: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def test_every_single_bit_of_every_file_may_flip(kept: Copied, tmp_path: Path) -> None:
    for name in ("one", "two", NAME):
        whole = (tmp_path / name).read_bytes()
        for offset in range(len(whole)):
            for bit in range(8):
                flip(tmp_path / name, offset, bit)
                assert (kept.read("one"), kept.read("two")) == (ONE, TWO), (name, offset, bit)
                assert kept.mend() == ([] if name == NAME else [name])
                (tmp_path / name).write_bytes(whole)


def test_what_was_mended_is_on_the_disk(kept: Copied, tmp_path: Path) -> None:
    flip(tmp_path / "two", 30, 2)
    assert kept.mend() == ["two"]
    assert (tmp_path / "two").read_bytes() == TWO
    assert kept.mend() == []


@pytest.mark.parametrize(
    "changed",
    [b"", TWO[:27], b"#" + TWO[1:], TWO + b"more\n", TWO.replace(b"AAAA", b"BBBB")],
    ids=["emptied", "a line removed", "commented out", "a line added", "another key"],
)
def test_what_somebody_changes_counts(kept: Copied, tmp_path: Path, changed: bytes) -> None:
    (tmp_path / "two").write_bytes(changed)
    assert kept.read("two") == changed
    assert kept.mend() == []
    kept.write("one", b"new")  # and is copied from now on
    if changed:
        flip(tmp_path / "two", 0, 0)
    assert kept.read("two") == changed


def test_a_file_that_is_gone_is_gone(kept: Copied, tmp_path: Path) -> None:
    (tmp_path / "two").unlink()
    with pytest.raises(FileNotFoundError):
        kept.read("two")
    assert kept.mend() == []
    kept.write("one", b"new")
    assert set(json.loads((tmp_path / NAME).read_text())["files"]) == {"one"}


def test_what_was_cut_after_the_copy_is_as_if_nothing_was_written(kept: Copied, tmp_path: Path) -> None:
    copies = (tmp_path / NAME).read_bytes()
    kept.write("two", TWO + b"signer ssh-ed25519 CCCC they\n")
    (tmp_path / "two").write_bytes(TWO)
    assert kept.read("two") == TWO
    (tmp_path / NAME).write_bytes(copies)
    assert kept.read("two") == TWO


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 2}', '{"schema":1,"files":{"two":"\\ud800"},"sha256":""}']
)
def test_copies_that_cannot_be_read_are_none(kept: Copied, tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    flip(tmp_path / "one", 3, 1)
    assert kept.read("one") != ONE
    kept.write("two", TWO)
    assert kept.mend() == []

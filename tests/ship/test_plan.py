"""What a ship brings: only what is missing, each content once, and only where it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefreeze.errors import Failure
from edgefreeze.release.manifest import Content, Release
from edgefreeze.runtimes import Choice, Tree, TreeFile
from edgefreeze.ship.plan import RuntimePlan, binding, check_room, check_space, plan
from edgefreeze.types import DeviceFacts

FACTS = DeviceFacts(
    machine="aarch64", python="3.11.2", python_executable="/usr/bin/python3", libc="glibc 2.36",
    platform="linux-aarch64", bits=64, disk_free_bytes=10**9, disk_free_inodes=10**6,
)  # fmt: skip


def content(letter: str, count: int) -> Content:
    return Content(sha256=letter * 64, bytes=count, source=Path(letter))


RELEASE = Release(
    id="f" * 64, manifest={}, manifest_text="", envelope_text="", folder=Path(), artifacts=(),
    contents=(content("a", 100), content("b", 50)),
)  # fmt: skip
TREE = Tree(
    id="e" * 64, runtime="litert", folder=Path("/t"), packages={},
    files=(
        TreeFile(path="x.py", sha256="c" * 64, bytes=7, executable=False),
        TreeFile(path="y.py", sha256="c" * 64, bytes=7, executable=False),
        TreeFile(path="same-as-a", sha256="a" * 64, bytes=100, executable=False),
    ),
)  # fmt: skip
SHIPPED = RuntimePlan(choice=Choice(runtime="litert", own=None, package=None), tree=TREE)
OWN = RuntimePlan(choice=Choice(runtime="tensorflow", own="tensorflow 2.21", package=None), tree=None)


def test_each_content_counts_once_and_only_the_missing_is_brought() -> None:
    ship = plan(RELEASE, (SHIPPED, OWN), frozenset({"b" * 64, "c" * 64, "d" * 64}))
    assert [c.sha256[0] for c in ship.bring] == ["b", "c"]
    assert (ship.bytes_total, ship.bytes_needed, ship.bytes_saved) == (157, 57, 100)


def test_what_broke_off_is_resumed_and_counts_as_there() -> None:
    lacking = frozenset({"b" * 64, "c" * 64})
    ship = plan(RELEASE, (SHIPPED, OWN), lacking, {"b" * 64: 20, "c" * 64: 0, "f" * 64: 9})
    assert ship.offsets == {"b" * 64: 20}
    assert (ship.bytes_needed, ship.bytes_saved) == (37, 120)
    # What a device says of more than there is, is not believed.
    assert plan(RELEASE, (), lacking, {"b" * 64: 10**9}).bytes_needed == 0


def test_the_binding_names_trees_and_the_devices_own() -> None:
    runner = {"tf_frozen": "tensorflow", "tflite": "litert", "onnxruntime": "onnxruntime"}
    assert binding(FACTS, (SHIPPED, OWN), runner) == {
        "python": "/usr/bin/python3",
        "runtimes": {"tf_frozen": {"tree": None}, "tflite": {"tree": "e" * 64}},
    }


def test_space_and_inodes_are_checked_before_anything_is_sent() -> None:
    ship = plan(RELEASE, (SHIPPED,), frozenset({"a" * 64}))
    check_space(ship, FACTS, 64, "cam1")
    check_space(ship, replace(FACTS, disk_free_bytes=None, disk_free_inodes=0), 64, "cam1")
    with pytest.raises(Failure) as caught:
        check_space(ship, replace(FACTS, disk_free_bytes=64_000_000), 64, "cam1")
    assert caught.value.code == "disk-space"
    assert caught.value.found == "64.0 MB free"
    with pytest.raises(Failure, match="too few inodes"):
        check_space(ship, replace(FACTS, disk_free_inodes=3), 64, "cam1")


def test_the_space_is_of_whole_blocks_with_the_reserve_and_just_enough_is_enough() -> None:
    """Blocks of 4 KiB: 4096 bytes take one, 4097 two."""
    bring = [content("a", 4096), content("b", 4097), content("c", 1)]
    needed = 4 * 4096 + 64_000_000
    check_room(bring, replace(FACTS, disk_free_bytes=needed), 64, "cam1")
    with pytest.raises(Failure) as caught:
        check_room(bring, replace(FACTS, disk_free_bytes=needed - 4097), 64, "cam1", {"a" * 64: 4000})
    failure = caught.value
    assert (failure.code, failure.retry_safe) == ("disk-space", True)
    assert failure.message == "cam1: too little space on the device"
    assert failure.expected == "64.0 MB free (4.2 kB to bring, 64 MB reserve)"
    assert failure.device_state == "unchanged: nothing has been sent"
    check_room([], replace(FACTS, disk_free_bytes=0), 0, "cam1")


def test_each_file_takes_an_inode_and_folders_some_more() -> None:
    """A quarter on top for folders, and 64 for what edgefreeze keeps itself."""
    bring = [content(letter, 1) for letter in "abcdefgh"]
    check_room(bring, replace(FACTS, disk_free_inodes=8 + 2 + 64), 0, "cam1")
    with pytest.raises(Failure) as caught:
        check_room(bring, replace(FACTS, disk_free_inodes=8 + 2 + 64 - 1), 0, "cam1")
    assert (caught.value.expected, caught.value.found) == ("74 free", "73 free")
    assert caught.value.retry_safe is True
    # Some file systems (btrfs) have no number of inodes, and say 0.
    for unknown in (0, None):
        check_room(bring, replace(FACTS, disk_free_inodes=unknown), 0, "cam1")
    with pytest.raises(Failure):
        check_room([], replace(FACTS, disk_free_inodes=1), 0, "cam1")


def test_a_resume_that_fits_is_not_refused() -> None:
    """What an earlier try left has its blocks already; the last of them may be a part of one."""
    big = replace(RELEASE, contents=(content("a", 10 * 4096), content("b", 1)))
    ship = plan(big, (), frozenset({"a" * 64, "b" * 64}), {"a" * 64: 6 * 4096 + 1})
    needed = (10 - 7 + 1) * 4096
    check_space(ship, replace(FACTS, disk_free_bytes=needed), 0, "cam1")
    with pytest.raises(Failure) as caught:
        check_space(ship, replace(FACTS, disk_free_bytes=needed - 1), 0, "cam1")
    assert caught.value.expected == "16.4 kB free (16.4 kB to bring, 0 MB reserve)"


def test_the_trees_files_are_brought_from_its_folder_and_the_releases_come_first() -> None:
    ship = plan(RELEASE, (SHIPPED,), frozenset({"a" * 64, "b" * 64, "c" * 64}))
    assert [str(c.source) for c in ship.bring] == ["a", "b", "/t/x.py"]

"""What a ship brings: only what is missing, each content once, and only where it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefreeze.errors import Failure
from edgefreeze.release.manifest import Content, Release
from edgefreeze.runtimes import Choice, Tree, TreeFile
from edgefreeze.ship.plan import RuntimePlan, binding, check_space, plan
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

"""What broken ships found, one by one, without the machinery around a case."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.errors import Failure
from edgefreeze.transport.client import Helper

from . import check
from .cases import linking_copy
from .flips import flipped
from .world import Site, Variant, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World.make(tmp_path_factory.mktemp("found") / "world", server=False)
    yield made
    made.close()


@pytest.fixture
def site(world: World, tmp_path: Path) -> Site:
    variant = Variant.of(0)
    shutil.copytree(world.base(variant), tmp_path / "device", symlinks=True, copy_function=linking_copy())
    return Site(world, variant, tmp_path / "device")


def damage(file: Path) -> None:
    file.chmod(0o600)
    file.write_bytes(flipped(file.read_bytes(), 5, 1))


def test_a_runtime_that_is_damaged_on_the_disk_is_brought_anew(site: Site) -> None:
    assert site.world.plan.tree is not None
    damage(site.root / "runtimes" / site.world.plan.tree.id / "numpy/__init__.py")
    with pytest.raises(Failure) as caught:
        site.ship()
    assert caught.value.code == "selftest-failed"
    assert "the runtime was damaged on the disk (numpy/__init__.py)" in (caught.value.found or "")
    site.ship()
    check.converged(site)


def test_what_is_active_already_takes_one_round_trip_and_its_self_test_is_on_record(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = site.ship().selftest
    asked: list[str] = []
    request, requests = Helper.request, Helper.requests

    def one(self: Helper, op: str, *args: Any, **how: Any) -> dict[str, Any]:
        asked.append(op)
        return request(self, op, *args, **how)

    def several(self: Helper, asks: Any, *args: Any, **how: Any) -> list[dict[str, Any] | None]:
        asked.append("+".join(ask.op for ask in asks))
        return requests(self, asks, *args, **how)

    monkeypatch.setattr(Helper, "request", one)
    monkeypatch.setattr(Helper, "requests", several)
    again = site.ship()
    assert asked == ["probe", "open_app+has_tree+missing+stage+selftest+activate+prune"]
    assert (again.bytes_sent, again.bytes_saved) == (0, again.bytes_total)
    assert again.selftest == tested
    assert (again.active, again.previous) == (site.world.b.id, site.world.a.id)
    check.converged(site)


def test_a_ship_of_what_is_active_already_mends_it(site: Site) -> None:
    site.ship()
    damage(site.app / "releases" / site.world.b.id / "model.tflite")
    with pytest.raises(Failure) as caught:
        site.ship()
    assert caught.value.code == "digest-mismatch"
    site.ship()
    check.converged(site)

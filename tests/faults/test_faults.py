"""A sample of all cases, with a seed; and what cases found before, one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import filesystems, registry, running
from .cases import Case
from .world import World

SAMPLE = int(os.environ.get("EDGEFREEZE_FAULTS", "300"))
SEED = int(os.environ.get("EDGEFREEZE_FAULTS_SEED", "6"))

FOUND = (
    "connection:reset/up/3:3",  # paramiko's EOFError came through
    "connection:hole/up/9:1",  # a handshake without an end raised nothing at its timeout
    "connection:hole/down/240:2",  # a commit was waited for for ten minutes
    "bit-in-packets:down/21:1",  # whatever paramiko's reader raised of a garbled packet came through
    "bit-in-packets:down/26:2",
    "manifest-at-rest:338:2",  # a manifest of the right size with a wrong bit was never mended
    "call-failed:ship/mkdir/ENOSPC/6:3",  # an error before the app was opened did not name the state
    "helper-killed:install/rename/1:0",  # a file on its way to its name was left in trust/
    "no-inodes:2:2",
    "helper-killed:install/fsync/5:0",  # a signer was enrolled, and no log said so
    "crowd:14:2",  # one bootstrap removed what another was just writing
    "dead-man:stopped:0",
)
"""Cases that failed once."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World.make(tmp_path_factory.mktemp("faults") / "world")
    yield made
    made.close()
    filesystems.forget(made)


@pytest.mark.sshd
@pytest.mark.timeout(900)
def test_whatever_breaks_current_is_whole_and_the_next_ship_converges(world: World, tmp_path: Path) -> None:
    lacking = [f"{kind.name}: {reason}" for kind in registry.KINDS if (reason := kind.lacks())]
    if os.environ.get("EDGEFREEZE_LAB") == "required":
        needed = {"helper-killed", "call-failed", "connection", "client-killed"}
        assert not needed & {line.partition(":")[0] for line in lacking}, lacking
    every = running.plan(world, registry.KINDS)
    here = {case.kind for case in every}
    found = [case for case in map(Case.parse, FOUND) if case.kind in here]
    cases = list(dict.fromkeys([*found, *running.sample(every, SAMPLE - len(found), SEED)]))
    results = list(running.run_all(world, cases, 2 * (os.cpu_count() or 1), tmp_path))
    print(f"{len(cases)} of {len(every)} cases, seed {SEED}", *running.summary(results), *lacking, sep="\n")
    failed = [f"{result.case.id}: {result.message}" for result in results if not result.ok]
    assert not failed, "\n".join(failed[:5])
    assert sum(result.struck for result in results) >= 0.97 * len(cases), "too many faults did not take place"
    assert {result.case.kind for result in results if result.struck} == here


def test_there_are_thousands_of_cases(world: World) -> None:
    every = running.plan(world, registry.KINDS)
    assert len(set(every)) == len(every)
    lacks = {kind.name for kind in registry.KINDS if kind.lacks()}
    # Without one of the three with more than a thousand each there are fewer.
    assert len(every) >= 4000 or lacks & {"call-failed", "helper-killed", "connection"}

"""Many cases at once: which, in how many processes, what was found, what is left to do."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import filesystems, registry
from .cases import Case, Kind, Result, run
from .world import World

_world: World
_kinds: dict[str, Kind]


def plan(world: World, kinds: Iterable[Kind]) -> list[Case]:
    """All cases that can be made on this machine, in an order that says nothing."""
    return [Case(k.name, place, seed) for k in kinds if not k.lacks() for place, seed in k.places(world)]


def sample(cases: list[Case], count: int, seed: int) -> list[Case]:
    """`count` cases, of each kind by the share of its square root, so that none is left out.

    Which are drawn hangs on each case alone: a plan that is longer on another machine, where a Python opens more
    files, draws the same of those that both have.
    """
    by_kind: dict[str, list[Case]] = {}
    for case in cases:
        by_kind.setdefault(case.kind, []).append(case)
    weights = {kind: len(found) ** 0.5 for kind, found in by_kind.items()}
    chosen = []
    for kind, found in by_kind.items():
        share = max(1, round(count * weights[kind] / sum(weights.values())))
        chosen += sorted(found, key=lambda case: hashlib.sha256(f"{seed} {case.id}".encode()).digest())[
            :share
        ]
    return chosen


def run_all(world: World, cases: list[Case], jobs: int, scratch: Path) -> Iterator[Result]:
    """Run cases in so many processes; results as they come."""
    global _world, _kinds
    _world, _kinds = world, {kind.name: kind for kind in registry.KINDS}
    # Threads of whoever runs the tests do not live on in a fork; from Python 3.12 on that is warned of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=50) as pool:
            yield from pool.imap_unordered(_run_one, [(case, scratch) for case in cases])


def _run_one(given: tuple[Case, Path]) -> Result:
    case, scratch = given
    return run(_world, _kinds[case.kind], case, scratch)


def summary(results: Iterable[Result]) -> list[str]:
    """Lines of a table: by kind how many cases, failures, what ran afterwards, errors."""
    by_kind: dict[str, list[Result]] = {}
    for result in results:
        by_kind.setdefault(result.case.kind, []).append(result)
    lines = []
    for kind, found in sorted(by_kind.items()):
        real = [r for r in found if r.struck]
        ran = Counter(r.active for r in real)
        codes = Counter(r.code or "none" for r in real)
        often = ", ".join(f"{code} {count}" for code, count in codes.most_common(6))
        lines.append(
            f"{kind:18s} {len(real):5d} cases, {sum(not r.ok for r in found):3d} failed, "
            f"{len(found) - len(real):3d} did not strike; ran A {ran['A']}, B {ran['B']}; errors: {often}"
        )
    return lines


def main(arguments: list[str]) -> int:
    """The command line; 0 where every case held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kinds", help="only these, with commas between")
    parser.add_argument("--shard", default="1/1", help="I/N: every N-th case, from the I-th")
    parser.add_argument("--sample", type=int, help="so many cases, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--results", type=Path, help="a line for each case; those in it are not run again")
    parser.add_argument("--case", action="append", default=[], help="this one, by its id")
    parser.add_argument("--list", action="store_true", help="say which cases there are, and end")
    given = parser.parse_args(arguments)
    wanted = given.kinds.split(",") if given.kinds else [kind.name for kind in registry.KINDS]
    if unknown := set(wanted) - {kind.name for kind in registry.KINDS}:
        parser.error(f"no such kinds: {', '.join(sorted(unknown))}")
    kinds = [kind for kind in registry.KINDS if kind.name in wanted]
    for kind in kinds:
        if reason := kind.lacks():
            print(f"{kind.name:18s} cannot be made here: {reason}")
    scratch = Path(tempfile.mkdtemp(prefix="edgefreeze-faults-"))
    world = World.make(scratch / "world")
    try:
        return _report(world, kinds, given, scratch)
    finally:
        world.close()
        filesystems.forget(world)
        shutil.rmtree(scratch, ignore_errors=True)


def _report(world: World, kinds: list[Kind], given: argparse.Namespace, scratch: Path) -> int:
    cases = [Case.parse(text) for text in given.case]
    every = plan(world, kinds if not cases else [k for k in kinds if k.name in {c.kind for c in cases}])
    cases = cases or every
    if given.sample:
        cases = sample(cases, given.sample, given.seed)
    random.Random(given.seed).shuffle(cases)
    index, _, parts = given.shard.partition("/")
    cases = cases[int(index) - 1 :: int(parts)]
    if given.list:
        print(*(case.id for case in sorted(cases)), sep="\n")
        return 0
    done = _read(given.results)
    left = [case for case in cases if case.id not in done]
    print(
        f"{len(cases)} cases, seed {given.seed}, shard {given.shard}; {len(cases) - len(left)} are done",
        flush=True,
    )
    results = [done[case.id] for case in cases if case.id in done]
    started = last = time.monotonic()
    for result in run_all(world, left, given.jobs, scratch):
        results.append(result)
        if given.results:
            with given.results.open("a") as file:
                file.write(json.dumps(result.as_dict()) + "\n")
        if not result.ok:
            print(f"FAILED {result.case.id}\n  {result.message}", flush=True)
        if time.monotonic() - last > 30:
            last = time.monotonic()
            print(f"{len(results)} of {len(cases)} after {last - started:.0f} s", flush=True)
    print(*summary(results), sep="\n")
    failed = [result for result in results if not result.ok]
    struck = sum(result.struck for result in results)
    print(
        f"{struck} cases held or failed, {len(failed)} failed, {len(results) - struck} did not strike;"
        f" seed {given.seed}, shard {given.shard}, {time.monotonic() - started:.0f} s"
    )
    return 1 if failed else 0


def _read(file: Path | None) -> dict[str, Result]:
    if file is None or not file.exists():
        return {}
    found = {}
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off while it was written
        case = Case.parse(row.pop("case"))
        if row["ok"]:  # what failed is run again
            found[case.id] = Result(case=case, **row)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

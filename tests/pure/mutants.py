"""Mutants of the pure modules: a small change of a module must be noticed by the module's own tests.

python -m tests.pure.mutants [MODULE…] [--limit N] [--seed N] [--jobs N] [--results FILE] [--list] [--keep]

Of each module `--limit` mutants are drawn with `--seed` (0: all are tried). Each is tried in a process of its
own, forked from one that has imported what the tests need. What was found is kept in `--results`: a mutant that
was noticed stays so while the module is the same, one that was not is tried again when the module's tests have
changed. `--keep` writes the figures to results.json, for docs/testing.md. Exits with 1 where less than LEAST percent of a module's mutants are noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tests.pure import modules
from tests.pure.mutating import Mutant, mutants, mutated

LEAST = 80.0
KEPT = Path(__file__).parent / "results.json"
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"
NOTICED = {KILLED, TIMEOUT}
ALONE_S = 120.0
"""For a module's tests with nothing changed; a mutant has five times what they took, and as many seconds."""


class Changed(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module with a change in it, and leaves the others to the others."""

    def __init__(self, name: str, path: Path, mutant: Mutant) -> None:
        super().__init__(name, str(path))
        self.mutant = mutant

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        """The spec of the changed module."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew: what Python keeps compiled beside the file is not asked, and stays as it is."""
        tree = mutated(Path(self.path).read_text(), self.mutant)
        return compile(tree, self.path, "exec", dont_inherit=True)


@dataclass(frozen=True)
class Tried:
    """What was found, as a line of the results."""

    module: str
    of: str
    """Digest of the module."""
    tests: str
    """Digest of its tests."""
    number: int
    line: int
    what: str
    verdict: str


class Fastest:
    """A plugin of pytest's: tests in the order of what they took before, which is told at the end of a run."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.took: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """The fastest first: most mutants are noticed by one of them."""
        items.sort(key=lambda item: self.took.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """What a test takes."""
        if report.when == "call":
            self.took[report.nodeid] = report.duration


def run_tests(module: str, mutant: Mutant | None, took: Path) -> int:
    """In a process of its own: pytest's exit status, its words thrown away. took: the file that has what each
    test takes, which is written where nothing is changed."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    if mutant is not None:
        name = "edgefreeze." + module.replace("/", ".")
        assert name not in sys.modules, "it was imported before it could be changed"
        sys.meta_path.insert(0, Changed(name, modules.source(module), mutant))
    import hypothesis
    import pytest

    # Drawn input is drawn less often: what these miss would be noticed, which is the safe side for the figures.
    hypothesis.settings.register_profile("few", max_examples=20, deadline=None)
    fastest = Fastest(took)
    status = int(
        pytest.main(
            ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0", "--hypothesis-profile=few",
             "-o", "addopts=--import-mode=importlib", "-m", "not slow and not process",
             *map(str, modules.tests(module))],
            [fastest],
        )
    )  # fmt: skip
    if mutant is None:
        took.write_text(json.dumps(fastest.took))
    return status


def start(module: str, mutant: Mutant | None, took: Path) -> int:
    """Fork a process that runs the module's tests; its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        os.chdir(modules.ROOT)
        os._exit(run_tests(module, mutant, took))
    finally:
        os._exit(99)


def finish(pid: int, deadline: float) -> int | None:
    """The status of a process that ended; None of one that runs still. One beyond its time is killed."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() > deadline:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return -signal.SIGKILL
    return None


def alone(module: str, took: Path) -> float:
    """Seconds that the tests take with nothing changed. Raises SystemExit where they do not pass."""
    began = time.monotonic()
    pid = start(module, None, took)
    while (status := finish(pid, began + ALONE_S)) is None:
        time.sleep(0.02)
    if status:
        raise SystemExit(f"{module}: its tests do not pass as they are (status {status})")
    return time.monotonic() - began


def try_all(module: str, chosen: Sequence[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Each mutant and what became of it, `jobs` at a time, as they end."""
    waiting, running = list(chosen), {}
    folder = tempfile.TemporaryDirectory(prefix="edgefreeze-mutants-")
    try:
        took = Path(folder.name, "took.json")
        limit = 5 * alone(module, took) + 5 if chosen else 0.0
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop(0)
                running[start(module, mutant, took)] = mutant, time.monotonic() + limit
            for pid, (mutant, deadline) in list(running.items()):
                status = finish(pid, deadline)
                if status is not None:
                    del running[pid]
                    yield mutant, verdict(status)
            time.sleep(0.01)
    finally:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        folder.cleanup()


def verdict(status: int) -> str:
    """What an exit status says: tests that fail or cannot be collected, and a crash, have noticed it."""
    if status == 0:
        return SURVIVED
    if status == -signal.SIGKILL:
        return TIMEOUT
    return KILLED if status in (1, 2, 4) or status < 0 else f"pytest ended with {status}"


def drawn(module: str, limit: int, seed: int) -> list[Mutant]:
    """The mutants to try: the same for a seed and a module's text; a higher limit adds to those of a lower."""
    every = mutants(modules.source(module).read_text())
    if not limit or len(every) <= limit:
        return every
    draw = random.Random(f"{seed} {module}")
    return sorted(draw.sample(every, len(every))[:limit], key=lambda m: m.number)


def known(results: Path) -> dict[tuple[str, str, int], Tried]:
    """The last word on each mutant, from the results."""
    if not results.exists():
        return {}
    found = (Tried(**json.loads(line)) for line in results.read_text().splitlines())
    return {(t.module, t.of, t.number): t for t in found}


def digest(*files: Path) -> str:
    """Of the files' content."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def examine(module: str, options: argparse.Namespace) -> list[Tried]:
    """Every drawn mutant of a module, tried now or before."""
    before = known(options.results)
    of, tests = digest(modules.source(module)), digest(*modules.tests(module))

    def settled(mutant: Mutant) -> Tried | None:
        found = before.get((module, of, mutant.number))
        return found if found and (found.verdict in NOTICED or found.tests == tests) else None

    chosen = drawn(module, options.limit, options.seed)
    open_ones = [m for m in chosen if settled(m) is None]
    found = {m.number: t for m in chosen if (t := settled(m)) is not None}
    with options.results.open("a") as file:
        for mutant, verdict in try_all(module, open_ones, options.jobs):
            tried = Tried(module, of, tests, mutant.number, mutant.line, mutant.what, verdict)
            found[mutant.number] = tried
            print(json.dumps(asdict(tried), ensure_ascii=False), file=file, flush=True)
    return [found[number] for number in sorted(found)]


def preload() -> None:
    """Import what every mutant would import again, and nothing of edgefreeze."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process with threads must not fork
    for name in (
        "numpy",
        "numpy.testing",
        "pytest",
        "hypothesis.extra.numpy",
        "msgspec",
        "packaging.specifiers",
    ):
        importlib.import_module(name)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.pure.mutants", description="Mutants.")
    parser.add_argument("modules", nargs="*", help="such as parity, device/errors; all by default")
    parser.add_argument("--limit", type=int, default=100, help="mutants of a module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--list", action="store_true", help="tell the mutants, try none")
    parser.add_argument("--keep", action="store_true", help="keep the figures, for the documentation")
    options = parser.parse_args()
    wanted = modules.matching(options.modules)
    if options.list:
        for module in wanted:
            for mutant in drawn(module, options.limit, options.seed):
                print(f"{module}:{mutant.line} {mutant.what}")
        return 0
    preload()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process of ours is left
    low = 0
    figures = {}
    for module in wanted:
        tried = examine(module, options)
        noticed = sum(t.verdict in NOTICED for t in tried)
        share = 100.0 * noticed / len(tried) if tried else 100.0
        low += share < LEAST
        of = len(mutants(modules.source(module).read_text()))
        figures[module] = {"mutants": of, "tried": len(tried), "noticed": noticed}
        print(
            f"{module:24s} {noticed:4d} of {len(tried):4d} noticed ({share:5.1f} %), drawn from {of}",
            flush=True,
        )
        for t in tried:
            if t.verdict not in NOTICED:
                print(f"    edgefreeze/{module}.py:{t.line} {t.what}", flush=True)
    if options.keep:
        keep(figures, options)
    return 1 if low else 0


def keep(figures: dict[str, dict[str, int]], options: argparse.Namespace) -> None:
    """Write the figures, of these modules anew, with when and of what they are."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=modules.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    before = json.loads(KEPT.read_text())["modules"] if KEPT.exists() else {}
    whole = {module: (before | figures)[module] for module in modules.TESTS if module in before | figures}
    head = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit.stdout.strip()}
    drawn_with = {"seed": options.seed, "limit": options.limit}
    KEPT.write_text(json.dumps({**head, **drawn_with, "modules": whole}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

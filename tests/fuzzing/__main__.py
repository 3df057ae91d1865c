"""Fuzz parsers: python -m tests.fuzzing [NAME …] [--seconds S] [--jobs J]."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
NAMES = ("frames", "manifest", "envelope", "state", "trust", "signature", "pack", "toml", "tensors", "json")
LARGEST, MOST = 4096, 200
"""Bytes of an input that is kept, and how many are: the smallest first."""


def read(name: str) -> list[bytes]:
    """The corpus that is kept."""
    file = CORPUS / f"{name}.zip"
    if not file.exists():
        return []
    with zipfile.ZipFile(file) as archive:
        return [archive.read(info) for info in archive.infolist()]


def keep(name: str, inputs: list[bytes]) -> None:
    """Write the corpus: the same inputs, the same bytes."""
    kept = sorted({i for i in inputs if len(i) <= LARGEST}, key=lambda i: (len(i), i))[:MOST]
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for data in kept:
            info = zipfile.ZipInfo(hashlib.sha256(data).hexdigest()[:16], (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)


def main(arguments: list[str]) -> int:
    """The command line; 0 where no parser raised what it may not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--seconds", type=int, default=120, help="for each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no such parsers: {', '.join(sorted(unknown))}")
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("atheris is not installed here (there are wheels of it for Linux): pip install atheris")
        return 1
    with ThreadPoolExecutor(given.jobs) as pool:
        return max(pool.map(lambda name: _fuzz(name, given.seconds), given.names or NAMES))


def _fuzz(name: str, seconds: int) -> int:
    with tempfile.TemporaryDirectory(prefix="edgefreeze-fuzzing-") as scratch:
        folder, found = Path(scratch, "corpus"), Path(scratch, "found")
        folder.mkdir()
        found.mkdir()
        from .parsers import PARSERS

        for number, data in enumerate([*PARSERS[name].seeds(), *read(name)]):
            (folder / f"seed-{number}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzzing.atheris_run", name]
        options = [
            f"-max_total_time={seconds}",
            f"-artifact_prefix={found}/",
            "-max_len=65536",
            "-timeout=10",
        ]
        done = subprocess.run(
            [*command, *options, "-rss_limit_mb=2048", str(folder)],
            capture_output=True,
            text=True,
            errors="replace",
            env={
                **os.environ,
                "TMPDIR": scratch,
            },  # libFuzzer ends the process, and nothing is tidied up there
        )
        said = done.stderr + done.stdout
        runs = re.findall(r"#(\d+)\s+DONE|Done (\d+) runs", said)
        cover = re.findall(r"cov: (\d+)", said)
        # The fuzzer has written those that reached new code, and made them smaller where it could.
        keep(
            name,
            [file.read_bytes() for file in folder.iterdir() if not file.name.startswith("seed-")]
            + read(name),
        )
        total = "".join(runs[-1]) if runs else "?"
        print(
            f"{name:10s} {total:>9s} runs, coverage {cover[-1] if cover else '?'}, {len(read(name))} inputs kept",
            flush=True,
        )
        if done.returncode == 0:
            return 0
        crashes = sorted(found.iterdir())
        print(f"{name}: exit status {done.returncode}\n{said[-3000:]}")
        for file in crashes:
            print(f"{file.name}: {file.read_bytes()[:2000]!r}")
        if crashes:
            keep(name, [*read(name), *(file.read_bytes() for file in crashes)])
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Each fsync and each rename of the device's code is taken away in turn, and order.py must notice.

python -m tests.faults.mutations [--list]
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgefreeze.device
from edgefreeze.device import protocol, sshsig
from edgefreeze.transport import bootstrap
from tests.device.conftest import Made

HERE = Path(__file__).parent
DEVICE = Path(edgefreeze.device.__file__).parent
CALLS = {"fsync", "fdatasync", "fsync_path", "fsync_all", "require_synced", "rename"}
SCENARIOS = ("everyday", "damaged", "without_links", "large", "measured", "engine", "bootstrap", "at_boot")


@dataclass(frozen=True)
class Mutant:
    """A call that is not made. `text` is the file's without it."""

    file: str
    line: int
    call: str
    text: str

    @property
    def name(self) -> str:
        """Where, and what."""
        return f"{self.file}:{self.line} {self.call}"


def mutants() -> Iterator[Mutant]:
    """One for each call of the device's code, and of the bootstrap's."""
    for path in sorted(DEVICE.rglob("*.py")):
        source = path.read_text()
        for call in _calls(source):
            yield Mutant(
                path.relative_to(DEVICE).as_posix(), call.lineno, _name(call), _without(source, call)
            )
    program = bootstrap._PROGRAM.lstrip("\n")
    for call in _calls(program):
        yield Mutant("bootstrap", call.lineno, _name(call), _without(program, call))


def _calls(source: str) -> list[ast.Call]:
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted((c for c in found if _name(c) in CALLS), key=lambda c: (c.lineno, c.col_offset))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _without(source: str, call: ast.Call) -> str:
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()
    assert call.end_lineno is not None
    assert call.end_col_offset is not None
    start = starts[call.lineno - 1] + call.col_offset
    end = starts[call.end_lineno - 1] + call.end_col_offset
    instead = "None"
    if _name(call) == "fsync_all":
        instead = f"[None for _ in {ast.unparse(call.args[0])}]"
    return (data[:start] + instead.encode() + data[end:]).decode()


def write_requests(folder: Path) -> Path:
    """What order.py's scenarios ask, as JSON."""
    key = folder / "signer"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "t", "-f", str(key)], check=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "u", "-f", str(folder / "u")], check=True
    )
    tree = {"package/__init__.py": b"", "package/deep/module.py": b"x = 1\n", "bin/tool": b"#!/bin/sh\n"}
    listing = sorted([p, _sha(d), len(d), p.startswith("bin")] for p, d in tree.items())
    big = 2 << 20
    given: dict[str, Any] = {
        "tree": {
            "id": _sha(protocol.canonical(listing)), "listing": listing,
            "contents": [[_sha(d), d.hex()] for d in tree.values()],
        },
        "service": {
            "restart": [], "restart_timeout_s": 5.0, "health": [], "health_url": None, "successes": 1,
            "period_s": 1.0, "deadline_s": 5.0,
        },
        "key": (folder / "u.pub").read_text(),
        "big": {"sha256": _sha(b"x" * big), "bytes": big},
        "many": [[_sha(b"file %d" % n), f"file {n}"] for n in range(40)],
        "passing": [_sha(b"passing"), "passing"],
        "helper": _sha(b"the helper"),
    }  # fmt: skip
    for name in "abc":
        made = Made(content=f"model {name}".encode(), golden=f"golden {name}".encode())
        given[name] = {
            "args": made.args, "named": made.named, "file": "saved/deep/model.pb",
            "contents": [[_sha(d), d.hex()] for d in made.contents],
        }  # fmt: skip
    envelope = given["b"]["args"]["envelope"]
    signed = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", sshsig.NAMESPACE, "-f", str(key)],
        input=envelope.encode(), capture_output=True, check=True,
    )  # fmt: skip
    given["b"]["signed"] = {"signature": signed.stdout.decode()}
    file = folder / "requests.json"
    file.write_text(json.dumps({**given, "bootstrap": bootstrap._PROGRAM.lstrip("\n")}))
    return file


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def judge(folder: Path, requests: Path, mutant: Mutant | None) -> str | None:
    """What order.py says of a mutant (None: of the code as it is); None where it has nothing to say."""
    package = folder / "package"
    shutil.copytree(DEVICE, package / "edgefreeze/device", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "edgefreeze/__init__.py").touch()
    scenarios = SCENARIOS
    if mutant is not None and mutant.file == "bootstrap":
        requests = folder / "requests.json"
        whole = json.loads((folder.parent / "requests.json").read_text())
        requests.write_text(json.dumps({**whole, "bootstrap": mutant.text}))
        scenarios = ("bootstrap",)
    elif mutant is not None:
        (package / "edgefreeze/device" / mutant.file).write_text(mutant.text)
    for scenario in scenarios:
        done = subprocess.run(
            [sys.executable, "-I", str(HERE / "order.py"), package, requests, folder / scenario, scenario],
            capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            return (done.stdout + done.stderr[-1000:]).strip()
    return None


def survivors(folder: Path, jobs: int = 2) -> tuple[list[Mutant], dict[str, str]]:
    """(mutants that nobody notices, what was said of the others by their names)."""
    requests = write_requests(folder)
    every = list(mutants())

    def one(given: tuple[int, Mutant]) -> str | None:
        number, mutant = given
        (folder / str(number)).mkdir()
        said = judge(folder / str(number), requests, mutant)
        shutil.rmtree(folder / str(number), ignore_errors=True)
        return said

    with ThreadPoolExecutor(jobs) as pool:
        said = list(pool.map(one, enumerate(every)))
    found = zip(every, said, strict=True)
    return [m for m, words in found if words is None], {
        m.name: words for m, words in zip(every, said, strict=True) if words is not None
    }


def main() -> int:
    """The command line; 0 where every mutant was noticed."""
    if "--list" in sys.argv:
        print(*(mutant.name for mutant in mutants()), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="edgefreeze-mutations-") as name:
        left, noticed = survivors(Path(name))
    for mutant, words in noticed.items():
        print(f"{mutant:40s} {words.splitlines()[-1][:150]}")
    for mutant in left:
        print(f"{mutant.name:40s} NOBODY NOTICES")
    print(f"{len(noticed)} of {len(noticed) + len(left)} mutants were noticed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

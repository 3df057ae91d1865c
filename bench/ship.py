"""Bringing a release to a device beside what others bring files with, in one run, by turns.

    python bench/ship.py [--rounds 5] [--only loopback,first,unchanged,memory]

    loopback    128 MB of float32, over loopback: `ssh cat` with aes128-gcm, paramiko's put, and our put:
                hashed on arrival, synced, under its digest
    first       the same kind of content, 16 MB and 40 small files, over 20 Mbit/s with 50 ms there and back:
                scp -r, rsync -a, and a first ship: helper sent, read back, switched
    unchanged   the same ship again: nothing to send, a cold start; and over a connection that is held open
    memory      the helper's largest resident size while it takes in 1 GB

The link is emulated on loopback (link.py). Every single run is kept in results/ship-<date>.json.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import paramiko  # noqa: E402
from link import start  # noqa: E402
from record import in_words, keep, machine  # noqa: E402

from edgefreeze import deploying, deployment, targets  # noqa: E402
from edgefreeze.device.protocol import canonical  # noqa: E402
from edgefreeze.inventory import Device  # noqa: E402
from edgefreeze.progress import Silent  # noqa: E402
from edgefreeze.release import manifest  # noqa: E402
from edgefreeze.release.manifest import Release  # noqa: E402
from edgefreeze.ship import session  # noqa: E402
from edgefreeze.transport.client import Helper, Upload, connect  # noqa: E402
from tests.faults.server import Server  # noqa: E402

BITS_PER_S, ROUND_TRIP_S = 20e6, 0.050
LARGE, FIRST, HUGE = 128_000_000, 16_000_000, 1_000_000_000
SEED = 7
LIMITS = {"ssh": 0.9, "paramiko": 1.8, "first": 1.0, "cold_s": 0.8, "held_s": 0.1, "memory": 32 << 20}
Run = Callable[[], None]


class Bench:
    """A server, a link to it, and what is brought."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # SHLVL: bash reads no ~/.bashrc then; what this machine's has in it is no board's.
        server = Server.start(folder / "sshd", "Subsystem sftp internal-sftp\nSetEnv SHLVL=1\n")
        assert server is not None, "no sshd is installed"
        self.server = server
        self.link, self.port = start(server.port, BITS_PER_S, ROUND_TRIP_S / 2)
        self.number = 0

    def close(self) -> None:
        """End the server and the link."""
        self.link.kill()
        self.link.wait()
        self.server.stop()

    def over(self, port: int) -> list[str]:
        """OpenSSH's options for this way to the board; edgefreeze goes the same."""
        return ["-F", str(self.server.configure(self.folder, port))]

    def place(self) -> Path:
        """A folder on the "board" that is not there yet."""
        self.number += 1
        return self.folder / f"place-{self.number}"

    def device(self, root: Path) -> Device:
        """The board as the inventory has it."""
        return Device(
            name="board", target="x86", transport="ssh", host="board", python=sys.executable, root=str(root)
        )


def content(folder: Path, size: int, small: int) -> Path:
    """Weights as float32, and small files beside them."""
    folder.mkdir(parents=True)
    weights = np.random.default_rng(SEED).standard_normal(size // 4, dtype=np.float32)
    (folder / "weights.bin").write_bytes(weights.tobytes())
    for number in range(small):
        (folder / f"file-{number}.txt").write_text(f"{number}\n" * 100)
    return folder


def release_of(folder: Path) -> Release:
    """A release of what is in a folder; nothing in it is tested, so that bringing is all that is measured."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    golden = b"no golden data"
    artifact = {
        "format": "frozen_pb", "precision": "fp32", "status": "unverified", "path": "weights.bin",
        "runtime": "tf_frozen", "inputs": [], "outputs": [], "init_ops": [], "signature": None,
        "tolerance": 0.0, "tolerances": {}, "method": "bench",
    }  # fmt: skip
    listed = [{"path": p.name, "sha256": _sha(p), "bytes": p.stat().st_size} for p in files]
    text = canonical({"schema": 1, "app": "bench", "target": "x86", "artifacts": [artifact], "files": listed})
    envelope = {
        "schema": 1, "manifest_sha256": hashlib.sha256(text).hexdigest(), "created": "2026-11-21T11:08:00Z",
        "sequence": 0,
        "golden": {"sha256": hashlib.sha256(golden).hexdigest(), "bytes": len(golden), "cases": 0},
    }  # fmt: skip
    (folder / "golden.npz").write_bytes(golden)
    (folder / "manifest.json").write_bytes(text)
    (folder / "envelope.json").write_bytes(canonical(envelope))
    return manifest.load(folder)


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ship(helper: Helper, device: Device, release: Release) -> Any:
    """What `deploy` does once a release is built, but for the benchmark on the device."""
    target = targets.load("x86")
    facts = session.probe(helper)
    session.require_board(target, facts, "board")
    request = deployment.Request(model=Path("model"), app="bench", target=target, device=device, bench=False)
    built = SimpleNamespace(
        release=release, evaluation=None, accuracy=(), cached=False,
        conversion=SimpleNamespace(golden=SimpleNamespace(text=""), artifacts=release.artifacts),
    )  # fmt: skip
    return deploying.deliver(request, helper, built, (), facts, Silent(), deployment.Clock())  # type: ignore[arg-type]


def put(bench: Bench, root: Path, files: list[Path], digests: dict[Path, str]) -> None:
    """Contents into the board's store, durable."""
    with connect(bench.device(root)) as helper:
        rows = [[digests[f], f.stat().st_size] for f in files]
        assert len(helper.request("missing", {"digests": rows})["missing"]) == len(files)
        helper.put(
            (Upload(digests[f], f.stat().st_size, lambda f=f: f.open("rb")) for f in files), lambda n: None
        )  # type: ignore[misc]
        helper.request("commit")


def paramiko_put(bench: Bench, source: Path, target: Path) -> None:
    """The textbook's way."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    key = str(bench.server.folder / "key")
    client.connect("127.0.0.1", bench.server.port, key_filename=key, look_for_keys=False, allow_agent=False)
    with client.open_sftp() as sftp:
        sftp.put(str(source), str(target))
    client.close()


def run(command: list[str], source: Path | None = None) -> None:
    """A command of others."""
    with source.open("rb") if source else Path(os.devnull).open("rb") as stdin:
        subprocess.run(command, stdin=stdin, check=True, stdout=subprocess.DEVNULL)


def rounds(contestants: dict[str, Run], count: int) -> dict[str, list[float]]:
    """Seconds of each, by round, in drawn order. The first round warms up and is not kept."""
    draw = random.Random(SEED)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    os.sync()  # what others have left to be written is not ours to wait for
    for number in range(count + 1):
        for name in draw.sample(list(contestants), len(contestants)):
            started = time.perf_counter()
            contestants[name]()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def loopback(bench: Bench, count: int) -> dict[str, list[float]]:
    """128 MB over loopback."""
    file = content(bench.folder / "large", LARGE, 0) / "weights.bin"
    digests, root, target = {file: _sha(file)}, bench.folder / "board", bench.folder / "copy"
    options = bench.over(bench.server.port)
    connect(bench.device(root)).close()  # the helper is there

    def ours() -> None:
        shutil.rmtree(root / "store", ignore_errors=True)
        put(bench, root, [file], digests)

    def cat() -> None:
        run(["ssh", *options, "-c", "aes128-gcm@openssh.com", "board", f"cat > {target}"], file)

    return rounds(
        {"edgefreeze": ours, "ssh cat": cat, "paramiko put": lambda: paramiko_put(bench, file, target)}, count
    )


def first(bench: Bench, count: int) -> dict[str, list[float]]:
    """A first ship over the link."""
    folder = content(bench.folder / "first", FIRST, 40)
    release = release_of(folder)
    options = bench.over(bench.port)
    shell = " ".join(["ssh", *options])
    return rounds(
        {
            "edgefreeze": lambda: _ship_to(bench, bench.place(), release),
            "scp -r": lambda: run(["scp", "-q", *options, "-r", str(folder), f"board:{bench.place()}"]),
            "rsync -a": lambda: run(["rsync", "-a", "-e", shell, f"{folder}/", f"board:{bench.place()}"]),
        },
        count,
    )


def _ship_to(bench: Bench, root: Path, release: Release) -> int:
    device = bench.device(root)
    with connect(device, early=session.FIRST) as helper:
        return int(ship(helper, device, release).bytes_sent)


def unchanged(bench: Bench, count: int) -> dict[str, list[float]]:
    """Nothing has changed: cold, and over a held connection."""
    release = release_of(content(bench.folder / "same", 1_000_000, 5))
    root = bench.place()
    bench.over(bench.server.port)
    _ship_to(bench, root, release)
    bench.over(bench.port)
    device = bench.device(root)
    held = connect(device)

    def cold() -> None:
        assert _ship_to(bench, root, release) == 0

    def warm() -> None:
        assert ship(held, device, release).bytes_sent == 0

    cold_s = rounds({"cold start": cold}, count)
    held.close()
    held = connect(device)
    try:
        return cold_s | rounds({"held connection": warm}, count)
    finally:
        held.close()


def memory(bench: Bench) -> int:
    """Largest resident bytes of the helper that takes in 1 GB."""
    file = bench.folder / "huge"
    with file.open("wb") as out:
        block = np.random.default_rng(SEED).bytes(1 << 20)
        for number in range(HUGE >> 20):
            out.write(number.to_bytes(4, "big") + block[4:])
    digest, size = _sha(file), file.stat().st_size
    bench.over(bench.server.port)
    with connect(bench.device(bench.folder / "board")) as helper:
        pid = helper.request("ping")["pid"]
        helper.put([Upload(digest, size, lambda: file.open("rb"))], lambda n: None)
        helper.request("commit")
        status = Path(f"/proc/{pid}/status").read_text()
    shutil.rmtree(bench.folder / "board/store")
    file.unlink()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def ratio(seconds: dict[str, list[float]], other: str) -> float:
    """The median over the rounds of the other's time by ours: above 1 we are faster."""
    return statistics.median(b / a for a, b in zip(seconds["edgefreeze"], seconds[other], strict=True))


def main() -> int:
    """Measure, print, keep every single run."""
    parser = argparse.ArgumentParser(description="Bringing a release to a device.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="loopback,first,unchanged,memory")
    given = parser.parse_args()
    wanted, facts = given.only.split(","), machine()
    print(in_words(facts))
    lines: list[tuple[str, float, float, bool]] = []
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="edgefreeze-bench-") as name:
        bench = Bench(Path(name))
        try:
            if "loopback" in wanted:
                raw["loopback"] = found = loopback(bench, given.rounds)
                _print(found)
                lines.append(("128 MB, × ssh cat", ratio(found, "ssh cat"), LIMITS["ssh"], True))
                lines.append(
                    ("128 MB, × paramiko put", ratio(found, "paramiko put"), LIMITS["paramiko"], True)
                )
            if "first" in wanted:
                raw["first"] = found = first(bench, given.rounds)
                _print(found)
                best = min(ratio(found, "scp -r"), ratio(found, "rsync -a"))
                lines.append(("first ship, × best of scp and rsync", best, LIMITS["first"], True))
            if "unchanged" in wanted:
                raw["unchanged"] = found = unchanged(bench, given.rounds)
                _print(found)
                lines.append(
                    ("unchanged, cold, s", statistics.median(found["cold start"]), LIMITS["cold_s"], False)
                )
                lines.append(
                    (
                        "unchanged, held, s",
                        statistics.median(found["held connection"]),
                        LIMITS["held_s"],
                        False,
                    )
                )
            if "memory" in wanted:
                raw["memory_bytes"] = peak = memory(bench)
                lines.append(("helper's memory at 1 GB, MiB", peak / 2**20, LIMITS["memory"] / 2**20, False))
        finally:
            bench.close()
    for what, value, limit, least in lines:
        good = value >= limit if least else value <= limit
        bound = f"{'at least' if least else 'at most'} {limit:g}"
        print(f"{what:38s} {value:8.3f}   {bound}: {'held' if good else 'MISSED'}")
    file = keep("ship", facts, {"limits": LIMITS, "seed": SEED, "link": [BITS_PER_S, ROUND_TRIP_S], **raw})
    print(f"raw: {file.relative_to(ROOT)}")
    return 0


def _print(seconds: dict[str, list[float]]) -> None:
    for name, values in seconds.items():
        between = f"{min(values):.3f} to {max(values):.3f}"
        print(f"  {name:20s} median {statistics.median(values):7.3f} s  ({between})")


if __name__ == "__main__":
    sys.exit(main())

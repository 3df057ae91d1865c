"""What all cases start from: two releases, a runtime, helpers, devices on which A is active."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from edgefreeze import deploying, deployment, targets
from edgefreeze.device import pack, tensors
from edgefreeze.device.protocol import canonical
from edgefreeze.inventory import Device, Service
from edgefreeze.progress import Progress, Silent
from edgefreeze.release import manifest, signing
from edgefreeze.release.manifest import Release
from edgefreeze.runtimes import Choice, Tree, TreeFile, table
from edgefreeze.ship import session
from edgefreeze.ship.plan import RuntimePlan, everything
from edgefreeze.transport import client, pyz

from . import standin
from .server import Server

APP = "cam"
QUESTION = b"what"
SECRET = "hunter2-5d41402abc4b2a76"
"""Stands in the environment as a password; nowhere else may it ever be."""
QUICK = {
    "serve.py": {"IDLE_S": "2.0", "GRACE_S": "5.0"},
    "protocol.py": {"HEARTBEAT_S": "0.3"},
    "changeover.py": {"MARGIN_S": "1.0", "_APPEARS_S": "3.0", "_LOCK_S": "1.0"},
    "operations/running.py": {"DEFAULT_TIMEOUT_S": "2.0"},
}
"""The helper of cases that wait for something: the same program, with shorter deadlines."""
GREEDY = {"store.py": {"RESERVE_BYTES": "0"}}
"""The helper of cases in which the disk is to be filled to the last block."""


def sha(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def write_release(folder: Path, model: bytes, filler: int = 0) -> Release:
    """A release folder as `build` leaves it, with the stand-in's artifact."""
    folder.mkdir(parents=True)
    expected = standin.answer(model, QUESTION)
    golden = tensors.encode_golden([({"x": np.array([QUESTION])}, {"y": np.array([expected])})])
    files = {"model.tflite": model, "notes/labels.txt": b"cat\ndog\n"}
    if filler:
        files["weights.bin"] = np.random.default_rng(filler).bytes(filler)
    for path, data in {**files, "golden.npz": golden}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)

    def tensor(name: str) -> dict[str, Any]:
        return {"name": name, "tensor": name, "dtype": "string", "shape": [1]}

    artifact = {
        "format": "tflite", "precision": "fp32", "status": "verified", "path": "model.tflite",
        "runtime": "tflite", "inputs": [tensor("x")], "outputs": [tensor("y")], "init_ops": [],
        "signature": None, "tolerance": 1e-4, "tolerances": {}, "method": "stand-in",
    }  # fmt: skip
    text = canonical(
        {
            "schema": 1, "app": APP, "target": "x86", "artifacts": [artifact],
            "files": [{"path": p, "sha256": sha(d), "bytes": len(d)} for p, d in sorted(files.items())],
        }
    )  # fmt: skip
    envelope = {
        "schema": 1, "manifest_sha256": sha(text), "created": "2026-11-21T11:08:00Z", "sequence": 0,
        "golden": {"sha256": sha(golden), "bytes": len(golden), "cases": 1},
    }  # fmt: skip
    (folder / "manifest.json").write_bytes(text)
    (folder / "envelope.json").write_bytes(canonical(envelope))
    return manifest.load(folder)


def write_tree(folder: Path) -> RuntimePlan:
    """The stand-in's packages, as runtimes.fetch() would put them together."""
    files = []
    for path, data in sorted(standin.FILES.items()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        files.append(TreeFile(path=path, sha256=sha(data), bytes=len(data), executable=False))
    listing = [[f.path, f.sha256, f.bytes, f.executable] for f in files]
    tree = Tree(
        id=sha(canonical(listing)), runtime="litert", folder=folder, files=tuple(files),
        packages={"ai-edge-litert": "2.3.0"},
    )  # fmt: skip
    choice = Choice(runtime="litert", own=None, package=table().packages("litert")[0])
    return RuntimePlan(choice=choice, tree=tree)


def helper_program(folder: Path, changes: dict[str, dict[str, str]]) -> tuple[bytes, str]:
    """The helper with other values of some constants, and compiled, so that it starts in a third of the time."""
    source, _ = pyz.build()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(source)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            text = old.read(info).decode()
            for name, value in changes.get(info.filename.removeprefix("edgefreeze/device/"), {}).items():
                text, count = re.subn(rf"^({name}) = .+$", rf"\1 = {value}", text, flags=re.MULTILINE)
                assert count == 1, f"{info.filename} has {count} lines that set {name}"
            new.writestr(zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0)), text)
            plain, compiled = folder / "source.py", folder / "source.pyc"
            plain.write_text(text)
            py_compile.compile(
                str(plain), str(compiled), info.filename, doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )  # fmt: skip
            new.writestr(zipfile.ZipInfo(info.filename + "c", (1980, 1, 1, 0, 0, 0)), compiled.read_bytes())
    data = out.getvalue()
    return data, sha(data)


@dataclass(frozen=True)
class Variant:
    """How a device is found: whether it knows a signer, and whether the helper is there already."""

    signed: bool
    helper_there: bool

    @classmethod
    def of(cls, seed: int) -> Variant:
        """The seed's variant."""
        return cls(signed=bool(seed & 1), helper_there=not seed & 2)

    @property
    def name(self) -> str:
        """For folders and messages."""
        return f"{'signed' if self.signed else 'unsigned'}-{'warm' if self.helper_there else 'bare'}"


VARIANTS = [Variant.of(seed) for seed in range(4)]


@dataclass
class World:
    """Made once for a run; the processes of a run share it."""

    folder: Path
    a: Release
    b: Release
    plan: RuntimePlan
    key: Path
    programs: dict[str, tuple[bytes, str]]
    packed: Path
    """B in one file, signed, with the runtime."""
    server: Server | None
    reference: dict[str, set[str]] = field(default_factory=dict)
    """By variant: what is on a device after a ship of B without a fault."""
    counts: dict[str, Any] = field(default_factory=dict)
    """How many places there are, by what they are places of; counted when first asked for."""

    @classmethod
    def make(cls, folder: Path, server: bool = True) -> World:
        """Releases, helpers, key, server, and a device of each variant."""
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "faults", "-f", str(folder / "signer")],
            check=True,
        )
        programs = {
            "true": helper_program(folder, {}),
            "quick": helper_program(folder, QUICK),
            "greedy": helper_program(folder, GREEDY),
        }
        for name, (data, _) in programs.items():
            (folder / f"{name}.pyz").write_bytes(data)
        world = cls(
            folder=folder,
            a=write_release(folder / "a", b"good A"),
            b=write_release(folder / "b", b"good B"),
            plan=write_tree(folder / "tree"),
            key=folder / "signer",
            programs=programs,
            packed=folder / "b.pack",
            server=Server.start(folder / "sshd") if server else None,
        )
        world._pack()
        for variant in VARIANTS:
            site = Site(world, variant, world.base(variant))
            site.ship(world.a)
            shutil.copytree(site.root, folder / "probe", symlinks=True)
            after = Site(world, variant, folder / "probe")
            after.ship(world.b)
            world.reference[variant.name] = after.listing()
            shutil.rmtree(folder / "probe")
            if not variant.helper_there:
                shutil.rmtree(site.root / "helper")
        return world

    def base(self, variant: Variant) -> Path:
        """The prepared device: never touched, always copied."""
        return self.folder / "bases" / variant.name

    def release(self, name: str) -> Release:
        """A release whose model does as its name says (standin.py); made when first asked for."""
        folder = self.folder / "odd" / name
        if not folder.exists():
            fresh = folder.with_name(f"{name}.{os.getpid()}")
            write_release(fresh, name.encode() + b" B")
            with contextlib.suppress(OSError):
                fresh.rename(folder)
        return manifest.load(folder)

    def _pack(self) -> None:
        assert self.plan.tree is not None
        trees = {"tflite": self.plan.tree.id}
        release = signing.signed(self.b, self.key, sequence=2_000_000_000, runtimes=trees)
        meta = pack.Meta(
            release.manifest_text.encode(), release.envelope_text.encode(), release.signature,
            {
                "schema": 1, "machine": os.uname().machine, "python": ".".join(platform.python_version_tuple()[:2]),
                "runtimes": trees, "trees": {self.plan.tree.id: self.plan.tree.listing()},
            },
        )  # fmt: skip
        contents = everything(release, (self.plan,))
        with self.packed.open("wb") as out:
            pack.write(out, meta, {c.sha256: (c.bytes, lambda c=c: c.source.open("rb")) for c in contents})

    def close(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.stop()


class Site:
    """One device of one case, and how the host reaches it."""

    def __init__(self, world: World, variant: Variant, root: Path) -> None:
        self.world, self.variant, self.root = world, variant, root
        self.folder = root.parent
        """For the case's own files."""
        self.program = "true"
        self.python = self.plain_python = sys.executable
        self.over_ssh = False
        self.service: Service | None = None
        self.key = world.key
        self.progress: Progress = Silent()
        self.dry_run = False
        self.enrolled = False
        """The attempt brought a signed release to a device that knew no signer: from then on B is signed."""
        self.stack = contextlib.ExitStack()
        self.excused: set[str] = set()
        """Files that the fault itself changes, beneath the root: what is wrong with them is no finding."""

    @property
    def app(self) -> Path:
        """The app's folder on the device."""
        return self.root / "apps" / APP

    @property
    def pyz(self) -> Path:
        """The helper's program, for what is run by hand."""
        return self.world.folder / f"{self.program}.pyz"

    def device(self) -> Device:
        """How the host's inventory has it."""
        where = (
            {"transport": "ssh", "host": "board"} if self.over_ssh else {"transport": "local", "host": None}
        )
        return Device(name="board", target="x86", python=self.python, root=str(self.root), **where)  # type: ignore[arg-type]

    def connect(self) -> client.Helper:
        """The host's end, with this site's helper."""
        whole, pyz.build = pyz.build, lambda: self.world.programs[self.program]
        try:
            return client.connect(self.device())
        finally:
            pyz.build = whole

    def ship(self, release: Release | None = None, sign: bool | None = None) -> Any:
        """What `deploy` does once a release is built: the order of deploying.py itself. Raises Failure."""
        signed = self.variant.signed or self.enrolled
        with self.connect() as helper:
            return self.ship_on(helper, release or self.world.b, signed if sign is None else sign)

    def ship_on(self, helper: client.Helper, release: Release, sign: bool) -> Any:
        """The same on a connection."""
        target = _target()
        facts = session.probe(helper)
        session.require_board(target, facts, "board")
        request = deployment.Request(
            model=Path("model"), app=APP, target=target, device=self.device(), bench=False,
            service=self.service, sign=self.key if sign else None, dry_run=self.dry_run,
        )  # fmt: skip
        golden = SimpleNamespace(text="1 of the stand-in's")
        built = SimpleNamespace(
            release=release, conversion=SimpleNamespace(golden=golden, artifacts=release.artifacts),
            evaluation=None, accuracy=(), cached=False,
        )  # fmt: skip
        return deploying.deliver(
            request, helper, built, (self.world.plan,), facts, self.progress, deployment.Clock()  # type: ignore[arg-type]
        )  # fmt: skip

    def listing(self) -> set[str]:
        """The files that a ship leaves: what is the same after each, whatever came before."""
        found = set()
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if path.is_dir() and not path.is_symlink():
                continue
            if name.startswith(("helper/", "cache/")):
                found.update({name} if not name.endswith((".pyz", ".pyc")) else ())
            else:
                found.add(name)
        return found

    def state(self) -> dict[str, Any]:
        """state.json."""
        found: dict[str, Any] = json.loads((self.app / "state.json").read_text())
        return found

    def current(self) -> str | None:
        """The release that `current` names."""
        try:
            return str((self.app / "current").readlink()).removeprefix("releases/")
        except OSError:
            return None


def _target() -> targets.Target:
    target = targets.load("x86")
    return msgspec.structs.replace(target, limits=msgspec.structs.replace(target.limits, keep_free_mb=0))


Edit = Callable[[Release], Release]


def with_text(release: Release, text: str) -> Release:
    """The release with another manifest's text on the wire."""
    return replace(release, manifest_text=text)

"""Releases that need no TensorFlow: a "model" that doubles its input, and a runtime that runs it, as a tree."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefreeze.device import sshsig, tensors
from edgefreeze.device.protocol import canonical
from edgefreeze.release import manifest
from edgefreeze.release.manifest import Release
from edgefreeze.runtimes import Choice, Tree, TreeFile
from edgefreeze.ship.plan import RuntimePlan

INTERPRETER = """
import numpy as np

class Interpreter:
    def __init__(self, model_path, num_threads):
        self.factor = float(open(model_path).read())
    def get_input_details(self):
        return [{"name": "x", "index": 0, "shape": [1, 3], "quantization": (0.0, 0), "dtype": np.float32}]
    def get_output_details(self):
        return [{"name": "y", "index": 1, "shape": [1, 3], "quantization": (0.0, 0), "dtype": np.float32}]
    def allocate_tensors(self): pass
    def set_tensor(self, index, value): self.x = value
    def invoke(self): self.y = (self.x * self.factor).astype(np.float32)
    def get_tensor(self, index): return self.y
"""


class Key:
    """A key of the test's, made by ssh-keygen."""

    def __init__(self, file: Path, *options: str) -> None:
        options = options or ("-t", "ed25519", "-N", "")
        subprocess.run(["ssh-keygen", "-q", *options, "-C", f"{file.name}@desk", "-f", str(file)], check=True)
        self.file = file
        self.public = file.with_suffix(".pub")
        self.fingerprint = sshsig.parse_key(self.public.read_text())[0].fingerprint


@pytest.fixture(scope="session")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("alice") / "alice")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("mallory") / "mallory")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_release(folder: Path, factor: bytes = b"2.0", sequence: int = 0) -> Path:
    """A release folder as `build` leaves it. The golden outputs are those of a factor of 2."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    x = np.array([[1, 2, 3]], np.float32)
    golden = tensors.encode_golden([({"x": x}, {"y": x * 2})])
    files = {"model.tflite": factor, "notes/labels.txt": b"cat\n", "notes/again.txt": b"cat\n"}
    for path, data in {**files, "golden.npz": golden}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)

    def tensor(name: str) -> dict[str, Any]:
        return {"name": name, "tensor": name, "dtype": "float32", "shape": [1, 3]}

    artifact = {
        "format": "tflite", "precision": "fp32", "status": "verified", "path": "model.tflite",
        "runtime": "tflite", "inputs": [tensor("x")], "outputs": [tensor("y")], "init_ops": [],
        "signature": None, "tolerance": 1e-4, "tolerances": {}, "method": "test",
    }  # fmt: skip
    text = canonical(
        {
            "schema": 1, "app": "cam", "target": "x86", "artifacts": [artifact],
            "files": [{"path": p, "sha256": sha(d), "bytes": len(d)} for p, d in sorted(files.items())],
        }
    )  # fmt: skip
    envelope = {
        "schema": 1, "manifest_sha256": sha(text), "created": "2026-11-21T11:08:00Z", "sequence": sequence,
        "golden": {"sha256": sha(golden), "bytes": len(golden), "cases": 1},
    }  # fmt: skip
    (folder / "manifest.json").write_bytes(text)
    (folder / "envelope.json").write_bytes(canonical(envelope))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release")


@pytest.fixture
def release(folder: Path) -> Release:
    return manifest.load(folder)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RuntimePlan:
    """A runtime's tree, as runtimes.fetch() would make it."""
    folder = tmp_path_factory.mktemp("tree")
    contents = {"ai_edge_litert/__init__.py": b"", "ai_edge_litert/interpreter.py": INTERPRETER.encode()}
    (folder / "ai_edge_litert").mkdir()
    for path, data in contents.items():
        (folder / path).write_bytes(data)
    files = tuple(
        TreeFile(path=path, sha256=sha(data), bytes=len(data), executable=False)
        for path, data in sorted(contents.items())
    )
    listing = [[f.path, f.sha256, f.bytes, f.executable] for f in files]
    tree = Tree(
        id=sha(canonical(listing)), runtime="litert", folder=folder, files=files,
        packages={"ai-edge-litert": "2.3.0"},
    )  # fmt: skip
    return RuntimePlan(choice=Choice(runtime="litert", own=None, package=None), tree=tree)


@pytest.fixture
def changed_envelope() -> Callable[..., None]:
    """Write other fields into a release folder's envelope."""

    def change(folder: Path, **fields: Any) -> None:
        envelope = json.loads((folder / "envelope.json").read_text()) | fields
        (folder / "envelope.json").write_bytes(canonical(envelope))

    return change


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgefreeze import packing

    file = tmp_path_factory.mktemp("usb") / "edgefreeze-device.pyz"
    packing.write_helper(file)
    return file


@pytest.fixture
def install(program: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """install(FILE, *options, python=…): the helper alone, on a device whose root is tmp_path/device."""

    def call(file: Path, *options: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-I", str(program), "install", str(file), "--root", str(tmp_path / "device"), *options],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return call

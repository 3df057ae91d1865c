"""A helper to talk to, over pipes, started from the .pyz that devices get."""

import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.device import protocol
from edgefreeze.transport import pyz


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, digest = pyz.build()
    path = tmp_path_factory.mktemp("helper") / f"{digest}.pyz"
    path.write_bytes(data)
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def find_python(version: str) -> str | None:
    """An interpreter of this version that starts, None where the machine has none."""
    candidates = [str(p) for p in Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")]
    candidates += [found for found in [shutil.which(f"python{version}")] if found]
    for path in candidates:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([path, "-c", ""], check=True, capture_output=True)
            return path
    return None


class Helper:
    """A helper process, and the host's end of its pipes."""

    def __init__(self, program: Path, root: Path, python: str = sys.executable, *options: str) -> None:
        self.process = subprocess.Popen(
            [python, "-I", str(program), "serve", "--root", str(root), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        found, self.noise = protocol.skip_to_magic(self.stdout)
        assert found, self.process.stderr.read() if self.process.stderr else ""
        self.greeting = protocol.read_message(self.stdout)
        self.events: list[dict[str, Any]] = []
        self.number = 0

    def send(self, op: str, args: dict[str, Any] | None = None, blob: bytes = b"") -> int:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "op": op, "args": args or {}}
        if blob:
            message["blob"] = len(blob)
        protocol.write_message(self.stdin, message)
        protocol.write_blob(self.stdin, blob)
        return self.number

    def receive(self, number: int | None) -> dict[str, Any]:
        while True:
            message = protocol.read_message(self.stdout)
            assert message["id"] == number, message
            if "event" in message:
                self.events.append(message["event"])
                continue
            size = protocol.blob_size(message)
            message["data"] = b"".join(protocol.read_blob(lambda: protocol.read_frame(self.stdout), size))
            return message

    def ask(self, op: str, args: dict[str, Any] | None = None, blob: bytes = b"") -> Any:
        """The result; an error is an AssertionError."""
        answer = self.receive(self.send(op, args, blob))
        assert answer["ok"], answer["error"]
        return dict(answer["result"], data=answer["data"]) if answer["data"] else answer["result"]

    def refuse(self, op: str, args: dict[str, Any] | None = None, blob: bytes = b"") -> dict[str, Any]:
        """The error; a result is an AssertionError."""
        answer = self.receive(self.send(op, args, blob))
        assert not answer["ok"], answer
        return answer["error"]

    def put(self, *contents: bytes) -> None:
        for data in contents:
            self.ask("put", {"sha256": sha(data), "bytes": len(data)}, data)

    def close(self) -> int:
        """End of input; the exit status."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        status = self.process.wait(20)
        self.stdout.close()
        assert self.process.stderr
        self.process.stderr.close()
        return status


Start = Callable[..., Helper]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def start(program: Path, root: Path) -> Iterator[Start]:
    """start(*options, python=…, root=…) -> a Helper that is ended with the test."""
    helpers: list[Helper] = []

    def begin(*options: str, python: str = sys.executable, root: Path = root) -> Helper:
        helpers.append(Helper(program, root, python, *options))
        return helpers[-1]

    yield begin
    for helper in helpers:
        if helper.process.poll() is None:
            helper.process.kill()
        helper.process.wait()
        for stream in (helper.stdin, helper.stdout, helper.process.stderr):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()


class Made:
    """A release as a host makes it: texts, contents, id. Nothing in it can be run unless artifacts say so."""

    def __init__(
        self,
        app: str = "cam",
        content: bytes = b"model",
        golden: bytes = b"golden",
        artifacts: list[dict[str, Any]] | None = None,
        files: dict[str, bytes] | None = None,
        python: str = sys.executable,
        runtimes: dict[str, Any] | None = None,
    ) -> None:
        self.files = {"saved/deep/model.pb": content, "labels.txt": b"cat\ndog\n"} if files is None else files
        self.golden = golden
        self.app = app
        self.manifest = {
            "schema": 1,
            "app": app,
            "target": "pi4",
            "artifacts": artifacts
            or [
                {
                    "format": "frozen_pb",
                    "precision": "fp32",
                    "status": "unverified",
                    "path": "saved/deep/model.pb",
                    "runtime": "tf_frozen",
                }
            ],
            "files": [
                {"path": path, "sha256": sha(data), "bytes": len(data)} for path, data in self.files.items()
            ],
        }
        self.text = protocol.canonical(self.manifest).decode()
        self.id = sha(self.text.encode())
        self.envelope = {
            "schema": 1,
            "manifest_sha256": self.id,
            "created": "2026-11-21T11:08:00Z",
            "sequence": 7,
            "golden": {"sha256": sha(golden), "bytes": len(golden), "cases": 1},
            "host": {},
        }
        self.binding = {"python": python, "runtimes": runtimes or {}}

    @property
    def contents(self) -> tuple[bytes, ...]:
        return (*self.files.values(), self.golden)

    @property
    def args(self) -> dict[str, Any]:
        return {
            "app": self.app,
            "manifest": self.text,
            "envelope": protocol.canonical(self.envelope).decode(),
            "binding": self.binding,
        }

    @property
    def named(self) -> dict[str, str]:
        return {"app": self.app, "release": self.id}

    def stage(self, helper: Helper) -> None:
        helper.ask("open_app", {"app": self.app, "who": "tester", "mode": "write"})
        helper.put(*self.contents)
        assert helper.ask("stage", self.args)["release"] == self.id

    def deploy(self, helper: Helper) -> None:
        self.stage(helper)
        helper.ask("activate", dict(self.named, allow_unverified=True))


@pytest.fixture
def made() -> type[Made]:
    return Made


def current(root: Path, app: str = "cam") -> str | None:
    try:
        return str((root / "apps" / app / "current").readlink()).removeprefix("releases/")
    except FileNotFoundError:
        return None


def whole(root: Path, release: str, app: str = "cam") -> bool:
    """Whether every file of a release is there with its digest."""
    import json

    folder = root / "apps" / app / "releases" / release
    data = (folder / "manifest.json").read_bytes()
    envelope = json.loads((folder / "envelope.json").read_bytes())
    golden = (folder / "golden" / "golden.npz").read_bytes()
    return (
        sha(data) == release
        and sha(golden) == envelope["golden"]["sha256"]
        and all(sha((folder / f["path"]).read_bytes()) == f["sha256"] for f in json.loads(data)["files"])
    )


@pytest.fixture
def look() -> Any:
    """Functions that look at a device's folder from outside."""

    class Look:
        current = staticmethod(current)
        whole = staticmethod(whole)
        sha = staticmethod(sha)
        python = staticmethod(find_python)

    return Look

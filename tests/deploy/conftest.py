"""Models, releases and a command line for tests that deploy."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import edgefreeze.cache
import edgefreeze.deploying
from edgefreeze import accuracy, targets
from edgefreeze.building import Built, build
from edgefreeze.cli import main
from edgefreeze.progress import Silent
from edgefreeze.release import manifest
from tests.lab_plugin import LabDevice

HERE = Path(__file__).parent


def make(folder: Path, *names: str) -> Path:
    done = subprocess.run(
        [sys.executable, str(HERE / "make_models.py"), str(folder), *names], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small_a and small_b."""
    return make(tmp_path_factory.mktemp("small"), "small_a", "small_b")


@pytest.fixture(scope="session")
def mobilenets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mobilenet_a.keras, mobilenet_b.keras and mobilenet_small.keras."""
    return make(tmp_path_factory.mktemp("mobilenets"), "mobilenet_a", "mobilenet_b", "mobilenet_small")


@pytest.fixture(scope="session")
def releases(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Releases of small_a and small_b for x86, TFLite alone, made and proved once."""
    target = targets.load("x86")
    made = {}
    for name in ("small_a", "small_b"):
        made[name] = build(
            small / name,
            target,
            app="demo",
            out=tmp_path_factory.mktemp(name),
            progress=Silent(),
            wanted=tuple(f for f in target.formats if f.format == "tflite"),
        )
    return made


@pytest.fixture(autouse=True)
def own_build_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests break must be built, and what they build must not be taken elsewhere. Runtimes' trees
    stay in the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "builds"
    monkeypatch.setattr(edgefreeze.cache, "_root", lambda: folder)


@pytest.fixture
def prebuilt(releases: dict[str, Built], monkeypatch: pytest.MonkeyPatch) -> None:
    """deploy() takes the releases made before, so that a test costs a second and not a conversion."""

    def ready(model: Path, target: Any, *, out: Path, app: str, options: Any, wish: Any, **_: Any) -> Built:
        built = releases[model.name]
        if wish.evaluation is not None:
            data = accuracy.open_data(wish.evaluation)
            built = replace(built, evaluation=accuracy.reference(model, data, options))
        shutil.copytree(built.release.folder, out, dirs_exist_ok=True)
        # The target may be another one (other limits): the release is that of x86 in any case.
        return replace(built, release=manifest.load(out))

    monkeypatch.setattr(edgefreeze.deploying, "build", ready)


@dataclass
class Result:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        assert document["schema"] == 1
        return document


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The local device's root, in a folder of the test's; the working directory is empty."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield tmp_path / "state" / "edgefreeze" / "local-device"
    # Content is read-only on a device; pytest's own clean-up must not stumble over it.
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path)], check=False)


@pytest.fixture
def edgefreeze_() -> Callable[..., Result]:
    """Run a command line in this process."""

    def call(*arguments: str | Path) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main.run([str(a) for a in arguments])
        return Result(status=status, out=out.getvalue(), err=err.getvalue())

    return call


WRONG_INTERPRETER = """
from real_litert.interpreter import Interpreter as _Real
from real_litert.interpreter import *

class Interpreter(_Real):
    def get_tensor(self, index):
        value = super().get_tensor(index)
        return value + 0.05 if value.dtype.kind == "f" and value.shape[-1] == 10 else value

    def tensor(self, index):
        return lambda: self.get_tensor(index)
"""


@pytest.fixture
def wrong_python(tmp_path: Path) -> Path:
    """An interpreter with a LiteRT that computes wrong numbers: the real one, and a twentieth on top."""
    import importlib.util
    import sysconfig

    home = tmp_path / "odd"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next((home / "lib").glob("python3.*/site-packages"))
    real = Path(sysconfig.get_paths()["purelib"])
    for name in (
        "numpy",
        "numpy.libs",
        "flatbuffers",
        "ml_dtypes",
        "google",
        "tqdm",
        "backports",
        "typing_extensions.py",
    ):
        if (real / name).exists():
            (packages / name).symlink_to(real / name)
    spec = importlib.util.find_spec("ai_edge_litert")
    assert spec is not None
    assert spec.submodule_search_locations
    original = Path(next(iter(spec.submodule_search_locations)))
    shutil.copytree(original, packages / "real_litert", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (packages / "real_litert").rglob("*.py"):
        text = file.read_text()
        if "ai_edge_litert" in text:
            file.write_text(text.replace("ai_edge_litert", "real_litert"))
    (packages / "ai_edge_litert").mkdir()
    (packages / "ai_edge_litert" / "__init__.py").write_text("")
    (packages / "ai_edge_litert" / "interpreter.py").write_text(WRONG_INTERPRETER)
    info = packages / "ai_edge_litert-2.3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.3.0\n")
    return home / "bin" / "python"


@pytest.fixture
def over_ssh(monkeypatch: pytest.MonkeyPatch, device: Path) -> Callable[[LabDevice], str]:
    """Make ssh find a board of the lab; gives the board's alias."""

    def use(board: LabDevice) -> str:
        monkeypatch.setenv("EDGEFREEZE_SSH_CONFIG", board.ssh_config)
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        return board.name

    return use

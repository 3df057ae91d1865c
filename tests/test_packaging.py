"""The wheel holds what the checkout has: targets, the runtimes' facts, the device helper's source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(kind: str, folder: Path, root: Path = ROOT) -> Path:
    """The wheel ("wheel") or source distribution ("sdist") of a checkout, made in a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, check=True, cwd=root, capture_output=True)
    (made,) = (p for p in folder.iterdir() if p.suffix in (".whl", ".gz"))
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.mark.process
def test_the_wheel_brings_targets_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"edgefreeze/_targets/{t.name}" for t in (ROOT / "targets").glob("*.toml")} <= names
    assert {"edgefreeze/runtimes/runtimes.toml", "edgefreeze/py.typed"} <= names
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "edgefreeze").rglob("*.py")}
    assert sources <= names


@pytest.mark.process
def test_the_source_distribution_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    for folder in ("sdist", "out", "again"):
        (tmp_path / folder).mkdir()
    with tarfile.open(build("sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    (source,) = (tmp_path / "out").iterdir()
    again = zipfile.ZipFile(build("wheel", tmp_path / "again", source))
    first = zipfile.ZipFile(wheel)
    assert {i.filename: i.CRC for i in again.infolist()} == {i.filename: i.CRC for i in first.infolist()}


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody whose home is empty, but for what this machine says of package indexes."""
    kept = {
        k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_", "SSL_")) or k.endswith("_proxy")
    }
    (tmp_path / "home").mkdir()
    cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "UV_CACHE_DIR": cache, **kept}


def uv(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("uv"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_alone_passes_the_demo(wheel: Path, tmp_path: Path, clean: dict[str, str]) -> None:
    """In an environment of its own, with the extra `demo`, far from the checkout."""
    python = tmp_path / "venv" / "bin" / "python"
    made = uv("venv", "--python", sys.executable, tmp_path / "venv")
    assert made.returncode == 0, made.stderr
    installed = uv("pip", "install", "--python", python, f"edgefreeze[demo] @ {wheel.as_uri()}")
    assert installed.returncode == 0, installed.stderr
    work = tmp_path / "work"
    work.mkdir()

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", *arguments], capture_output=True, text=True, env=clean, cwd=work, check=False
        )

    where = call("edgefreeze", "targets", "show", "pi4")
    assert where.returncode == 0, where.stderr
    done = call("edgefreeze.demo", work / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr
    shown = call("edgefreeze", "status", "--json")
    assert json.loads(shown.stdout)["apps"][0]["release"]


@pytest.mark.slow
def test_the_core_runs_from_the_wheel_without_being_installed(
    wheel: Path, tmp_path: Path, clean: dict[str, str]
) -> None:
    """As `pipx run --spec WHEEL edgefreeze` does it. It says which extra is lacking."""
    run = ("tool", "run", "--isolated", "--python", sys.executable, "--from", wheel, "edgefreeze")
    shown = uv(*run, "--version", env=clean)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("edgefreeze, version ")
    assert "tensorflow" not in shown.stdout
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"x")
    refused = uv(*run, "freeze", model, "-o", tmp_path / "f.pb", env=clean)
    assert refused.returncode == 3, refused.stderr
    assert "pip install 'edgefreeze[convert]'" in refused.stderr


def test_the_lock_names_no_host_and_hashes_everything() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "http" not in text
    assert "index-url" not in text
    pins = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
    assert len(pins) > 40
    assert text.count("--hash=sha256:") >= len(pins)

"""The wheel holds what the checkout has: targets, the runtimes' facts, the device helper's source."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_brings_targets_and_data(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"edgefreeze/_targets/{t.name}" for t in (ROOT / "targets").glob("*.toml")} <= names
    assert {"edgefreeze/runtimes/runtimes.toml", "edgefreeze/py.typed"} <= names
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "edgefreeze").rglob("*.py")}
    assert sources <= names


def test_the_lock_names_no_host_and_hashes_everything() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "http" not in text
    assert "index-url" not in text
    pins = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
    assert len(pins) > 40
    assert text.count("--hash=sha256:") >= len(pins)

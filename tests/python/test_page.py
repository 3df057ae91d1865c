"""docs/python.md runs, block by block, as a notebook would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgefreeze.worker.client import environment
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "python.md"
TOLD = """
import json
print("TOLD", json.dumps({
    "frozen": frozen.to_dict()["status"],
    "html": [r._repr_html_() for r in (frozen, found, built, compared, deployed, measured)],
    "repr": [repr(r) for r in (frozen, found, built, compared, deployed, measured)],
    "artifacts": [[a.key, a.status] for a in built.conversion.artifacts],
    "built": [built.to_dict()["path"], str(built.release.folder), built.release.contents[0].source.exists()],
    "active": edgefreeze.status(app="digits").apps[0].release,
    "release": deployed.to_dict()["release"],
    "answers": answers["output_0"].tolist(),
    "expected": infer_outputs,
    "events": [e.event for e in edgefreeze.history(app="digits").entries],
    "shelf": Path("shelf").is_dir(),
}))
"""
MORE = """
infer_outputs = model(np.array([[1.0, 2.0, 3.0, 4.0]])).numpy().tolist()
def stop(event):
    if event.step == "send":
        raise KeyError("enough")
try:
    edgefreeze.deploy("saved_model", app="other", formats="tflite", bench=False, progress=stop)
    raise SystemExit("the callback's error was lost")
except KeyError:
    pass
assert [a.app for a in edgefreeze.status().apps if a.release] == ["digits"]
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    work = tmp_path_factory.mktemp("page")
    code = "\n".join(block.text for block in blocks("python") if block.page == PAGE)
    states = {"XDG_STATE_HOME": str(work / "state"), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code + MORE + TOLD],
        cwd=work,
        env={**environment(), **states},
        capture_output=True,
        text=True,
    )
    # What a device keeps is read-only; pytest's own clean-up must not stumble over it.
    subprocess.run(["chmod", "-R", "u+w", str(work)], check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("TOLD ")[2]), done.stdout


@pytest.mark.tf
def test_the_examples_run(told: Any) -> None:
    said, printed = told
    assert said["frozen"] == "frozen"
    assert ["tflite", "verified"] in said["artifacts"]
    assert said["built"] == ["release", "release", True]
    assert said["active"] == said["release"]
    assert said["answers"][0] == pytest.approx(said["expected"][0], abs=1e-3)
    assert said["shelf"]
    assert "gate-failed" in printed


@pytest.mark.tf
def test_results_of_real_jobs_show_themselves(told: Any) -> None:
    said, _ = told
    assert all("<table" in html and "<script" not in html for html in said["html"])
    kinds = ["Frozen", "Inspection", "Built", "Comparison", "Deployment", "Measurement"]
    assert [text.split()[0] for text in said["repr"]] == [f"<{kind}" for kind in kinds]
    assert "local runs digits" in said["repr"][4]


USER = """
import edgefreeze

built = edgefreeze.build("m", target="pi4", formats=["tflite"], batch=1)
reveal_type(built.release.id)
reveal_type(edgefreeze.verify("a", against="b").equal)
deployed = edgefreeze.deploy("m", device="cam1", require="p95<40ms", threads=[1, 2])
reveal_type(deployed.bench)
reveal_type(edgefreeze.bench().result)
reveal_type(edgefreeze.freeze("m", optimize="max").parity)
reveal_type(edgefreeze.status().apps[0].releases)
reveal_type(edgefreeze.load_frozen("m.pb"))


def tell(event: edgefreeze.Event) -> None:
    reveal_type(event.total)


edgefreeze.deploy("m", progress=tell)
edgefreeze.deploy("m", thread=2)
edgefreeze.build("m", threads=2)
edgefreeze.deploy("m", batch="one")
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "user.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    revealed = [line.partition('"')[2].rstrip('"') for line in done.stdout.splitlines() if "Revealed" in line]
    assert revealed == [
        "str",
        "bool",
        "edgefreeze.benchmark.result.DuelResult | None",
        "edgefreeze.benchmark.result.DuelResult",
        "edgefreeze.types.Parity | None",
        "tuple[edgefreeze.documents.Stored, ...]",
        "edgefreeze.load.FrozenModel",
        "int | None",
    ], done.stdout + done.stderr
    errors = [line.partition("error: ")[2] for line in done.stdout.splitlines() if ": error: " in line]
    assert [error.rpartition("[")[2] for error in errors] == ["call-arg]", "call-arg]", "arg-type]"], (
        done.stdout
    )

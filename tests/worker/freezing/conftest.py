"""Models that are hard to freeze, and what became of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgefreeze.worker import client, prove
from tests.worker.conftest import converted, request

HERE = Path(__file__).parent
FROZEN = ["frozen_pb"]
SIGNATURES = {
    "tables": ("file", "several", "loop"),
    "states": ("counted", "scratch"),
    "decoders": ("wav", "images", "example", "raw", "wrapped", "csv", "gif", "sequence", "series", "tensor"),
}


@pytest.fixture(scope="session")
def hard_models(tmp_path_factory):
    """The folder that models.py of this folder filled."""
    folder = tmp_path_factory.mktemp("hard")
    done = subprocess.run(
        [sys.executable, str(HERE / "models.py"), str(folder)], capture_output=True, env=client.environment()
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder


@pytest.fixture(scope="session")
def replies(hard_models, run_many, tmp_path_factory):
    """(replies by name, folder of the outputs) of all conversions of this folder, made in one process."""
    out = tmp_path_factory.mktemp("made")
    asked = {
        signature: request(hard_models / model, out / signature, FROZEN, signature=signature)
        for model, signatures in SIGNATURES.items()
        for signature in signatures
    }
    states = hard_models / "states"
    hoist = {"hoist_state": True}
    asked |= {
        "sliding": request(states, out / "sliding", FROZEN, signature="sliding"),
        "hoisted": request(states, out / "hoisted", FROZEN, signature="sliding", freeze=hoist),
        "in_a_loop": request(states, out / "in_a_loop", FROZEN, signature="in_a_loop", freeze=hoist),
        "grow": request(hard_models / "tables", out / "grow", FROZEN, signature="grow"),
        "texts": request(hard_models / "texts.keras", out / "texts", FROZEN, freeze={"optimize": "max"}),
        "norms": request(hard_models / "norms.keras", out / "norms", FROZEN, freeze={"optimize": "max"}),
        "again": request(hard_models / "norms.keras", out / "again", FROZEN, freeze={"optimize": "max"}),
        "huge": request(hard_models / "huge", out / "huge", FROZEN, signature="counted"),
        "lite": request(hard_models / "tables", out / "lite", ["tflite", "onnx"], signature="file"),
    }
    return run_many(asked), out


@pytest.fixture(scope="session")
def proved(replies, hard_models, tmp_path_factory):
    """A function: the proved conversion of a name, with the models out of the way."""
    answers, out = replies
    known = {}

    def prove_it(name):
        if name not in known:
            assert "result" in answers[name], answers[name]
            aside = hard_models.with_name("aside")
            hard_models.rename(aside)
            try:
                known[name] = prove.prove(converted(answers[name]["result"]), out / name)
            finally:
                aside.rename(hard_models)
        return known[name]

    return prove_it

"""Models that others published, in every format and precision: verified, or refused with a reason."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.device import tensors
from edgefreeze.formats import FORMATS

from .conftest import Run

pytestmark = [pytest.mark.tf, pytest.mark.models, pytest.mark.slow]

MODELS = {
    "kws_savedmodel": {"input_1": "input_1"},
    "vww_96.h5": {"x": "input_1"},
    "ad01.h5": {"x": "input_1"},
    "half_plus_two_signatures": {"x": "x"},
    "half_plus_three_tf1": {"x": "x"},
    "template_tf1": {"features": "features", "keys": "keys"},
    "ds_cnn_s.pb": {"wav_data:0": "wav_data"},
}
"""What the references call the inputs, and what the model calls them."""


def inputs(folder: Path, model: str) -> dict[str, np.ndarray]:
    found = {}
    with np.load(folder / f"{model.partition('.')[0]}.npz") as file:
        for key in file:
            side, name, *rest = key.split("|")
            if side == "in" and rest == ["b64"]:
                texts = np.array([base64.b64decode(t) for t in file[key].reshape(-1)], object)
                found[MODELS[model][name]] = texts.reshape(file[f"in|{name}|shape"])
            elif side == "in" and not rest:
                found[MODELS[model][name]] = file[key]
    return found


@pytest.mark.parametrize("model", MODELS)
def test_every_cell_is_verified_or_refused_by_name(model: str, run: Run, tmp_path: Path) -> None:
    if "EDGEFREEZE_MODELS" not in os.environ:
        pytest.skip("EDGEFREEZE_MODELS is not set")
    folder = Path(os.environ["EDGEFREEZE_MODELS"])
    given = inputs(folder, model)
    (tmp_path / "in.npz").write_bytes(tensors.encode(given))
    typical = all(a.dtype.kind == "f" and a.ndim and len(a) >= 8 for a in given.values())
    wanted = [
        (name, precision)
        for name, known in FORMATS.items()
        for precision, facts in known.items()
        if not facts.recipe and (typical or not facts.calibrated)
    ]
    formats = [word for name, precision in wanted for word in ("--format", f"{name}:{precision}")]
    data = ["--calibration", tmp_path / "in.npz"] if typical else ["--samples", tmp_path / "in.npz"]
    status, document = run(
        "build", folder / model, "-t", "x86", "-o", tmp_path / "r", *formats, *data, "--no-cache"
    )
    assert status == 0, document
    cells = {f"{a['format']}:{a['precision']}": a for a in document["artifacts"]}
    print(json.dumps({key: [a["status"], a["reason"]] for key, a in cells.items()}, indent=1))
    assert set(cells) == {f"{name}:{precision}" for name, precision in wanted}
    for key, cell in cells.items():
        assert cell["status"] in ("verified", "refused"), (key, cell)
        assert cell["status"] == "verified" or cell["reason"], (key, cell)
        assert cell["status"] == "refused" or cell["parity"]["ok"], (key, cell)
    for key in ("frozen_pb:fp32", "saved_model:frozen"):
        assert cells[key]["status"] == "verified", cells[key]

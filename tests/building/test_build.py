"""`edgefreeze build` and `edgefreeze export`: the real worker, the real runtimes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.release import manifest

from .conftest import Run

pytestmark = pytest.mark.tf

ALL = ("frozen_pb", "tflite", "tflite:int8", "onnx:fp16", "saved_model:frozen")


def build(run: Run, made: Path, out: Path, *more: object) -> tuple[int, dict[str, object]]:
    formats = [word for key in ALL for word in ("--format", key)]
    return run(
        "build", made / "cnn.keras", "-t", "x86", "-o", out, *formats, "--calibration", made / "typical.npz",
        "--eval", made / "right.npz", "--max-accuracy-drop", 5, *more,
    )  # fmt: skip


def test_a_release_in_several_precisions_and_once_more(run: Run, made: Path, tmp_path: Path) -> None:
    status, first = build(run, made, tmp_path / "a")
    assert status == 0, first
    assert (first["command"], first["ok"], first["cached"]) == ("build", True, False)
    artifacts = {f"{a['format']}:{a['precision']}": a for a in first["artifacts"]}  # type: ignore[attr-defined]
    assert set(artifacts) == {
        "frozen_pb:fp32", "tflite:fp32", "tflite:int8", "onnx:fp16", "saved_model:frozen"
    }  # fmt: skip
    for artifact in artifacts.values():
        assert artifact["status"] == "verified", artifact
        path = tmp_path / "a" / artifact["path"]
        assert path.exists()
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact["sha256"]
            assert path.stat().st_size == artifact["bytes"]
        assert artifact["parity"]["ok"] is True
    # A poor int8 shows as such: the frozen graph is exact on the same inputs.
    assert artifacts["frozen_pb:fp32"]["parity"]["max_rel"] < 1e-5
    assert artifacts["tflite:int8"]["parity"]["max_rel"] > 1e-4
    assert 20 < artifacts["tflite:int8"]["parity"]["outputs"][0]["sqnr_db"] < 60
    accuracy = {a["format"]: a["accuracy"] for a in first["accuracy"]}  # type: ignore[attr-defined]
    assert accuracy["frozen_pb"] == 1.0
    assert manifest.load(tmp_path / "a").id == first["release"]

    started = time.monotonic()
    status, second = run(
        "build", made / "cnn.keras", "-t", "x86", "-o", tmp_path / "b",
        *[word for key in ALL for word in ("--format", key)], "--calibration", made / "typical.npz",
    )  # fmt: skip
    assert (status, second["cached"]) == (0, True)
    assert second["release"] == first["release"]
    assert "prove" not in second["seconds"]
    assert time.monotonic() - started < 5  # no process of TensorFlow was started: that alone takes longer


def test_a_cached_build_imports_no_tensorflow(made: Path, run: Run, tmp_path: Path, own_cache: Path) -> None:
    assert run("build", made / "cnn.keras", "--format", "tflite", "-o", tmp_path / "a")[0] == 0
    code = (
        "import sys; from edgefreeze.cli.main import run; "
        f"status = run(['build', {str(made / 'cnn.keras')!r}, '--format', 'tflite', '-o', "
        f"{str(tmp_path / 'b')!r}, '--json']); "
        "sys.exit(status or 'tensorflow' in sys.modules)"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(own_cache)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cached"] is True
    status, again = run("build", made / "cnn.keras", "--format", "tflite", "-o", tmp_path / "c", "--no-cache")
    assert (status, again["cached"]) == (0, False)


def test_only_what_is_released_stays_in_the_folder(made: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "r"
    status, document = run("build", made / "cnn.keras", "--format", "tflite", "-o", out)
    assert status == 0
    assert {p.name for p in out.iterdir()} == {
        "model.tflite", "golden.npz", "manifest.json", "envelope.json"
    }  # fmt: skip
    paths = {a["format"]: a["path"] for a in document["artifacts"]}  # type: ignore[attr-defined]
    assert paths == {"tflite": "model.tflite", "frozen_pb": None}
    # An older release gives way, anything else does not.
    assert run("build", made / "cnn.keras", "--format", "tflite", "-o", out)[0] == 0
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years")
    status, document = run("build", made / "cnn.keras", "--format", "tflite", "-o", tmp_path / "full")
    assert (status, document["error"]["code"]) == (3, "config-exists")
    assert (tmp_path / "full" / "thesis.tex").read_text() == "years"


def test_too_much_accuracy_lost_is_refused(made: Path, run: Run, tmp_path: Path) -> None:
    """Calibrated on what the model never sees, int8 clips; the gate on accuracy says so."""
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "dark.npz", image=draw.random((8, 12, 12, 3), dtype=np.float32) * 1e-3)
    status, document = run(
        "build", made / "cnn.keras", "--format", "tflite:int8", "--calibration", tmp_path / "dark.npz",
        "--samples", tmp_path / "dark.npz", "--eval", made / "right.npz", "--max-accuracy-drop", 0.5,
        "-o", tmp_path / "r", "--no-cache", "--tolerance", "output_0=1",
    )  # fmt: skip
    assert (status, document["error"]["code"]) == (6, "unverified")
    refused = document["artifacts"][0]  # type: ignore[index]
    assert (refused["format"], refused["precision"], refused["status"]) == ("tflite", "int8", "refused")
    assert "points lost, 0.5 allowed" in refused["reason"]
    assert not (tmp_path / "r").exists()


def test_calibration_data_that_does_not_fit_the_model(made: Path, run: Run, tmp_path: Path) -> None:
    for data in ("wrong.npz", "nan.npz"):
        started = time.monotonic()
        status, document = run(
            "build", made / "cnn.keras", "--format", "tflite:int8", "--calibration", made / data, "-o",
            tmp_path / "r",
        )  # fmt: skip
        assert status == 3
        assert document["error"]["code"] == "calibration-bad"
        assert time.monotonic() - started < 60
        assert not (tmp_path / "r").exists()


def test_folders_of_images_calibrate_and_evaluate(made: Path, run: Run, tmp_path: Path) -> None:
    from PIL import Image

    with np.load(made / "right.npz") as data:
        images, labels = (data["image"] * 255).astype(np.uint8), data["label"]
    # The classes are the folders in the order of their names: here the model's own numbers. Each has a file,
    # so that the numbers hold; what stands in for an empty class is wrong.
    assert len(set(labels.tolist())) >= 4
    for number in range(10):
        (tmp_path / "images" / f"class{number}").mkdir(parents=True)
        if number not in labels:
            Image.fromarray(images[0]).save(tmp_path / "images" / f"class{number}" / "x.png")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / "images" / f"class{label}" / f"{index:03}.png")
    status, document = run(
        "build", made / "cnn.keras", "--format", "tflite:int8", "--calibration", tmp_path / "images",
        "--eval", tmp_path / "images", "--normalise", "0..1", "-o", tmp_path / "r",
    )  # fmt: skip
    assert status == 0, document
    (int8,) = [a for a in document["artifacts"] if a["precision"] == "int8"]  # type: ignore[attr-defined]
    assert int8["status"] == "verified"
    rows = 120 + 10 - len(set(labels.tolist()))
    found = {a["format"]: a for a in document["accuracy"]}  # type: ignore[attr-defined]
    assert found["frozen_pb"]["rows"] == rows
    # A pixel's last bit may turn a close call.
    assert found["frozen_pb"]["original"] >= 0.9 * 120 / rows
    assert found["frozen_pb"]["accuracy"] == found["frozen_pb"]["original"]


def test_an_export_is_proved_and_written(made: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    status, document = run("export", made / "cnn.keras", "--format", "onnx", "--opset", 15, "-o", out)
    assert (status, document["status"], document["path"]) == (0, "verified", str(out))
    assert hashlib.sha256(out.read_bytes()).hexdigest() == document["sha256"]
    assert document["parity"]["max_rel"] < 1e-4
    status, document = run(
        "export", made / "cnn.keras", "--format", "saved_model:frozen", "-o", tmp_path / "s"
    )
    assert (status, document["status"]) == (0, "verified")
    assert (tmp_path / "s" / "saved_model.pb").is_file()
    status, document = run("export", made / "cnn.keras", "--format", "saved_model", "-o", tmp_path / "s")
    assert (status, document["error"]["code"]) == (3, "config-exists")


def test_a_recipe_for_the_device_says_how_and_is_never_called_verified(
    made: Path, run: Run, tmp_path: Path
) -> None:
    ask = ("export", made / "cnn.keras", "--format", "tensorrt:fp16", "-o", tmp_path / "r")
    status, document = run(*ask)
    assert (status, document["error"]["code"]) == (6, "unverified")
    assert "its self-test there is the proof" in document["error"]["message"]
    status, document = run(*ask, "--allow-unverified")
    assert (status, document["status"]) == (0, "unverified")
    recipe = json.loads((tmp_path / "r" / "recipe.json").read_text())
    assert recipe["arguments"] == [
        "--onnx=model.onnx", "--saveEngine=model.engine", "--fp16", "--shapes=image:1x12x12x3"
    ]  # fmt: skip
    assert (tmp_path / "r" / "model.onnx").stat().st_size > 1000
    # In a release it waits for the device's self-test, which no --allow-unverified may replace.
    status, document = run(
        "build", made / "cnn.keras", "--format", "tensorrt:fp16", "-o", tmp_path / "release"
    )
    assert (status, document["artifacts"][0]["status"]) == (0, "unverified")  # type: ignore[index]
    (artifact,) = manifest.load(tmp_path / "release").provable
    assert (artifact.built_there, artifact.runtime) == (True, "tensorrt")
    assert artifact.inputs[0].shape == (1, 12, 12, 3)


def test_what_cannot_be_proved_needs_a_word(made: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "m.tflite"
    status, document = run("export", made / "opaque", "--format", "tflite", "-o", out)
    assert (status, document["ok"]) in ((6, False), (3, False))
    assert not out.exists()
    status, document = run("build", made / "opaque", "--format", "frozen_pb", "-o", tmp_path / "r")
    assert (status, document["error"]["code"]) == (6, "unverified")
    assert "--allow-unverified" in document["error"]["next"]
    assert document["artifacts"][0]["status"] == "unverified"  # type: ignore[index]
    status, document = run(
        "build", made / "opaque", "--format", "frozen_pb", "-o", tmp_path / "r", "--allow-unverified"
    )
    assert (status, document["artifacts"][0]["status"]) == (0, "unverified")  # type: ignore[index]
    assert manifest.load(tmp_path / "r").provable == ()

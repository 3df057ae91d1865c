"""What can be seen of a wish before a model is loaded, and what is kept of a build."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgefreeze import cache, calibration, conversion, targets
from edgefreeze.building import Wish, wanted_formats
from edgefreeze.conversion import Options
from edgefreeze.errors import Failure
from edgefreeze.progress import Silent
from edgefreeze.targets import Format, Freeze
from edgefreeze.types import Artifact, Conversion, GoldenData, Tensor

X86 = targets.load("x86")


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def keys(wish: Wish, options: Options | None = None, target: targets.Target = X86) -> list[str]:
    return [f.key for f in wanted_formats(target, wish, options or Options(), Silent())]


def refusal(wish: Wish, options: Options | None = None, target: targets.Target = X86) -> Failure:
    with pytest.raises(Failure) as caught:
        wanted_formats(target, wish, options or Options(), Silent())
    return caught.value


@pytest.fixture
def typical(tmp_path: Path) -> Path:
    path = tmp_path / "typical.npz"
    np.savez(path, x=np.zeros((3, 2), "f"))
    return path


def test_the_targets_formats_unless_some_are_named(typical: Path) -> None:
    assert keys(Wish()) == [f.key for f in X86.formats]
    assert keys(Wish(formats=("tflite:fp16", "tflite:fp16", "onnx"))) == ["tflite:fp16", "onnx"]
    assert keys(Wish(no_tf=True)) == ["tflite", "onnx"]
    assert keys(Wish(formats=("tflite:int8",)), Options(calibration=typical)) == ["tflite:int8"]


def test_auto_is_all_that_could_be_fastest(typical: Path) -> None:
    found = keys(Wish(formats=("auto",)))
    assert {"frozen_pb", "saved_model", "tflite", "tflite:fp16", "tflite:dynamic", "onnx"} <= set(found)
    assert found[: len(X86.formats)] == [f.key for f in X86.formats]
    assert not {"tflite:int8", "tflite:16x8", "saved_model:frozen"} & set(found)
    assert "tflite:int8" in keys(Wish(formats=("auto",)), Options(calibration=typical))


def test_a_targets_tolerance_and_opset_hold() -> None:
    target = msgspec.structs.replace(
        X86, formats=(Format(format="onnx", opset=15, tolerance=1e-3), Format(format="tflite"))
    )
    (onnx,) = wanted_formats(target, Wish(formats=("onnx",)), Options(), Silent())
    assert (onnx.opset, onnx.allowed) == (15, 1e-3)
    (onnx,) = wanted_formats(target, Wish(formats=("onnx",), opset=17), Options(), Silent())
    assert onnx.opset == 17


def test_what_a_target_lists_but_lacks_data_for_is_left_out_and_told() -> None:
    target = msgspec.structs.replace(
        X86, formats=(Format(format="tflite", precision="int8"), Format(format="tflite"))
    )
    notes = Notes()
    assert [f.key for f in wanted_formats(target, Wish(), Options(), notes)] == ["tflite"]
    assert notes.notes == ["tflite:int8 is left out: it needs --calibration data"]


def test_refusals_before_anything_costs_time(tmp_path: Path) -> None:
    missing = refusal(Wish(formats=("tflite:int8",)))
    assert (missing.code, missing.exit_status) == ("calibration-missing", 3)
    assert "100 to 500" in str(missing.expected)
    assert refusal(Wish(max_accuracy_drop=1.0)).code == "usage"
    assert refusal(Wish(formats=("tflite:int3",))).code == "format-unknown"
    armv7l = msgspec.structs.replace(X86, match=msgspec.structs.replace(X86.match, machine=("armv7l",)))
    unfit = refusal(Wish(formats=("onnx",)), target=armv7l)
    assert unfit.code == "format-unfit"
    assert "there is no onnxruntime for armv7l" in unfit.message
    only = msgspec.structs.replace(X86, formats=(Format(format="frozen_pb"),))
    assert "nothing is left" in refusal(Wish(no_tf=True), target=only).message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "nothing"),
        (b"no zip", ""),
        ({}, "an empty file"),
        ({"x": np.full((4, 2), np.nan, "f")}, "8 of 8 values"),
        ({"x": np.zeros((1, 2), "f")}, "1 rows"),
    ],
)
def test_calibration_data_that_will_not_do(tmp_path: Path, content: object, found: str) -> None:
    path = tmp_path / "c.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    with pytest.raises(Failure) as caught:
        calibration.check(path)
    assert caught.value.code == "calibration-bad"
    assert found in str(caught.value.found)


def test_a_folder_of_calibration_data_needs_files(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="too little"):
        calibration.check(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    calibration.check(tmp_path)


def test_a_tolerance_of_an_output_goes_with_every_artifact_and_an_unknown_one_is_named() -> None:
    outputs = tuple(Tensor(name=n, tensor=n, dtype="float32", shape=None) for n in ("first", "second"))
    made = conversion._with_tolerances(result(outputs=outputs), {"first": 0.25})
    assert [a.tolerances for a in made.artifacts] == [{"first": 0.25}]
    with pytest.raises(Failure, match="did you mean 'second'") as caught:
        conversion._with_tolerances(result(outputs=outputs), {"secnd": 0.25})
    assert (caught.value.code, caught.value.expected) == ("usage", "first, second")


# --- the cache


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgefreeze" / "builds"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    (folder / "variables" / "variables.index").write_bytes(b"i")
    return folder


def ask(model: Path, options: Options | None = None, opset: int | None = None) -> dict[str, object]:
    wanted = [Format(format="onnx", opset=opset), Format(format="frozen_pb")]
    return conversion.request(model, Path("/nowhere"), wanted, Freeze(), options or Options())


def test_the_identity_is_all_that_decides(model: Path, typical: Path) -> None:
    first = cache.identity(ask(model))
    assert cache.identity(ask(model)) == first
    assert cache.identity({**ask(model), "out": "/elsewhere"}) == first
    others = [
        cache.identity(ask(model, opset=17)),
        cache.identity(ask(model, Options(signature="other"))),
        cache.identity(ask(model, Options(samples=typical))),
        cache.identity(ask(model), {"y": 0.1}),
    ]
    np.savez(typical, x=np.ones((3, 2), "f"))
    others.append(cache.identity(ask(model, Options(samples=typical))))
    (model / "variables" / "variables.index").write_bytes(b"j")
    others.append(cache.identity(ask(model)))
    assert len({first, *others}) == 1 + len(others)


def test_code_of_the_users_own_is_never_cached(model: Path) -> None:
    assert cache.may(ask(model))
    assert not cache.may(ask(model, Options(trust=True)))
    assert not cache.may(ask(model, Options(custom_objects=("m:C",))))


def test_a_checkpoint_is_all_its_files_and_a_file_only_itself(tmp_path: Path) -> None:
    for name in ("model.pb", "model.tflite", "c.index", "c.data-00000-of-00001", "c.meta", "other.index"):
        (tmp_path / name).write_bytes(name.encode())
    assert [p.name for p in cache._model_files(tmp_path / "model.pb")] == ["model.pb"]
    checkpoint = ["c.data-00000-of-00001", "c.index", "c.meta"]
    assert [p.name for p in cache._model_files(tmp_path / "c")] == checkpoint
    assert [p.name for p in cache._model_files(tmp_path / "c.meta")] == checkpoint


def result(**more: object) -> Conversion:
    artifact = Artifact(format="onnx", precision="fp32", status="verified", path="model.onnx")
    made = Conversion(
        model_kind="k", model_sha256="", signature=None, inputs=(), outputs=(), artifacts=(artifact,),
        golden=GoldenData(source="drawn", method="m", cases=4), versions={}, peak_bytes=1,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def folder_of(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    (folder / "saved_model").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"pb")
    return folder


def test_what_is_kept_comes_back_whole(kept: Path, tmp_path: Path) -> None:
    cache.keep("one", folder_of(tmp_path, "made"), result())
    out = tmp_path / "out"
    assert cache.restore("one", out) == result()
    assert (out / "model.onnx").read_bytes() == b"onnx"
    assert (out / "saved_model" / "saved_model.pb").read_bytes() == b"pb"
    assert cache.restore("two", tmp_path / "none") is None
    assert [p.name for p in kept.iterdir()] == ["one"]


@pytest.mark.parametrize("damage", ["changed", "missing", "no result"])
def test_what_is_damaged_is_not_taken(kept: Path, tmp_path: Path, damage: str) -> None:
    cache.keep("one", folder_of(tmp_path, "made"), result())
    file = kept / "one" / ("conversion.json" if damage == "no result" else "model.onnx")
    file.unlink()
    if damage != "missing":
        file.write_bytes(b"oops")
    assert cache.restore("one", tmp_path / "out") is None
    cache.keep("one", folder_of(tmp_path, "again"), result(peak_bytes=2))
    assert cache.restore("one", tmp_path / "out2") == result(peak_bytes=2)


def test_what_was_not_used_for_longest_goes(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("old", "used", "new")):
        cache.keep(name, folder_of(tmp_path, name), result())
        os.utime(kept / name, (number, number))
    cache.restore("old", tmp_path / "out")
    monkeypatch.setattr(cache, "LIMIT_BYTES", 3 * sum(p.stat().st_size for p in (kept / "old").rglob("*.*")))
    cache.keep("newest", folder_of(tmp_path, "newest"), result())
    left = {p.name for p in kept.iterdir()}
    assert {"newest", "old"} <= left
    assert "used" not in left


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache.keep("one", folder_of(tmp_path, "made"), result())
    assert cache.restore("one", tmp_path / "out") is None

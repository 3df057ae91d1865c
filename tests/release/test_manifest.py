"""What becomes a release, what its id depends on, and that a folder which was changed is none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgefreeze import targets
from edgefreeze.device.protocol import canonical
from edgefreeze.errors import Failure
from edgefreeze.release import manifest
from edgefreeze.release.manifest import Release
from edgefreeze.types import Artifact, Conversion, GoldenData, Tensor

X = Tensor(name="x", tensor="x:0", dtype="float32", shape=(None, 3))
ANY = Tensor(name="any", tensor="any:0", dtype="float32", shape=None)


def artifact(form: str, precision: str = "fp32", **more: Any) -> Artifact:
    known = {"status": "verified", "path": f"{form}-{precision}", "runtime": "tflite", "inputs": (X,)}
    return Artifact(format=form, precision=precision, **{**known, **more})


TFLITE, INT8 = artifact("tflite"), artifact("tflite", "int8")


def conversion(*artifacts: Artifact, **more: Any) -> Conversion:
    known: dict[str, Any] = {
        "model_kind": "keras", "model_sha256": "0" * 64, "signature": None, "inputs": (X,), "outputs": (ANY,),
        "golden": GoldenData(source="drawn", method="uniform 0..1", cases=4),
        "versions": {"tensorflow": "2.21", "python": "3.11.2", "keras": "3"}, "peak_bytes": 1,
    }  # fmt: skip
    return Conversion(**{**known, **more}, artifacts=artifacts)


def assembled(folder: Path, *artifacts: Artifact, target: str = "x86", **more: Any) -> Release:
    for each in artifacts:
        if each.path and not (folder / each.path).exists():
            (folder / each.path).write_bytes(each.key.encode())
    made = more.pop("made", conversion(*artifacts))
    return manifest.assemble(app="cam", target=targets.load(target), conversion=made, folder=folder, **more)


def test_what_is_assembled_is_what_is_loaded_again(tmp_path: Path) -> None:
    made = assembled(tmp_path, TFLITE, INT8, sequence=7)
    assert manifest.load(tmp_path) == dataclasses.replace(made, manifest=json.loads(made.manifest_text))
    text = (tmp_path / "manifest.json").read_bytes()
    assert made.id == hashlib.sha256(text).hexdigest()
    assert text == made.manifest_text.encode()
    assert (made.manifest["schema"], made.manifest["app"], made.manifest["target"]) == (1, "cam", "x86")
    assert made.manifest["files"] == [
        {"path": a.path, "sha256": hashlib.sha256(a.key.encode()).hexdigest(), "bytes": len(a.key)}
        for a in (TFLITE, INT8)
    ]
    envelope = json.loads(made.envelope_text)
    assert (envelope["schema"], envelope["manifest_sha256"], envelope["sequence"]) == (1, made.id, 7)
    golden = (tmp_path / "golden.npz").read_bytes()
    assert envelope["golden"] == {
        "sha256": hashlib.sha256(golden).hexdigest(), "bytes": len(golden), "cases": 4,
    }  # fmt: skip
    assert [c.source.name for c in made.contents] == ["tflite-fp32", "tflite-int8", "golden.npz"]
    assert made.signature is None


def test_the_id_is_of_what_is_the_same_everywhere(tmp_path: Path) -> None:
    """Neither when, nor how often, nor on which host it was built, nor what a proof happened to measure."""

    def identity(name: str, one: Artifact = TFLITE, **more: Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        return assembled(folder, one, **more).id

    first = identity("a")
    slow = dataclasses.replace(TFLITE, seconds=3.0, notes=("so",), reason="why", bytes=1)
    versions = {"tensorflow": "2.21", "python": "3.13.0", "keras": "3"}
    assert identity("b", slow, made=conversion(slow, versions=versions, peak_bytes=9), sequence=9) == first
    for number, other in enumerate(
        (
            dataclasses.replace(TFLITE, tolerance=0.5),
            dataclasses.replace(TFLITE, method="another way"),
            dataclasses.replace(TFLITE, inputs=(ANY,)),
            dataclasses.replace(TFLITE, status="unverified", built_there=True),
        )
    ):
        assert identity(f"c{number}", other) != first
    assert identity("d", made=conversion(TFLITE, versions={"tensorflow": "2.20"})) != first
    assert identity("e", target="pi4") != first


def test_the_model_is_described_for_an_application(tmp_path: Path) -> None:
    made = assembled(tmp_path, TFLITE, made=conversion(TFLITE, labels=("cat", "dog"), signature="serve"))
    assert made.manifest["model"] == {
        "signature": "serve",
        "inputs": [{"name": "x", "dtype": "float32", "shape": [None, 3]}],
        "outputs": [{"name": "any", "dtype": "float32", "shape": None}],
        "labels": ["cat", "dog"],
        "normalise": None,
    }
    assert made.manifest["provenance"]["versions"] == {"keras": "3", "tensorflow": "2.21"}


def test_each_runtime_that_is_needed_is_required_with_its_versions(tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text('extends = "x86"\n[runtimes]\nlitert = "==2.1.*"\n')
    frozen = artifact("frozen_pb", runtime="tf_frozen")
    bare = artifact("onnx", runtime=None)
    (tmp_path / "r").mkdir()
    made = assembled(tmp_path / "r", TFLITE, frozen, bare)
    assert set(made.manifest["requires"]) == {"litert", "tensorflow"}
    own = made.manifest["requires"]["litert"]
    for each in (TFLITE, frozen):
        (tmp_path / str(each.path)).write_bytes(b"x")
    narrowed = manifest.assemble(
        app="cam", target=targets.read(board).target, conversion=conversion(TFLITE, frozen), folder=tmp_path
    )
    assert narrowed.manifest["requires"]["litert"] == f"{own},==2.1.*"
    assert narrowed.manifest["requires"]["tensorflow"] == made.manifest["requires"]["tensorflow"]
    engine = artifact("tensorrt", runtime="tensorrt")
    assert assembled(tmp_path / "r", engine).manifest["requires"] == {"tensorrt": "trtexec"}


def test_only_what_was_proved_or_will_be_on_the_device_enters(tmp_path: Path) -> None:
    unchecked = artifact("onnx", status="unverified", reason="no inputs")
    recipe = artifact("tensorrt", status="unverified", built_there=True, runtime="tensorrt")
    refused = artifact("frozen_pb", status="refused", reason="it differs", path=None)
    every = (refused, unchecked, recipe, TFLITE)
    assert [a.key for a in assembled(tmp_path, *every).artifacts] == ["tensorrt", "tflite"]
    allowed = assembled(tmp_path, *every, allow_unverified=True)
    assert [a.key for a in allowed.artifacts] == ["onnx", "tensorrt", "tflite"]
    assert [a.key for a in allowed.provable] == ["tensorrt", "tflite"]
    assert allowed.primary is recipe, "the first that a device must prove"
    assert assembled(tmp_path, unchecked, allow_unverified=True).primary is unchecked
    described = {a["format"]: a for a in allowed.manifest["artifacts"]}
    assert described["tensorrt"]["built_there"] is True
    assert "built_there" not in described["tflite"]


def test_formats_that_are_asked_for_narrow_and_order(tmp_path: Path) -> None:
    made = assembled(tmp_path, TFLITE, INT8, artifact("onnx"), formats=("tflite:int8", "tflite"))
    assert [a.key for a in made.artifacts] == ["tflite:int8", "tflite"]
    assert made.primary is INT8


def test_nothing_left_is_no_release_and_says_why(tmp_path: Path) -> None:
    refused = artifact("tflite", status="refused", reason="it differs", path=None)
    unchecked = artifact("onnx", status="unverified", reason="no inputs", path=None)
    with pytest.raises(Failure) as caught:
        assembled(tmp_path, refused, unchecked)
    failure = caught.value
    assert (failure.code, failure.found) == ("unverified", "tflite: it differs; onnx: no inputs")
    assert "--allow-unverified" in (failure.next or "")
    with pytest.raises(Failure) as caught:
        assembled(tmp_path, refused, allow_unverified=True)
    assert caught.value.next is None, "what was refused is never let in"
    with pytest.raises(Failure) as caught:
        assembled(tmp_path, TFLITE, formats=("onnx",))
    assert (caught.value.found, caught.value.next) == (None, None)


def test_a_folder_is_all_its_files_each_once(tmp_path: Path) -> None:
    model = tmp_path / "saved_model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"pb")
    (model / "variables/data").write_bytes(b"weights")
    fp32 = artifact("saved_model", path="saved_model", runtime="tf_saved_model")
    inner = artifact("frozen_pb", path="saved_model/saved_model.pb", runtime="tf_frozen")
    made = assembled(tmp_path, fp32, inner)
    assert [f["path"] for f in made.manifest["files"]] == [
        "saved_model/saved_model.pb",
        "saved_model/variables/data",
    ]
    assert manifest.load(tmp_path).id == made.id


def test_assembling_anew_leaves_no_signature_of_before_and_keeps_the_golden_data(
    folder: Path, tmp_path: Path
) -> None:
    golden = (folder / "golden.npz").read_bytes()
    (folder / "envelope.sig").write_text("of another")
    assert manifest.load(folder).signature == "of another"
    made = assembled(folder, TFLITE)
    assert (made.signature, manifest.load(folder).signature) == (None, None)
    assert (folder / "golden.npz").read_bytes() == golden


# --- a folder that was changed


def refusal(folder: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        manifest.load(folder)
    assert caught.value.code == "bad-manifest"
    return caught.value


def rewritten(folder: Path, change: Any) -> None:
    """Another manifest, and an envelope that is of it."""
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    text = canonical(document)
    (folder / "manifest.json").write_bytes(text)
    envelope = json.loads((folder / "envelope.json").read_text())
    (folder / "envelope.json").write_bytes(
        canonical({**envelope, "manifest_sha256": hashlib.sha256(text).hexdigest()})
    )


@pytest.mark.parametrize("file", ["manifest.json", "envelope.json"])
@pytest.mark.parametrize("data", [None, b"", b"[]", b"{}", b"\xff", b"null"])
def test_a_folder_without_a_whole_manifest_and_envelope_is_none(
    folder: Path, file: str, data: bytes | None
) -> None:
    (folder / file).unlink() if data is None else (folder / file).write_bytes(data)
    assert f"{folder} is no release" in refusal(folder).message


def test_an_envelope_of_another_manifest_is_refused(folder: Path, changed_envelope: Any) -> None:
    changed_envelope(folder, manifest_sha256="0" * 64)
    failure = refusal(folder)
    assert "the envelope is of another manifest" in failure.message
    assert failure.found == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("file", ["model.tflite", "golden.npz", "notes/labels.txt"])
def test_a_file_that_is_missing_or_changed_is_named(folder: Path, file: str) -> None:
    before = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / file).write_bytes(b"changed")
    failure = refusal(folder)
    assert f"{file} is not what the manifest says" in failure.message
    assert (failure.expected, failure.found) == (before, hashlib.sha256(b"changed").hexdigest())
    (folder / file).unlink()
    assert refusal(folder).message == f"{folder}: {file} is missing"


@pytest.mark.parametrize(
    ("path", "digest"),
    [("../outside", None), ("/etc/passwd", None), ("model.tflite", "0"), ("model.tflite", "../x")],
)
def test_a_path_or_digest_that_is_none_is_refused(folder: Path, path: str, digest: str | None) -> None:
    (folder.parent / "outside").write_bytes(b"x")

    def change(document: dict[str, Any]) -> None:
        document["files"][0].update(path=path, **({"sha256": digest} if digest else {}))

    rewritten(folder, change)
    failure = refusal(folder)
    assert failure.message == f"{folder}: the manifest lists an unsafe path"
    assert failure.found == path


def test_an_artifact_that_is_none_is_refused(folder: Path) -> None:
    rewritten(folder, lambda m: m["artifacts"][0].update(tolerance="small"))
    assert "is no release" in refusal(folder).message


def test_a_folder_that_was_moved_is_the_same_release(folder: Path, tmp_path: Path) -> None:
    before = manifest.load(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert before.at(moved) == manifest.load(moved)

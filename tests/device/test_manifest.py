"""The device's judgement on a manifest, an envelope and a binding, and which artifact a name means."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edgefreeze.device import manifest, protocol
from edgefreeze.device.errors import DeviceError
from tests.device.conftest import Made

RELEASE = Made()
VERIFIED = {
    "format": "tflite", "precision": "fp32", "status": "verified", "path": "labels.txt", "runtime": "tflite",
}  # fmt: skip


def changed(change: Any) -> bytes:
    document = copy.deepcopy(RELEASE.manifest)
    change(document)
    return protocol.canonical(document)


def refusal(call: Any, *args: Any) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        call(*args)
    assert caught.value.code == "bad-manifest"
    return caught.value


def files(*paths: str) -> Any:
    """Other files, and an artifact that needs none of them."""

    def change(document: dict[str, Any]) -> None:
        document["files"] = [{"path": path, "sha256": "0" * 64, "bytes": 1} for path in paths]
        document["artifacts"][0].update(path=None)

    return change


def test_a_good_one_is_taken_as_it_is() -> None:
    assert manifest.parse_manifest(RELEASE.text.encode()) == RELEASE.manifest
    assert manifest.release_id(RELEASE.text.encode()) == RELEASE.id
    whole = changed(lambda m: m["artifacts"].append(VERIFIED))
    assert len(manifest.parse_manifest(whole)["artifacts"]) == 2
    # A folder of files may be an artifact: a SavedModel is one.
    for folder in ("saved", "saved/deep"):
        assert manifest.parse_manifest(changed(lambda m, f=folder: m["artifacts"][0].update(path=f)))


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        (lambda m: m.update(schema=2), "manifest.schema", "an integer from 1 to 1"),
        (lambda m: m.update(schema=0), "manifest.schema", "an integer from 1 to 1"),
        (lambda m: m.pop("target"), "manifest.target", "a value"),
        (lambda m: m.update(artifacts=[]), "manifest.artifacts", "a list of 1 to 100 items"),
        (lambda m: m.update(artifacts=m["artifacts"] * 101), "manifest.artifacts", "a list of 1 to 100 items"),
        (lambda m: m.update(files=[]), "manifest.files", "a list of 1 to 1000000 items"),
        (lambda m: m["files"][0].update(path="../x"), "manifest.files[0].path", "a relative path without .."),
        (lambda m: m["files"][0].update(bytes=-1), "manifest.files[0].bytes", "an integer from 0"),
        (lambda m: m["artifacts"][0].update(status="fine"), "manifest.artifacts[0].status", "one of verified"),
        (lambda m: m["artifacts"][0].update(runtime="Tf"), "manifest.artifacts[0].runtime", "a runtime's module"),
        (lambda m: m["artifacts"][0].update(tolerance=1e6 + 1), "manifest.artifacts[0].tolerance", "a number from 0 to"),
        (lambda m: m["artifacts"][0].update(tolerance=-1), "manifest.artifacts[0].tolerance", "a number from 0 to"),
        (lambda m: m["artifacts"][0].update(path="gone"), "manifest.artifacts[0].path", "a path among the files"),
        (lambda m: m["artifacts"][0].update(path="save"), "manifest.artifacts[0].path", "a path among the files"),
        (
            lambda m: m["artifacts"].append(m["artifacts"][0]), "manifest.artifacts[1]",
            "each format and precision once",
        ),
        (files("a", "a"), "manifest.files", "each path once, none beneath a file"),
        (files("a", "a/b"), "manifest.files", "each path once, none beneath a file"),
        *((files(f"{name}"), "manifest.files", "none of the names") for name in manifest.RESERVED),
        (files("golden/x"), "manifest.files", "none of the names"),
        (files("passing"), "manifest.files", "none of the names"),  # with it the release would be taken away
    ],
)  # fmt: skip
def test_a_bad_one_is_refused_and_the_field_named(change: Any, field: str, expected: str) -> None:
    error = refusal(manifest.parse_manifest, changed(change))
    assert error.more["field"] == field
    assert str(error.expected).startswith(expected)
    assert error.found


@pytest.mark.parametrize("lacking", ["path", "runtime"])
@pytest.mark.parametrize(
    ("fields", "must"),
    [
        ({"status": "verified"}, True),
        ({"status": "unverified", "built_there": True}, True),
        ({"status": "unverified"}, False),
        ({"status": "unverified", "built_there": False}, False),
        ({"status": "refused"}, False),
        ({"status": "refused", "built_there": True}, False),
    ],
)
def test_what_is_to_be_proved_needs_a_path_and_a_runtime(
    lacking: str, fields: dict[str, Any], must: bool
) -> None:
    artifact = {**VERIFIED, **fields}
    assert manifest.is_provable(artifact) is must
    del artifact[lacking]
    text = changed(lambda m: m.update(artifacts=[artifact]))
    if not must:
        assert manifest.provable(manifest.parse_manifest(text)) == []
        return
    assert refusal(manifest.parse_manifest, text).more["field"] == "manifest.artifacts[0]"
    whole = manifest.parse_manifest(changed(lambda m: m.update(artifacts=[{**VERIFIED, **fields}])))
    assert manifest.provable(whole) == whole["artifacts"]


def test_text_that_is_no_json_is_refused() -> None:
    for data in (b"", b"{", b"[]", b"null", b"\xff"):
        refusal(manifest.parse_manifest, data)
        refusal(manifest.parse_envelope, data, RELEASE.id)


def test_an_envelope_is_of_one_release() -> None:
    text = protocol.canonical(RELEASE.envelope)
    assert manifest.parse_envelope(text, RELEASE.id) == RELEASE.envelope
    error = refusal(manifest.parse_envelope, text, "0" * 64)
    assert (error.more["field"], error.expected) == ("envelope.manifest_sha256", "0" * 64)
    assert error.found == f'"{RELEASE.id}"'
    for field, value in (("sequence", -1), ("schema", 2), ("golden", {}), ("runtimes", {"tflite": "x"})):
        bad = protocol.canonical({**RELEASE.envelope, field: value})
        assert refusal(manifest.parse_envelope, bad, RELEASE.id).more["field"].startswith(f"envelope.{field}")
    runtimes = {"tflite": "0" * 64}
    good = protocol.canonical({**RELEASE.envelope, "runtimes": runtimes})
    assert manifest.parse_envelope(good, RELEASE.id)["runtimes"] == runtimes


@pytest.mark.parametrize(
    ("tree", "path", "taken"),
    [
        ("0" * 64, "site/numpy", True),
        ("0" * 64, "", True),  # the tree itself
        ("0" * 64, "/usr/lib", False),
        ("0" * 64, "../x", False),
        (None, "/usr/lib", True),
        (None, "site", False),
        (None, "", False),
    ],
)
def test_a_bindings_paths_are_in_its_tree_or_else_the_devices_own(
    tree: str | None, path: str, taken: bool
) -> None:
    binding = {"python": "/usr/bin/python3", "runtimes": {"tflite": {"tree": tree, "paths": [path]}}}
    if taken:
        assert manifest.parse_binding(binding) == binding
    else:
        assert refusal(manifest.parse_binding, binding).more["field"] == "binding.runtimes.tflite.paths"


def test_a_binding_needs_an_interpreter_and_knows_no_other_fields() -> None:
    good = {"python": "/usr/bin/python3", "runtimes": {"tflite": {"tree": None}}}
    assert manifest.parse_binding(good) == good
    assert refusal(manifest.parse_binding, {**good, "python": "python3"}).more["field"] == "binding.python"
    more = {**good, "runtimes": {"tflite": {"tree": None, "env": {}}}}
    assert refusal(manifest.parse_binding, more).more["field"] == "binding.runtimes.tflite.env"
    many = {**good, "runtimes": {"tflite": {"tree": None, "paths": ["/a"] * 101}}}
    assert refusal(manifest.parse_binding, many).more["field"] == "binding.runtimes.tflite.paths"
    refusal(manifest.parse_binding, None)


def artifact(form: str, precision: str = "fp32", **more: Any) -> dict[str, Any]:
    return {"format": form, "precision": precision, "path": f"{form}.{precision}", "runtime": "r", **more}


def test_an_artifact_is_found_by_its_name() -> None:
    there = {
        "artifacts": [
            artifact("tflite", "int8"), artifact("tflite"), artifact("onnx", "fp16"), artifact("onnx", "int8"),
            artifact("saved_model", path=None), artifact("frozen_pb", runtime=None),
        ]
    }  # fmt: skip

    def path(wanted: str) -> str:
        return str(manifest.find_artifact(there, wanted)["path"])

    assert path("tflite:int8") == "tflite.int8"
    assert path("tflite") == path("tflite:fp32") == "tflite.fp32", "a bare name is the fp32 one"
    assert path("onnx") == "onnx.fp16", "or the first where there is none"
    for wanted in ("onnx:fp32", "tflite:fp16", "saved_model", "frozen_pb", "tf", ""):
        with pytest.raises(DeviceError) as caught:
            manifest.find_artifact(there, wanted)
        error = caught.value
        assert (error.code, error.found) == ("no-artifact", wanted)
        assert error.expected == ["frozen_pb:fp32", "onnx:fp16", "onnx:int8", "tflite:fp32", "tflite:int8"]


def test_an_artifact_is_called_by_its_format_and_what_is_not_fp32() -> None:
    assert manifest.key(artifact("tflite")) == "tflite"
    assert manifest.key(artifact("tflite", "int8")) == "tflite:int8"


def tensor(**more: Any) -> dict[str, Any]:
    return {"name": "x", "tensor": "x:0", "dtype": "float32", "shape": [None, 3], **more}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("runtime", "a" * 32, "a" * 33),
        ("inputs", [tensor(shape=[-1])], [tensor(shape=[-2])]),
        ("inputs", [tensor(shape=[1] * 32)], [tensor(shape=[1] * 33)]),
        ("inputs", [tensor(name="x" * 512)], [tensor(name="x" * 513)]),
        ("inputs", [tensor()] * 1000, [tensor()] * 1001),
        ("outputs", [tensor(shape=None)] * 1000, [tensor()] * 1001),
        ("init_ops", ["x"] * 1000, ["x"] * 1001),
        ("tolerance", 0, -0.1),
        ("tolerance", 1e6, 1e6 + 0.5),
        ("tolerances", {"y": 0}, {"y": -0.1}),
        ("tolerances", {"y": 1e6}, {"y": 1e6 + 0.5}),
        ("providers", ["a"] * 10, ["a"] * 11),
    ],
)
def test_what_an_artifact_says_of_itself_has_bounds(field: str, good: Any, bad: Any) -> None:
    taken = changed(lambda m: m["artifacts"][0].update({field: good}))
    assert manifest.parse_manifest(taken)["artifacts"][0][field] == good
    error = refusal(manifest.parse_manifest, changed(lambda m: m["artifacts"][0].update({field: bad})))
    assert error.more["field"].startswith(f"manifest.artifacts[0].{field}")

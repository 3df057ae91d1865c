"""Formats and precisions by name, and the facts that other rooms take from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefreeze import formats, runtimes, targets
from edgefreeze.errors import Failure
from edgefreeze.targets import Format


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tflite", ("tflite", "fp32")),
        ("tflite:int8", ("tflite", "int8")),
        ("tflite:16x8", ("tflite", "16x8")),
        ("saved_model:frozen", ("saved_model", "frozen")),
        ("onnx:fp32", ("onnx", "fp32")),
    ],
)
def test_names(text: str, parsed: tuple[str, str]) -> None:
    assert formats.parse(text) == parsed
    assert formats.parse(formats.key(*parsed)) == parsed
    assert Format.of(text).key == formats.key(*parsed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tflight", "There is no format 'tflight'; did you mean 'tflite'?"),
        ("tflite:int9", "The format tflite has no 'int9'; did you mean 'int8'?"),
        ("frozen_pb:int8", "The format frozen_pb has no 'int8'."),
        ("", "There is no format ''."),
    ],
)
def test_unknown_names(text: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        formats.parse(text)
    assert (caught.value.code, caught.value.message) == ("format-unknown", message)


def test_every_format_has_a_runtime_and_is_a_targets() -> None:
    assert set(formats.FORMATS) == set(runtimes.table().format)
    known = runtimes.table()
    assert set(known.format.values()) == set(known.runner)
    assert set(known.runner.values()) == set(known.package) == set(known.own)


def test_a_target_may_list_precisions_each_once(tmp_path: Path) -> None:
    head = 'summary = "b"\n[match]\nmachine = ["x86_64"]\n'
    int8 = '[[formats]]\nformat = "tflite"\nprecision = "int8"\n'
    file = tmp_path / "b.toml"
    file.write_text(head + int8 + '[[formats]]\nformat = "tflite"\n')
    target = targets.read(file).target
    assert [f.key for f in target.formats] == ["tflite:int8", "tflite"]
    assert [f.allowed for f in target.formats] == [
        formats.FORMATS["tflite"]["int8"].tolerance,
        formats.FORMATS["tflite"]["fp32"].tolerance,
    ]
    for wrong, found in (
        (int8 + int8, "is there twice"),
        (int8.replace("int8", "int4"), "has no 'int4'"),
        (int8 + "opset = 17\n", "opset is ONNX's"),
    ):
        file.write_text(head + wrong)
        with pytest.raises(Failure, match=found) as caught:
            targets.read(file)
        assert caught.value.code == "config-value"

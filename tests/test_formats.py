"""Formats and precisions by name, and the facts that other rooms take from there."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

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
    assert set(formats.FORMATS) == set(runtimes.table().format) == set(get_args(formats.Name))
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


EVERY = [
    (name, precision, facts) for name, kinds in formats.FORMATS.items() for precision, facts in kinds.items()
]


def test_the_bare_name_of_every_format_is_what_comes_nearest_to_the_original() -> None:
    for name, precisions in formats.FORMATS.items():
        assert formats.default(name) == "fp32"
        assert formats.key(name, "fp32") == name
        assert min(p.tolerance for p in precisions.values()) == precisions["fp32"].tolerance


def test_the_fewer_bits_the_wider_the_tolerance() -> None:
    """float32 by the way of the format: the graph itself, another program's kernels, a GPU's; see FORMATS."""
    for _, precision, facts in EVERY:
        least, most = {
            "fp32": (1e-5, 1e-3), "frozen": (1e-5, 1e-5), "fp16": (5e-3, 1e-2), "dynamic": (3e-2, 3e-2),
            "16x8": (3e-2, 3e-2), "int8": (6e-2, 6e-2), "int8-io": (6e-2, 6e-2),
        }[precision]  # fmt: skip
        assert least <= facts.tolerance <= most
    assert (
        formats.FORMATS["frozen_pb"]["fp32"].tolerance
        == formats.FORMATS["saved_model"]["fp32"].tolerance
        == 1e-5
    )
    assert formats.FORMATS["tflite"]["fp32"].tolerance == formats.FORMATS["onnx"]["fp32"].tolerance == 1e-4
    assert formats.FORMATS["tflite"]["fp16"].tolerance == formats.FORMATS["onnx"]["fp16"].tolerance == 5e-3


def test_integers_for_activations_are_calibrated_and_nothing_else() -> None:
    calibrated = {precision for _, precision, facts in EVERY if facts.calibrated}
    assert calibrated == {"int8", "int8-io", "16x8"}
    assert all(facts.calibrated == (precision in calibrated) for _, precision, facts in EVERY)


def test_what_the_device_builds_is_tensorrts() -> None:
    assert {name for name, _, facts in EVERY if facts.recipe} == {"tensorrt"}
    assert all(facts.recipe for name, _, facts in EVERY if name == "tensorrt")


def test_what_may_be_chosen_as_the_fastest() -> None:
    """Not what changes the application's inputs, nor what another stands for, nor what is built over there."""
    assert {formats.key(name, precision) for name, precision, facts in EVERY if facts.contends} == {
        "frozen_pb", "saved_model", "tflite", "tflite:fp16", "tflite:dynamic", "tflite:int8",
        "onnx", "onnx:fp16", "onnx:int8",
    }  # fmt: skip


def test_a_mistake_says_what_there_is() -> None:
    with pytest.raises(Failure) as caught:
        formats.parse("tfl:int8")
    assert (caught.value.expected, caught.value.found) == (", ".join(formats.FORMATS), "tfl:int8")
    with pytest.raises(Failure) as caught:
        formats.require_precision("onnx", "fp17")
    assert (caught.value.expected, caught.value.found) == ("fp32, fp16, int8", "fp17")
    assert formats.require_precision("onnx", "fp16") is formats.FORMATS["onnx"]["fp16"]

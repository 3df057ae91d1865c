"""Errors in a user's TOML name file, line and nearest key."""

from __future__ import annotations

import pytest

from edgefreeze import toml
from edgefreeze.errors import Failure
from edgefreeze.inventory import ConfigFile
from edgefreeze.targets import TargetFile

GOOD = 'summary = "a board"\n\n[match]\nmachine = ["x86_64"]\n\n[[formats]]\nformat = "tflite"\n'


def failure(text: str, schema: type = TargetFile) -> Failure:
    with pytest.raises(Failure) as caught:
        toml.parse(text, "board.toml", schema)
    return caught.value


def test_a_good_file_is_read_with_its_defaults() -> None:
    target = toml.parse(GOOD, "board.toml", TargetFile)
    assert target.summary == "a board"
    assert (target.formats[0].resolved, target.formats[0].allowed) == ("fp32", 1e-4)
    assert target.limits.keep_releases == 3


@pytest.mark.parametrize(
    ("text", "schema", "line", "key", "near"),
    [
        (GOOD.replace("summary", "sumary"), TargetFile, 1, "sumary", "summary"),
        (GOOD + "\n[freeze]\noptimise = 'none'\n", TargetFile, 10, "optimise", "optimize"),
        (GOOD + '\n[[formats]]\nformat = "onnx"\nopsett = 3\n', TargetFile, 11, "opsett", "opset"),
        ('[devices.cam1]\ntarget = "pi4"\nhots = "x"\n', ConfigFile, 3, "hots", "host"),
        ('modl = "x"\n', ConfigFile, 1, "modl", "model"),
    ],
)
def test_an_unknown_key_is_named_with_line_and_nearest(
    text: str, schema: type, line: int, key: str, near: str
) -> None:
    found = failure(text, schema)
    assert found.code == "config-key"
    assert f"board.toml, line {line}: unknown key '{key}'" in found.message
    assert f"did you mean '{near}'" in found.message
    assert near in (found.expected or "")


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (GOOD + 'tolerance = "small"\n', 8, "float"),
        (GOOD + "tolerance = 3.5\n", 8, None),
        (GOOD.replace('["x86_64"]', '"x86_64"'), 4, "array"),
        (GOOD + '\n[freeze]\noptimize = "very"\n', 10, None),
        (GOOD + "\n[bench]\nthreads = 0\n", 10, None),
    ],
)
def test_a_wrong_value_is_named_with_its_line(text: str, line: int, expected: str | None) -> None:
    found = failure(text)
    assert found.code == "config-value"
    assert f"board.toml, line {line}: " in found.message
    assert found.expected == expected


def test_broken_toml_says_where() -> None:
    found = failure("summary = \n")
    assert found.code == "config-syntax"
    assert "line 1" in found.message


def test_a_file_that_is_no_text(tmp_path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Failure, match=r"x\.toml cannot be read"):
        toml.read(file, TargetFile)

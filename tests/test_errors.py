"""The table of codes is whole: all that is raised stands in it, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgefreeze
from edgefreeze.device.errors import CODES as DEVICE_CODES
from edgefreeze.errors import CODES, Failure, nearest, out_of_range

ROOT = Path(edgefreeze.__file__).parent


def raised() -> dict[str, str]:
    """Every literal first argument of a Failure(...) in the package, and where."""
    found = {}
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Failure"
            ):
                code = node.args[0] if node.args else None
                if isinstance(code, ast.Constant):
                    found[code.value] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return found


def test_every_code_that_is_raised_is_in_the_table() -> None:
    unknown = {code: where for code, where in raised().items() if code not in CODES}
    assert not unknown


def test_every_code_of_the_device_is_in_the_table() -> None:
    assert not set(DEVICE_CODES) - set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_cause_and_a_cure(code: str) -> None:
    entry = CODES[code]
    assert entry.exit_status in (1, 2, 3, 4, 5, 6, 7, 130)
    assert entry.cause.endswith(".")
    assert entry.cure


def test_a_failure_as_json_has_the_contracts_fields() -> None:
    failure = Failure("locked", "busy", expected="a", found="b", device_state="c", retry_safe=True, next="d")
    assert failure.as_json() == {
        "code": "locked", "message": "busy", "expected": "a", "found": "b", "device_state": "c",
        "retry_safe": True, "next": "d",
    }  # fmt: skip
    assert failure.exit_status == 1


def test_the_nearest_word() -> None:
    assert nearest("frozen-pb", ["frozen_pb", "onnx"]) == "frozen_pb"
    assert nearest("zzz", ["frozen_pb", "onnx"]) is None
    assert nearest("frozen_bp", ("onnx", "frozen_pb")) == "frozen_pb"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("locked", 1), ("gate-syntax", 2), ("bad-input", 3), ("unreachable", 4), ("hook-failed", 5),
        ("gate-failed", 6), ("rollback-failed", 7), ("interrupted", 130),
    ],
)  # fmt: skip
def test_the_exit_status_is_the_contracts(code: str, status: int) -> None:
    """0 done, 1 failed, 2 usage, 3 configuration or bad model, 4 unreachable, 5 rolled back, 6 a gate said no,
    7 a rollback failed too, 130 interrupted."""
    assert Failure(code, "x").exit_status == CODES[code].exit_status == status


def test_what_a_failure_does_not_say_is_null_and_its_detail_is_for_debugging_only() -> None:
    failure = Failure("locked", "busy", detail="a log")
    assert str(failure) == failure.message == "busy"
    assert failure.detail == "a log"
    assert failure.fields == {}
    assert failure.as_json() == {
        "code": "locked", "message": "busy", "expected": None, "found": None, "device_state": None,
        "retry_safe": None, "next": None,
    }  # fmt: skip


def test_a_word_that_is_half_like_another_is_offered_and_one_that_is_less_is_not() -> None:
    assert nearest("abcd", ["abxy"]) == "abxy"
    assert nearest("abcde", ["abxyz"]) is None


def test_an_options_value_that_cannot_be() -> None:
    failure = out_of_range("threads", 0, "1 to 256")
    assert (failure.code, failure.exit_status, failure.message) == ("usage", 2, "threads: 0 cannot be")
    assert (failure.expected, failure.found) == ("1 to 256", "0")

"""Checks of JSON from outside: what is just allowed, what is just not, and what the refusal says."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from edgefreeze.device import checks
from edgefreeze.device.checks import Check, Invalid


def refusal(check: Check, value: Any, where: str = "x") -> Invalid:
    with pytest.raises(Invalid) as caught:
        check(value, where)
    return caught.value


@pytest.mark.parametrize(
    ("check", "good", "bad", "expected"),
    [
        (checks.text(3), ["", "abc"], ["abcd", 3, None, b"a"], "a string"),
        (checks.integer(2, 5), [2, 5], [1, 6, 3.0, True, "3", None], "an integer from 2 to 5"),
        (checks.integer(), [0, checks.MAX_SIZE], [-1, checks.MAX_SIZE + 1], f"an integer from 0 to {1 << 50}"),
        (
            checks.number(0.5, 2), [0.5, 1, 2.0], [0.49, 2.01, True, math.nan, math.inf, "1"],
            "a number from 0.5 to 2",
        ),
        (checks.number(), [0, 1e9], [-0.1, 1.1e9], "a number from 0 to 1e+09"),
        (checks.one_of("a", "b"), ["a", "b"], ["c", "", None], "one of a, b"),
        (checks.list_of(checks.flag, 2, 1), [[True], [True, False]], [[], [True] * 3, "ab"], "a list of 1 to 2 items"),
        (checks.list_of(checks.flag), [[]], [None, {}], "a list of 0 to 1000000 items"),
        (checks.row(checks.flag, checks.name), [[True, "a"]], [[True], [True, "a", "a"], None], "a list of 2 items"),
        (checks.dict_of(checks.flag), [{}, {"a": True}], [[], None], "an object"),
        (checks.record({}), [{}, {"other": 1}], [[], None], "an object"),
        (checks.flag, [True, False], [0, 1, "true", None], "true or false"),
        (checks.safe_path, ["a", "a/b"], ["../a", "/a", "a//b", "", 3], "a relative path without .."),
        (
            checks.absolute_path, ["/", "/a b", "/" + "a" * 4095], ["", "a", "/a\n", "/\x7f", "/" + "a" * 4096, 3],
            "an absolute path",
        ),
        (checks.digest, ["0" * 64], ["0" * 63, "0" * 65, "g" * 64, "A" * 64], "a SHA-256 in hex"),
        (checks.name, ["cam-1.b_c", "a" * 64], ["", "a b", "a" * 65, "-a"], "a name of letters, digits"),
        (checks.line, ["", "a" * 256], ["a\nb", "a" * 257, "\x1b"], "one line of text"),
        (checks.anything, [None, {}, 3], [], ""),
    ],
)  # fmt: skip
def test_what_is_allowed_and_what_is_expected_otherwise(
    check: Check, good: list[Any], bad: list[Any], expected: str
) -> None:
    for value in good:
        check(value, "x")
    for value in bad:
        found = refusal(check, value)
        assert found.expected.startswith(expected), value
        assert (found.where, found.found) == ("x", checks.brief(value))


def test_the_place_is_told_however_deep() -> None:
    pair = checks.row(checks.flag, checks.flag)
    check = checks.record({"a": checks.list_of(checks.dict_of(checks.optional(pair)))})
    check({"a": [{}, {"k": None}, {"k": [True, False]}]}, "m")
    assert refusal(check, {"a": [{}, {"k": [True, 1]}]}, "m").where == "m.a[1].k[1]"
    assert refusal(check, {"a": [{"k": [1, 1]}]}, "").where == "a[0].k[0]"
    keyed = checks.dict_of(checks.flag, checks.name)
    keyed({"a": True}, "m")
    assert refusal(keyed, {"a b": True}, "m").where == "m key"
    assert str(refusal(checks.flag, 1, "")) == "value: expected true or false, found 1"
    assert str(refusal(checks.flag, 1, "m.a")) == "m.a: expected true or false, found 1"


def test_a_record_may_have_more_fields_unless_it_is_closed() -> None:
    open_one = checks.record({"a": checks.flag}, {"b": checks.flag})
    closed = checks.record({"a": checks.flag}, {"b": checks.flag}, closed=True)
    for check in (open_one, closed):
        check({"a": True}, "m")
        check({"a": True, "b": False}, "m")
        assert refusal(check, {"a": True, "b": 3}, "m").where == "m.b"
        lacking = refusal(check, {"b": True}, "m")
        assert (lacking.where, lacking.expected, lacking.found) == ("m.a", "a value", '"nothing"')
    open_one({"a": True, "c": 1}, "m")
    more = refusal(closed, {"a": True, "c": 1}, "m")
    assert (more.where, more.expected, more.found) == ("m.c", "no such field", "1")


def test_what_was_found_is_told_in_brief() -> None:
    assert checks.brief({"a": [1, None]}) == '{"a": [1, null]}'
    assert checks.brief(b"x") == '"<bytes>"'
    longest = "a" * 118
    assert checks.brief(longest) == json.dumps(longest)
    cut = checks.brief(longest + "a")
    assert (len(cut), cut[-3:]) == (120, "...")

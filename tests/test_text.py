"""Nothing from outside reaches a terminal as a command to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefreeze.text import clean, duration, ranges, short, size


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("a\x1b]8;;http://x\x1b\\b", "ab"),
        ("a\rb\x08c\x00", "abc"),
        ("\u202eevil", "evil"),
        ("two\nlines\tand", "two\nlines\tand"),
    ],
)
def test_escapes_are_taken_out(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(alphabet=st.characters(), max_size=200))
def test_no_control_character_is_left(raw: str) -> None:
    assert all(c in "\n\t" or (ord(c) >= 32 and not 127 <= ord(c) < 160) for c in clean(raw))


def test_length_is_bounded() -> None:
    assert clean("x" * 100, 10) == "x" * 9 + "…"


def test_figures_for_a_person() -> None:
    assert [size(n) for n in (0, 999, 1500, 2_500_000, 1_215_506_200)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 MB",
        "1.22 GB",
    ]
    assert [duration(s) for s in (0.424, 12.34, 185)] == ["0.42 s", "12.3 s", "3 min 05 s"]
    assert short("a" * 64) == "a" * 12
    assert short(None) == "none"


@given(st.sets(st.integers(0, 40)))
def test_ranges_are_as_linux_lists_processors(numbers: set[int]) -> None:
    read: set[int] = set()
    for part in filter(None, ranges(numbers).split(",")):
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == numbers
    assert ranges([5, 0, 2, 1, 1]) == "0-2,5"

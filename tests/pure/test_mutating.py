"""Mutants are small changes of what a program does, each told apart; and the list of pure modules is true."""

from __future__ import annotations

import ast

import pytest

from tests.pure import modules, mutants
from tests.pure.mutating import mutants as mutants_of
from tests.pure.mutating import mutated


def changes(source: str) -> set[str]:
    return {ast.unparse(mutated(source, mutant)) for mutant in mutants_of(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"pass", "a <= b", "a >= b"}),
        ("x = a == b", {"x = a != b"}),
        ("x = a is not None", {"x = a is None"}),
        ("x = a + 1", {"x = a - 1", "x = a + 2"}),
        ("x = a and (not b)", {"x = a or not b", "x = a and b"}),
        ("x = 'a' + b", set()),
        ("x = 'a %s' % b", set()),
        ("x = f'{1} a'", set()),
        ("x += 'a'", set()),
        ("x += 1", {"x -= 1", "x += 2"}),
        ("x = -1", {"x = 1", "x = -2"}),
        ("x = True", {"x = False"}),
        ("x = min(a)", {"x = max(a)"}),
        ("x = [a for a in b if a]", {"x = [a for a in b if not a]"}),
        ("x = b if a else c", {"x = b if not a else c"}),
        ("assert a < 1, 2", set()),
        ("'''A docstring.'''", set()),
        ("raise A", {"pass"}),
        ("@deco(1)\ndef f(a: A[1]) -> B[1]:\n    return a", {"@deco(1)\ndef f(a: A[1]) -> B[1]:\n    return None"}),
        ("def f():\n    return None", set()),
        ("class A:\n    b: C[D(ge=1)] | None = 0", {
            "class A:\n    b: C[D(ge=2)] | None = 0", "class A:\n    b: C[D(ge=1)] | None = 1",
        }),
    ],
)  # fmt: skip
def test_what_is_changed_and_what_is_not(source: str, expected: set[str]) -> None:
    assert changes(source) == expected


def test_each_mutant_is_one_change_and_its_line_is_told() -> None:
    source = "if a:\n    b = 1\n\nc = 2 * d"
    found = mutants_of(source)
    assert [(m.number, m.line, m.what) for m in found] == [
        (0, 1, "condition negated"), (1, 2, "1 → 2"), (2, 4, "mult → div"), (3, 4, "2 → 3"),
    ]  # fmt: skip
    whole = ast.unparse(ast.parse(source)).splitlines()
    for mutant in found:
        other = ast.unparse(mutated(source, mutant)).splitlines()
        assert sum(a != b for a, b in zip(whole, other, strict=True)) == 1


def test_a_seed_draws_the_same_mutants_again() -> None:
    module = "device/parity"
    drawn = mutants.drawn(module, 20, 1)
    assert len(drawn) == 20
    assert drawn == mutants.drawn(module, 20, 1) != mutants.drawn(module, 20, 2)
    every = mutants.drawn(module, 0, 1)
    assert set(drawn) < set(every)


@pytest.mark.parametrize("module", modules.TESTS)
def test_the_pure_modules_and_their_tests_are_there(module: str) -> None:
    assert modules.source(module).is_file()
    assert all(file.is_file() for file in modules.tests(module))


def test_modules_are_called_by_their_names() -> None:
    assert modules.matching([]) == list(modules.TESTS)
    assert modules.matching(["parity"]) == ["device/parity"]
    assert modules.matching(["errors"]) == ["errors", "device/errors"]
    with pytest.raises(SystemExit, match="no pure module nothing"):
        modules.matching(["nothing"])

"""No test is skipped for a reason that nobody wrote down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import skips

HERE = Path(__file__).parent
pytest_plugins = ["pytester"]


def reasons() -> dict[str, str]:
    """Every reason that the tests' sources give for a skip, with "…" for what changes, and where."""
    found: dict[str, str] = {}
    for file in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            where = f"{file.relative_to(HERE)}:{node.lineno}"
            assert name not in ("pytest.importorskip", "pytest.mark.skip"), where
            if name in ("pytest.skip", "pytest.mark.skipif"):
                given = [k.value for k in node.keywords if k.arg == "reason"] or node.args
                found[_text(given[0])] = where
    return found


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) if isinstance(value, ast.Constant) else "…" for value in values)
        case ast.Name(id="reason"):  # lab_plugin's, which is fitted below
            return "no board … is up (…): docker/lab up …"
    raise AssertionError(f"a reason that cannot be read: {ast.unparse(node)}")


def test_every_reason_that_tests_give_is_in_the_list_and_every_one_there_is_given() -> None:
    given = reasons()
    unknown = {text: where for text, where in given.items() if not any(s.fits(text) for s in skips.SKIPS)}
    assert not unknown
    assert [s.text for s in skips.SKIPS if not any(s.fits(text) for text in given)] == []


@pytest.mark.parametrize(
    ("reason", "at_a_desk", "in_ci"),
    [
        ("EDGEFREEZE_MODELS is not set", True, True),
        ("no Python 3.8 here", True, True),
        ("no board x86 is up (/x/lab.json): docker/lab up x86", True, False),
        ("openssh-server is not installed", True, False),
        ("I had no time", False, False),
        ("no Python 3.8 here, sorry", False, False),
    ],
)
def test_which_reasons_hold(reason: str, at_a_desk: bool, in_ci: bool) -> None:
    assert (skips.refusal(reason, in_ci=False) is None) is at_a_desk
    assert (skips.refusal(reason, in_ci=True) is None) is in_ci


def test_a_skip_for_another_reason_fails_wherever_it_is_made(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(
        test_one="""
        import pytest

        def test_known():
            pytest.skip("no Python 3.8 here")

        def test_unknown():
            pytest.skip("I had no time")

        @pytest.mark.skipif(True, reason="nor here")
        def test_marked():
            pass

        @pytest.fixture
        def lacking():
            pytest.skip("no git checkout")

        def test_of_a_fixture(lacking):
            pass

        @pytest.mark.xfail
        def test_expected():
            assert False
        """,
        test_two="import pytest\npytest.skip('never', allow_module_level=True)",
    )
    result = pytester.runpytest_inprocess(
        "-p", "tests.skips", "-p", "no:cacheprovider", "--continue-on-collection-errors"
    )
    result.stdout.fnmatch_lines_random(
        [
            "*no such reason: I had no time*",
            "*no such reason: nor here*",
            "*skipped in CI, where it must run: no git checkout*",
            "*no such reason: never*",
        ]
    )
    result.assert_outcomes(skipped=1, failed=1, errors=3, xfailed=1)

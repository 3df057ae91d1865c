"""Every kind of source, on models made on the spot: what can be frozen computes the same in a process that
never saw the original; what cannot is refused by name."""

import pytest

from edgefreeze.errors import CODES
from tests.worker.sources.cases import ALL, FROZEN, REFUSED

pytestmark = pytest.mark.tf

TOLERANCE = 1e-5


@pytest.mark.parametrize("name", FROZEN)
def test_each_model_is_frozen_with_its_names_and_numbers(answers, name):
    replies, differences = answers
    case, reply = FROZEN[name], replies[name]
    assert "error" not in reply, reply
    assert reply["kind"] == case.kind
    assert reply["signature"] == case.signature
    assert {t["name"]: t["tensor"] for t in reply["inputs"]} == case.inputs
    assert {t["name"]: t["tensor"] for t in reply["outputs"]} == case.outputs
    shapes = {t["name"]: t["shape"] for t in (*reply["inputs"], *reply["outputs"])}
    assert {key: shapes[key] for key in case.shapes} == case.shapes
    assert bool(reply["init_ops"]) == case.init
    if case.labels is not None:
        assert reply["labels"] == case.labels
    for way in ("frozen", "saved"):
        assert set(differences[name][way]) == set(case.outputs)
        for output, value in differences[name][way].items():
            assert isinstance(value, float), (way, output, value)
            assert value <= TOLERANCE, (way, output, value)


@pytest.mark.parametrize("name", REFUSED)
def test_each_model_that_cannot_be_is_refused_by_name(answers, name):
    case, reply = REFUSED[name], answers[0][name]
    assert "error" in reply, reply
    error = reply["error"]
    assert error["code"] == case.code
    assert CODES[case.code].exit_status in (2, 3)
    assert case.message in error["message"]
    assert case.found in (error["found"] or "")
    assert case.next in (error["next"] or "")
    assert error["expected"]


def test_no_case_was_left_out(answers):
    assert set(answers[0]) == set(ALL)

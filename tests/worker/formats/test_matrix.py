"""Every cell of (model × format × precision) is verified in its own runtime, in a fresh process, or refused with
a reason. docs/formats.md shows the results that are kept beside this file; EDGEFREEZE_KEEP=1 keeps new ones."""

import os
import re

import pytest

from tests.worker.formats import cells

pytestmark = pytest.mark.tf
NAMED = re.compile(
    r"(TensorFlow Lite has no|ONNX has no operation for|needs --calibration|inside a loop|above the tolerance|"
    r"looks things up in a table|whose range it cannot measure|it would be the fp32 file)"
)
"""What a refusal says: the operation, the node, the data, or the error that is in the way."""


def check(name, conversion):
    """All of a model's cells against what must be and what is kept."""
    outcomes = {cells.label(a.format, a.precision): cells.outcome(a) for a in conversion.artifacts}
    assert set(outcomes) == {cells.label(*cell) for cell in cells.CELLS}
    for cell, outcome in outcomes.items():
        assert outcome["status"] in ("verified", "refused"), (cell, outcome)
        if outcome["status"] == "refused":
            assert NAMED.search(outcome["reason"]), (cell, outcome)
    for model, form, precision in cells.MUST:
        if model == name:
            assert outcomes[cells.label(form, precision)]["status"] == "verified", (form, precision, outcomes)
    if os.environ.get("EDGEFREEZE_KEEP"):
        cells.keep(name, outcomes)
    kept = cells.known()[name]
    assert {c: o["status"] for c, o in outcomes.items()} == {c: o["status"] for c, o in kept.items()}


def test_the_small_cnn_in_every_format_and_precision(small):
    check(cells.CI, small[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", cells.OTHERS)
def test_a_model_in_every_format_and_precision(folder, name):
    cells.make(folder, name)
    check(name, cells.run(folder, name, folder / f"{name}_out"))


def test_results_are_kept_of_every_model():
    assert set(cells.known()) == {cells.CI, *cells.OTHERS}

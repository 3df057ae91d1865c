"""What a fuzzer found interesting, once more: seeds, and inputs that reached code which no other reached."""

from __future__ import annotations

import pytest

from .__main__ import NAMES, read
from .parsers import PARSERS


@pytest.mark.parametrize("name", NAMES)
def test_no_parser_raises_what_it_may_not(name: str) -> None:
    inputs = [*PARSERS[name].seeds(), *read(name)]
    assert len(inputs) > 5
    for data in inputs:
        PARSERS[name].run(data)


def test_every_parser_has_a_corpus() -> None:
    assert set(NAMES) == set(PARSERS)

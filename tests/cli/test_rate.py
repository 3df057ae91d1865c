"""Rates as people write them."""

from __future__ import annotations

import click
import pytest

from edgefreeze.cli.options import Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("200k", 200_000), ("1.5M", 1_500_000), ("5000", 5000), ("2 MB/s", 2_000_000), ("1kB", 1000)],
)
def test_rates(text: str, rate: int) -> None:
    assert Rate().convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1k", "1e6", "999", "0.5k", "1T"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Rate().convert(text, None, None)

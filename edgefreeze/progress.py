"""How a long job tells what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callbacks of a job. A job calls step() when a stage begins, advance() as its work gets done, and
    note() for what a person should know though nothing failed."""

    def step(self, name: str, text: str, total_bytes: int | None = None) -> None:
        """A stage begins; `name` is stable, `text` is for a person."""

    def advance(self, count: int) -> None:
        """So many bytes of the stage are done."""

    def note(self, text: str) -> None:
        """A warning or a remark."""


class Silent:
    """Nobody listens."""

    def step(self, name: str, text: str, total_bytes: int | None = None) -> None:
        """As Progress.step."""

    def advance(self, count: int) -> None:
        """As Progress.advance."""

    def note(self, text: str) -> None:
        """As Progress.note."""

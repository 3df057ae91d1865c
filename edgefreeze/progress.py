"""How a long job tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a job tells a callback.

    kind: "step", a stage begins, and `text` says which; "advance", more of it is done; "note", `text` is what
    a person should know though nothing failed.
    """

    kind: Literal["step", "advance", "note"]
    step: str
    """The stage's stable name ("connect", "build", "send" …); "" before the first."""
    text: str
    done: int = 0
    """How much of the stage is done: bytes, or samples while it is measured."""
    total: int | None = None
    """How much there is to do; None where that is not known beforehand."""


class Told:
    """Tells a callback. What the callback raises ends the job, as an interruption would."""

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self._callback = callback
        self._step, self._text, self._done = "", "", 0
        self._total: int | None = None

    def step(self, name: str, text: str, total_bytes: int | None = None) -> None:
        """As Progress.step."""
        self._step, self._text, self._done, self._total = name, text, 0, total_bytes
        self._callback(Event(kind="step", step=name, text=text, total=total_bytes))

    def advance(self, count: int) -> None:
        """As Progress.advance."""
        self._done += count
        self._callback(
            Event(kind="advance", step=self._step, text=self._text, done=self._done, total=self._total)
        )

    def note(self, text: str) -> None:
        """As Progress.note."""
        self._callback(Event(kind="note", step=self._step, text=text, done=self._done, total=self._total))

"""Progress for a person: a bar on a terminal, a line a stage in a log, nothing where JSON is asked for."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from edgefreeze import logs
from edgefreeze.progress import Progress, Silent
from edgefreeze.text import clean, duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Lines:
    """One line a stage, to stderr."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to tidy."""

    def step(self, name: str, text: str, total_bytes: int | None = None) -> None:
        """As Progress.step."""
        click.echo(f"  {clean(text)}", err=True)

    def advance(self, count: int) -> None:
        """As Progress.advance."""

    def note(self, text: str) -> None:
        """As Progress.note."""
        click.echo(f"  note: {clean(text)}", err=True)


class Live:
    """A spinner and, where the amount is known, a bar with rate and time left."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            Task,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar
        from rich.progress_bar import ProgressBar

        from edgefreeze.cli.output import console

        class Known(BarColumn):
            """A bar only where the amount is known; the spinner does for the rest."""

            def render(self, task: Task) -> ProgressBar:
                bar = super().render(task)
                bar.width = bar.width if task.total else 0
                return bar

        self._bar: Bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            Known(bar_width=24),
            TaskProgressColumn(show_speed=False),
            TimeRemainingColumn(compact=True),
            console=console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._text = ""
        self._started = 0.0

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, trace: TracebackType | None) -> None:
        self._finish(ok=kind is None)
        self._bar.stop()

    def _finish(self, *, ok: bool = True) -> None:
        if self._task is None:
            return
        self._bar.remove_task(self._task)
        self._task = None
        mark = "[green]✓[/]" if ok else "[red]✗[/]"
        took = duration(time.monotonic() - self._started)
        self._bar.console.print(f"{mark} {self._text} [dim]{took}[/]", highlight=False)

    def step(self, name: str, text: str, total_bytes: int | None = None) -> None:
        """As Progress.step."""
        from rich.markup import escape

        self._finish()
        self._text, self._started = escape(clean(text)), time.monotonic()
        self._task = self._bar.add_task(self._text, total=total_bytes or None)

    def advance(self, count: int) -> None:
        """As Progress.advance."""
        if self._task is not None:
            self._bar.advance(self._task, count)

    def note(self, text: str) -> None:
        """As Progress.note."""
        from rich.markup import escape

        self._bar.console.print(f"[yellow]![/] {escape(clean(text))}", highlight=False)


class _Quiet(Silent):
    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to tidy."""


class Logged:
    """Shows progress, and keeps what is told in the run's log."""

    def __init__(self, shown: Lines | Live | _Quiet) -> None:
        self._shown = shown

    def __enter__(self) -> Logged:
        self._shown.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def step(self, name: str, text: str, total_bytes: int | None = None) -> None:
        """As Progress.step."""
        logs.current.line(f"{name}: {text}")
        self._shown.step(name, text, total_bytes)

    def advance(self, count: int) -> None:
        """As Progress.advance."""
        self._shown.advance(count)

    def note(self, text: str) -> None:
        """As Progress.note."""
        logs.current.line(f"note: {text}")
        self._shown.note(text)


def show(*, as_json: bool, quiet: bool) -> Logged:
    """What fits the occasion. Use it as a context manager."""
    if as_json or quiet:
        return Logged(_Quiet())
    return Logged(Live() if sys.stderr.isatty() else Lines())


_: type[Progress] = Logged  # the checker holds it to that

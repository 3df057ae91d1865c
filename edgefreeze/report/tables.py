"""Tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console


Rows = tuple[list[str], list[list[str]]]
"""A table's headings, and its rows of as many cells."""


def new_table(*columns: str, title: str | None = None) -> Table:
    """A plain table: the first column to the left, the others to the right."""
    from rich import box

    named = None if title is None else escape(title)
    table = Table(box=box.SIMPLE_HEAD, title=named, title_justify="left", title_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if number == 0 else "right")
    return table


def add_row(table: Table, *cells: str | Text) -> None:
    """A row whose texts stand for themselves, whatever rich would make of their brackets; what has a colour
    is a Text."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def show(console: Console, table: Table) -> None:
    """Print a table so that every word of it can be read: lines are broken between words, and where the
    terminal is too narrow for that, each row becomes a few lines of its own."""
    from rich.cells import cell_len

    cells = [[_text(console, cell) for cell in column.cells] for column in table.columns]
    heads = [console.render_str(str(column.header)) for column in table.columns]
    texts = [[head, *inner] for head, inner in zip(heads, cells, strict=True)]
    least = [max((cell_len(w) for t in column for w in t.plain.split()), default=0) for column in texts]
    most = [
        max((cell_len(line) for t in column for line in t.plain.splitlines()), default=0) for column in texts
    ]
    spare = console.width - sum(least) - 3 * len(least)
    if spare >= 0:
        for column, narrow, wide in zip(table.columns, least, most, strict=True):
            more = min(spare, wide - narrow)
            column.width = narrow + more
            spare -= more
        console.print(table)
        return
    if table.title:
        console.print(table.title, style="bold")
    width = max(len(head) for head in heads[1:])
    for row in zip(*cells, strict=True):
        console.print(row[0], style="bold")
        for head, cell in zip(heads[1:], row[1:], strict=True):
            if cell.plain:
                console.print(Text(f"  {head.plain:<{width}} "), cell, sep="")


def _text(console: Console, cell: object) -> Text:
    return cell if isinstance(cell, Text) else console.render_str(str(cell))

"""Tables of pairs in the terminal, and in a pipe, where nothing is wrapped or filled up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 100_000
"""Columns of a console that is a pipe or a file."""


def print_rows(names: Sequence[str], rows: Sequence[Sequence[Text]], console: Console) -> None:
    """Print rows of cells: the first column as wide as it is, the others share what is left.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    rows : sequence of sequences of rich.text.Text
    console : rich.console.Console
        One of ``PIPE_WIDTH`` columns wraps nothing.
    """
    piped = console.width >= PIPE_WIDTH
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=not piped)
    first, *others = names
    table.add_column(first, justify="right", no_wrap=True)
    for name in others:
        table.add_column(name, ratio=None if piped else 1, no_wrap=piped, overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")  # columns are filled up with spaces

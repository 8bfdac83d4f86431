"""A text on a grid of columns: what stands in a cell, and where a row ends.

A terminal and a picture lay out a text by these cells, so that what belongs to a character can
stand below it. An ideograph takes two columns, a combining mark none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

CIRCLE = "\u25cc"  # what Unicode draws below a mark that has no letter


class TextCell(NamedTuple):
    """What is seen as one character: symbols `start` to before `stop` of a text.

    shown: the first of them with the marks that stand on it. columns: how many it takes.
    """

    shown: str
    columns: int
    start: int
    stop: int


@cache
def char_columns(char: str) -> int:
    """Return how many columns a character takes.

    >>> char_columns("a"), char_columns("中"), char_columns("\u0301")
    (1, 2, 0)
    """
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # marks, joiners
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def text_columns(text: str) -> int:
    """Return how many columns a text takes in one line."""
    return sum(map(char_columns, text))


def make_cells(
    symbols: Iterable[str],
    columns_of: Callable[[str], int] = text_columns,
    *,
    joins_marks: bool = True,
) -> list[TextCell]:
    """Return the cells of a text, whose symbols are what is shown of each character.

    columns_of: what the terminal makes of a symbol. joins_marks: a symbol of no width stands on the
    one before it; else each has a cell of its own, on a circle.

    >>> [cell.shown for cell in make_cells(["a", "中"])]
    ['a', '中']
    """
    cells: list[TextCell] = []
    for at, shown in enumerate(symbols):
        columns = columns_of(shown)
        if columns:
            cells.append(TextCell(shown, columns, at, at + 1))
        elif cells and joins_marks:
            base = cells[-1]
            cells[-1] = TextCell(base.shown + shown, base.columns, base.start, at + 1)
        else:
            cells.append(TextCell(CIRCLE + shown, 1, at, at + 1))
    return cells


def iter_rows(
    cells: Iterable[TextCell], width: int, ends: Sequence[bool] = ()
) -> Iterator[list[TextCell]]:
    """Break cells into rows of at most `width` columns, between any two.

    ends: whether a line ends after each symbol; without it, the cells are one line.

    >>> [len(row) for row in iter_rows(make_cells("abcde"), 3)]
    [3, 2]
    """
    row: list[TextCell] = []
    room = width
    for cell in cells:
        if row and cell.columns > room:
            yield row
            row = []
            room = width
        row.append(cell)
        room -= cell.columns
        if ends and any(ends[cell.start : cell.stop]):
            yield row
            row = []
            room = width
    if row:
        yield row

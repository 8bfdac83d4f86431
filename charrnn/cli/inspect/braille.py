"""Curves and dots on a terminal: each character cell has two by four dots of Braille."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.text import Text

from charrnn.interpret.svg import Axis, Point

# The bit of each dot in a cell, by row from the top and column: Unicode's order of dots.
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_LABEL_COLUMNS = 9  # of the numbers on the left


class BrailleChart:
    """A chart of `columns` × `rows` cells; what is drawn last has its style where two meet."""

    def __init__(self, across: Axis, up: Axis, columns: int = 60, rows: int = 12) -> None:
        """columns: with the numbers on the left."""
        self._across = across
        self._up = up
        self._columns = max(columns - _LABEL_COLUMNS, 8)
        self._rows = rows
        self._bits = [[0] * self._columns for _ in range(rows)]
        self._styles = [[""] * self._columns for _ in range(rows)]
        self._signs: dict[tuple[int, int], str] = {}  # by row and column

    def curve(self, points: Iterable[Point], style: str = "") -> None:
        """Add a curve; points that are not finite, or not above 0 on a logarithm, break it."""
        last: tuple[int, int] | None = None
        for point in points:
            place = self._place(point)
            if place and last:
                steps = max(abs(place[0] - last[0]), abs(place[1] - last[1]), 1)
                for step in range(steps + 1):
                    x = round(last[0] + (place[0] - last[0]) * step / steps)
                    y = round(last[1] + (place[1] - last[1]) * step / steps)
                    self._set(x, y, style)
            last = place

    def dots(self, points: Iterable[Point], style: str = "") -> None:
        """Add dots."""
        for point in points:
            if place := self._place(point):
                self._set(*place, style)

    def sign(self, point: Point, char: str, style: str = "") -> None:
        """Write a character at a point, over what is drawn there, or beside another one."""
        if place := self._place(point):
            row, column = place[1] // 4, place[0] // 2
            while (row, column) in self._signs and column:
                column -= 1
            self._signs[row, column] = char
            self._styles[row][column] = style

    def lines(self) -> list[Text]:
        """Return the chart, with numbers on the left and below."""
        labels = self._labels()
        rows = []
        for number, (bits, styles) in enumerate(zip(self._bits, self._styles, strict=True)):
            row = Text(f"{labels.get(number, ''):>{_LABEL_COLUMNS - 2}} ┤")
            for column, (bit, style) in enumerate(zip(bits, styles, strict=True)):
                drawn = chr(_BLANK + bit) if bit else " "
                row.append(self._signs.get((number, column), drawn), style)
            rows.append(row)
        return [*rows, Text(self._below()), Text(" " * _LABEL_COLUMNS + self._across.name)]

    def _labels(self) -> dict[int, str]:
        """Return the numbers on the left by row."""
        return {
            round((1 - self._up.share(value)) * (self._rows - 1)): name
            for value, name in self._up.ticks
        }

    def _below(self) -> str:
        """Return the line of numbers below."""
        line = [" "] * (_LABEL_COLUMNS + self._columns + 8)
        end = 0
        for value, name in self._across.ticks:
            at = _LABEL_COLUMNS + round(self._across.share(value) * (self._columns - 1))
            if at >= end:
                line[at : at + len(name)] = name
                end = at + len(name) + 1
        return "".join(line).rstrip()

    def _place(self, point: Point) -> tuple[int, int] | None:
        for value, axis in zip(point, (self._across, self._up), strict=True):
            if not math.isfinite(value) or (axis.log and value <= 0):
                return None
        x = round(self._across.share(point[0]) * (2 * self._columns - 1))
        return x, round((1 - self._up.share(point[1])) * (4 * self._rows - 1))

    def _set(self, x: int, y: int, style: str) -> None:
        self._bits[y // 4][x // 2] |= _BITS[y % 4][x % 2]
        self._styles[y // 4][x // 2] = style


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Return a bar of eight heights for each value.

    >>> sparkline([0, 0.5, 1], 0, 1)
    '▁▅█'
    """
    bars = "▁▂▃▄▅▆▇█"
    span = high - low
    shares = (min(max((value - low) / span, 0.0), 1.0) for value in values)
    return "".join(bars[round(share * (len(bars) - 1))] for share in shares)

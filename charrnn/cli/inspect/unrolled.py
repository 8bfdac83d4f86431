"""The unrolled network in a terminal: a column for each character, a row for each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import one_line
from charrnn.cli.inspect.braille import sparkline
from charrnn.interpret.colors import CURVES, MAGNITUDE, letter_color, mix
from charrnn.interpret.unrolled import UnrolledReport

_LABEL, _COLUMN = 9, 6  # cells of the names on the left, and of a character
_U, _W, _V = CURVES[0], CURVES[1], CURVES[2]
_DECADES = 6


def show_unrolled(reports: Mapping[str, UnrolledReport], console: Console) -> None:
    """Print the network of each model along the characters around its place."""
    scale = max(report.scale for report in reports.values())
    strongest = max(float(report.gradients.max()) for report in reports.values())
    for number, (name, report) in enumerate(reports.items()):
        if number:
            print_line(console, "")
        kind = f"{report.cell} {report.num_layers}×{report.hidden_size}"
        print_line(console, f"{name}: {kind}, unrolled around place {report.at}", "bold")
        drawing = _Drawing(report, console, scale, strongest)
        for line in drawing.lines():
            print_line(console, line)


class _Drawing:
    """One network, as many columns as there is room for."""

    def __init__(
        self, report: UnrolledReport, console: Console, scale: float, strongest: float
    ) -> None:
        self._report = report
        self._scale = scale
        self._strongest = strongest
        self._has_colours = bool(console.color_system) and not console.no_color
        fit = max((console.width - _LABEL) // _COLUMN, 1)
        count = len(report.symbols)
        at = report.at - report.start
        first = max(0, min(at - fit + 1 + fit // 3, count - fit))
        self._columns = range(first, min(first + fit, count))

    def lines(self) -> list[Text]:
        """Return the drawing, the guesses on top."""
        report = self._report
        chances = [f"{100 * chance:.0f}%" for chance in report.chances]
        lines = [self._row("says", [_shown(name) for name in report.guesses])]
        lines += [self._row("", chances, "dim"), self._row("V", ["↑"] * len(chances), _V)]
        for layer in range(report.num_layers, 0, -1):
            lines += self._layer(layer)
            lines.append(self._row(f"U{layer}", ["↑"] * len(chances), _U))
        lines += [self._row("reads", [_shown(symbol) for symbol in report.symbols], "bold")]
        lines += [self._row("place", [str(report.start + t) for t in self._all], "dim")]
        for depth in range(report.num_layers):
            lines.append(self._row(f"∂ℓ/∂h{depth + 1}", self._bars(depth)))
        return [*lines, *map(Text, self._notes())]

    @property
    def _all(self) -> range:
        return range(len(self._report.symbols))

    def _row(self, label: str, words: Sequence[str], style: str = "") -> Text:
        """Return a row of words, each in the middle of its column."""
        row = Text()
        row.append(f"{label:<{_LABEL}}", "dim" if style in ("", "dim", "bold") else style)
        for t in self._columns:
            word = words[t]
            left = (_COLUMN - cell_len(word) + 1) // 2
            own = "reverse" if style == "bold" and t + self._report.start == self._report.at else ""
            row.append(" " * left)
            row.append(word, own or style)
            row.append(" " * (_COLUMN - left - cell_len(word)))
        row.rstrip()
        return row

    def _layer(self, layer: int) -> list[Text]:
        """Return the three rows of a layer: boxes with their state, and arrows between them."""
        report = self._report
        top, bottom = (Text(" " * _LABEL) for _ in range(2))
        middle = Text()
        middle.append(f"{f'h{layer}, W{layer}':<{_LABEL}}", _W)
        for t in self._columns:
            strength = float(report.strengths[t, layer - 1])
            digits = f"{strength:.2f}"[1:] if strength < 0.995 else f"{strength:.1f}"[:3]
            color = mix(MAGNITUDE, strength / self._scale)
            shade = f"{letter_color(color)} on {color}" if self._has_colours else ""
            top.append(" ┌───┐")
            bottom.append(" └───┘")
            middle.append("·" if t in report.ends else "┊" if t in report.cuts else "→", _W)
            middle.append("│").append(digits, shade).append("│")
        return [top, middle, bottom]

    def _bars(self, depth: int) -> list[str]:
        """Return a bar for each gradient, on a logarithm; nothing after the place."""
        bars = []
        for t in self._all:
            gradient = float(self._report.gradients[t, depth])
            share = 0.0
            if gradient > 0:
                share = 1 + math.log10(gradient / self._strongest) / _DECADES
            bars.append(sparkline([share], 0, 1) if gradient > 0 else "")
        return bars

    def _notes(self) -> list[str]:
        report = self._report
        notes = [
            "In the boxes: the root mean square of the state. The same U, W and V in each column.",
            f"∂ℓ/∂h: the gradient of the loss at place {report.at}; a bar of full height is the "
            f"largest, the lowest a millionth of it.",
        ]
        if report.gates:
            at = report.at - report.start
            gates = ", ".join(f"{name} {values[at]:.2f}" for name, values in report.gates.items())
            notes.append(f"Mean gates of layer {report.layer} there: {gates}.".replace("-", "−"))
        if report.seq_len is not None:
            notes.append(
                f"Training cuts the gradient every {report.seq_len} characters"
                + (" (┊, counted from the text's start)." if report.cuts else "; none in view.")
            )
        return notes


def _shown(symbol: str) -> str:
    """Return a token as a column has room for it."""
    symbol = "␣" if symbol == " " else one_line(symbol)
    return symbol if cell_len(symbol) < _COLUMN else set_cell_size(symbol, _COLUMN - 2) + "…"

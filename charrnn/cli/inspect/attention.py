"""The attention of an encoder–decoder in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import one_line
from charrnn.interpret.attention import AttentionReport
from charrnn.interpret.colors import MAGNITUDE, letter_color, mix

_COLUMNS = 3  # of a source token


def show_attention(reports: Mapping[str, AttentionReport], console: Console) -> None:
    """Print the weights of each model: a row for each token that is written, in percent."""
    has_colours = bool(console.color_system) and not console.no_color
    for name, report in reports.items():
        print_line(console, f"{name}: where it looks while it writes, in percent", "bold")
        if not report.weights.size:
            print_line(console, "this model has no attention: one vector holds the whole source")
        size = max([_COLUMNS, *(cell_len(_shown(symbol)) + 1 for symbol in report.source)])
        left = max((cell_len(_shown(symbol)) for symbol in report.target), default=0) + 1
        fit = max((console.width - left - 7) // size, 1)
        for start in range(0, max(len(report.source), 1), fit):
            part = slice(start, start + fit)
            head = "".join(_padded(_shown(symbol), size) for symbol in report.source[part])
            print_line(console, Text(" " * left + head))
            for symbol, row, bits in zip(report.target, report.weights, report.bits, strict=True):
                line = Text(_shown(symbol) + " " * (left - cell_len(_shown(symbol))))
                for weight in row[part].tolist():
                    line.append_text(_cell(weight, size, has_colours))
                line.append(f" {bits:5.2f} bits", "dim")
                print_line(console, line)


def _cell(weight: float, size: int, has_colours: bool) -> Text:
    digits = f"{100 * weight:.0f}" if weight >= 0.005 else ""
    background = mix(MAGNITUDE, weight)
    style = f"{letter_color(background)} on {background}" if has_colours and digits else ""
    return Text(digits.rjust(size), style)


def _padded(symbol: str, size: int) -> str:
    return " " * (size - cell_len(symbol)) + symbol


def _shown(symbol: str) -> str:
    return "␣" if symbol == " " else one_line(symbol)

"""What each side of a text says of its tags, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import one_line
from charrnn.cli.inspect.text import has_colors, print_beside
from charrnn.interpret.colors import MAGNITUDE, letter_color, mix
from charrnn.interpret.directions import DirectionsReport
from charrnn.interpret.pictures.directions import SIDES

_GUTTER = max(map(len, SIDES.values())) + 1


def show_directions(reports: Mapping[str, DirectionsReport], console: Console) -> None:
    """Print the tags of each model, and p of each by the left side, the right one, and both."""
    is_colored = has_colors(console)
    for name, report in reports.items():
        print_line(console, f"{name}: p of each tag in percent, reading one side or all", "bold")
        symbols = [_shown(symbol) for symbol in report.symbols]
        tags = [_shown(tag) for tag in report.tags]
        size = max(map(cell_len, (*symbols, *tags, "100"))) + 1
        fit = max((console.width - _GUTTER) // size, 1)
        for start in range(0, len(symbols), fit):
            part = slice(start, start + fit)
            print_beside(console, "text", [_row(symbols[part], size)], _GUTTER)
            print_beside(console, "tag", [_row(tags[part], size)], _GUTTER)
            for side, words in SIDES.items():
                shares = getattr(report, side)[part].tolist()
                line = Text.assemble(*(_cell(share, size, is_colored) for share in shares))
                print_beside(console, words, [line], _GUTTER)
            print_line(console, "")


def _shown(words: str) -> str:
    return one_line(words).replace(" ", "␣") or "·"


def _row(words: Sequence[str], size: int) -> Text:
    return Text("".join(" " * (size - cell_len(each)) + each for each in words))


def _cell(share: float, size: int, is_colored: bool) -> tuple[str, str]:
    color = mix(MAGNITUDE, share)
    style = f"{letter_color(color)} on {color}" if is_colored else ""
    return f"{100 * share:.0f}".rjust(size), style

"""The view `links` on a terminal: the text, coloured by what a prediction has to do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import format_character, one_line
from charrnn.cli.inspect.text import MIN_ROOM, has_colors
from charrnn.interpret.colors import letter_color
from charrnn.interpret.links import SCALES, Links, LinksReport, scale_share
from charrnn.interpret.pictures.links import METHODS, link_color, scale_steps
from charrnn.interpret.text import line_ends
from charrnn.text.columns import TextCell, iter_rows, make_cells

_COLUMNS = 120  # of the text, also on a wider terminal
_STRONGEST = 6
_MAX_DIGIT = 9


def show_links(reports: Mapping[str, LinksReport], console: Console) -> None:
    """Print what the predictions of one or several models rest on."""
    report = next(iter(reports.values()))
    is_colored = has_colors(console)
    print_line(console, METHODS[report.method], "bold")
    print_line(console, _legend(report, is_colored=is_colored))
    for name, report in reports.items():
        for links in report.links:
            print_line(console, "")
            _show_one(name, report, links, console)
        for note in report.notes:
            print_line(console, f"{name}: {note}")


def _show_one(name: str, report: LinksReport, links: Links, console: Console) -> None:
    what = "the next character is" if links.kind == "true" else "the likeliest is"
    heading = Text(one_line(name), "bold")
    words = f" after place {report.at} {what} {_named(links.symbol)}, expected with "
    words += f"{links.probability:.1%}"
    print_line(console, heading.append(words, "not bold"))
    cells = make_cells(map(format_character, report.symbols), cell_len)
    width = max(min(console.width, _COLUMNS), MIN_ROOM)
    for row in iter_rows(cells, width, line_ends(report.symbols)):
        strengths = [float(links.strengths[cell.start : cell.stop].sum()) for cell in row]
        for line in _lines(row, strengths, report.method, is_colored=has_colors(console)):
            print_line(console, line)
    _show_summary(report, links, console)


def _lines(
    row: Sequence[TextCell], strengths: Sequence[float], method: str, *, is_colored: bool
) -> list[Text]:
    """Return a row in colours, or above a row of digits, where a line says what is below 0."""
    pairs = [*zip(row, strengths, strict=True)]
    if is_colored:
        return [Text.assemble(*((cell.shown, _style(each, method)) for cell, each in pairs))]
    shares = [scale_share(each, method) for each in strengths]
    digits = "".join(
        _digit(share).ljust(cell.columns) for cell, share in zip(row, shares, strict=True)
    )
    signs = "".join(
        ("−" if share < 0 else " ").ljust(cell.columns)
        for cell, share in zip(row, shares, strict=True)
    )
    below = [Text(line.rstrip()) for line in (digits, signs) if line.strip()]
    return [Text("".join(cell.shown for cell in row)), *below]


def _show_summary(report: LinksReport, links: Links, console: Console) -> None:
    """Print the strongest links, and how far back they lie."""
    order = np.argsort(-np.abs(links.strengths), kind="stable")[:_STRONGEST]
    parts = [
        f"{_named(report.symbols[s])} {links.strengths[s]:.2g} ({abs(links.relative[s]):.0%})"
        for s in order.tolist()
    ]
    strongest = ", ".join(parts)
    print_line(console, f"  strongest: {strongest}")
    reach = (
        f"half of all in the last {links.reach(0.5)}, 90% in the last {links.reach(0.9)} characters"
    )
    print_line(console, f"  {reach}")
    if links.gap is not None:
        print_line(console, f"  the parts miss the difference of logits by {links.gap:.1e}")


def _named(symbol: str) -> str:
    """Return a symbol as it is named in a sentence."""
    return "a space" if symbol == " " else f"“{format_character(symbol)}”"


def _legend(report: LinksReport, *, is_colored: bool) -> Text:
    low, high = SCALES[report.method]
    if not is_colored:
        ends = f"blank below {low:g}, 9 from {high:g}, each step a factor of about 2"
        return Text(f"below each character: {ends} ({report.unit})")
    parts = [
        Text(f" {step:.2g} ", _style(step, report.method)) for step in scale_steps(report.method)
    ]
    return Text("").join([*parts, Text(f" {report.unit}")])


def _style(strength: float, method: str) -> str:
    color = link_color(strength, method)
    if color == "#ffffff":
        return ""
    sign = "overline " if strength < 0 else ""
    return f"{sign}{letter_color(color)} on {color}"


def _digit(share: float) -> str:
    """Return the strength as a digit, blank where it lies below the scale."""
    return str(max(1, round(abs(share) * _MAX_DIGIT))) if share else " "

"""View `guesses` on a terminal: Karpathy's columns below each character, and where it errs most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line
from charrnn.cli.formatting import format_character, one_line
from charrnn.cli.inspect.text import MIN_ROOM, has_colors, print_beside
from charrnn.interpret.colors import MAGNITUDE, letter_color, mix
from charrnn.interpret.guesses import SPACE, GuessesReport, guess_cells
from charrnn.text.columns import TextCell, iter_rows, make_cells

_GUTTER = 5
_PIPE_COLUMNS = 200  # of a row, where there is no terminal to be as wide as
_BLANK_SHARE = 0.2  # a guess with less has no colour: on a dark terminal the palest glare
_BEFORE = 20  # characters that are shown before a place
_MAX_DIGIT = 9


def show_guesses(reports: Mapping[str, GuessesReport], console: Console) -> None:
    """Print the guesses at each place in view, and then the places with the largest surprise."""
    is_colored = has_colors(console)
    first = next(iter(reports.values()))
    for name, report in reports.items():
        print_line(console, Text.assemble((one_line(name), "bold"), f"  {report.described}"))
    print_line(console, _legend(is_colored=is_colored))
    if len(first.window) < len(first.symbols):
        print_line(console, _window_note(first), "dim")
    more = 0 if is_colored else 2  # columns of a guess for its mark and its digit
    cells = [
        cell._replace(columns=cell.columns + more)
        for cell in guess_cells(reports, format_character, cell_len)
    ]
    room = max(min(console.width, _PIPE_COLUMNS) - _GUTTER, MIN_ROOM)
    for row in iter_rows(cells, room):
        print_line(console, "")
        text = "".join(" " * (more // 2) + _padded(cell, cell.shown, more // 2) for cell in row)
        print_beside(console, "text", [Text(text.rstrip(), "bold")], _GUTTER)
        for name, report in reports.items():
            if len(reports) > 1:
                print_line(console, one_line(name), "dim")
            _print_model(console, row, report, is_colored=is_colored)
    for name, report in reports.items():
        _print_surprises(console, report, name if len(reports) > 1 else "")


def _print_model(
    console: Console, row: Sequence[TextCell], report: GuessesReport, *, is_colored: bool
) -> None:
    """Print the guesses of a model below a row of the text."""
    draw = _colored_guess if is_colored else _plain_guess
    for number in range(report.probabilities.shape[1]):
        line = Text.assemble(*(draw(report, cell, number) for cell in row))
        print_beside(console, f"{number + 1:>4}", [line], _GUTTER)
    start = 0 if is_colored else 1
    for label, bits in (("bits", report.surprise_bits), ("more", report.excess_bits)):
        digits = (" " * start + _padded(cell, _digit(bits[cell.start]), start) for cell in row)
        print_beside(console, label, [Text("".join(digits).rstrip())], _GUTTER)


def _colored_guess(report: GuessesReport, cell: TextCell, number: int) -> tuple[str, str]:
    """Return a guess and its style; what came is underlined."""
    share = float(report.probabilities[cell.start, number])
    color = mix(MAGNITUDE, share)
    style = "" if share < _BLANK_SHARE else f"{letter_color(color)} on {color}"
    line = "bold underline " if report.ranks[cell.start] == number + 1 else ""
    return _padded(cell, _guess(report, cell, number)), line + style


def _plain_guess(report: GuessesReport, cell: TextCell, number: int) -> tuple[str, str]:
    """Return a guess with a star before it if it came, and the tenths of its probability."""
    mark = "*" if report.ranks[cell.start] == number + 1 else " "
    tenths = min(int(report.probabilities[cell.start, number] * 10), _MAX_DIGIT)
    return mark + _padded(cell, _guess(report, cell, number), 2) + (str(tenths or " ")), ""


def _guess(report: GuessesReport, cell: TextCell, number: int) -> str:
    symbol = report.guesses[cell.start][number].replace(" ", SPACE)
    return make_cells([format_character(symbol)], cell_len, joins_marks=False)[0].shown


def _padded(cell: TextCell, shown: str, less: int = 0) -> str:
    """Return what stands in a cell, as wide as the cell less some columns."""
    return shown + " " * (cell.columns - less - cell_len(shown))


def _digit(bits: float) -> str:
    """Return whole bits as one character: blank under 1, + for 10 or more."""
    whole = int(bits)
    return " " if whole < 1 else str(whole) if whole <= _MAX_DIGIT else "+"


def _print_surprises(console: Console, report: GuessesReport, name: str) -> None:
    """Print the places at which the model is surprised most beyond its uncertainty."""
    of = f" of {one_line(name)}" if name else ""
    print_line(console, "")
    print_line(console, f"Where the surprise{of} exceeds the uncertainty most:", "bold")
    table = make_table(">place", "before", "came", ">bits", ">uncertainty", "first guess")
    count = report.probabilities.shape[1]
    for place in np.argsort(-report.excess_bits, kind="stable")[:count].tolist():
        before = "".join(report.symbols[max(place - _BEFORE, 0) : place])
        guess = format_character(report.guesses[place][0].replace(" ", SPACE))
        table.add_row(
            f"{place:,}",
            Text(one_line(before)),
            Text(format_character(report.symbols[place].replace(" ", SPACE))),
            f"{report.surprise_bits[place]:.1f}",
            f"{report.entropy_bits[place]:.1f}",
            Text(f"{guess} {report.probabilities[place, 0]:.0%}"),
        )
    console.print(table, crop=False)


def _legend(*, is_colored: bool) -> Text:
    """Return what the colours mean, or the digits."""
    below = "bits: surprise −log₂ p; more: bits beyond the uncertainty; +: 10 or more"
    if not is_colored:
        return Text(f"guesses: * came, a digit for tenths of p; {below}")
    shares = (0.2, 0.4, 0.6, 0.8, 1.0)
    colors = [mix(MAGNITUDE, share) for share in shares]
    boxes = [
        Text(f" {share:.0%} ", f"{letter_color(color)} on {color}")
        for share, color in zip(shares, colors, strict=True)
    ]
    parts = [Text("p: "), *boxes, Text(" "), Text("came", "bold underline"), Text(f"; {below}")]
    return Text("").join(parts)


def _window_note(report: GuessesReport) -> str:
    window = report.window
    return (
        f"places {window.start:,} to {window.stop - 1:,} of {len(report.symbols):,}; "
        "--at shows others"
    )

"""What decided on a class, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import format_character
from charrnn.cli.inspect.text import MIN_ROOM, has_colors
from charrnn.interpret.colors import letter_color, signed_color
from charrnn.interpret.decision import FULL_BITS, DecisionReport
from charrnn.text.columns import TextCell, iter_rows, make_cells

_BAR = 30  # columns of a probability of 1


def show_decision(reports: Mapping[str, DecisionReport], console: Console) -> None:
    """Print the likeliest classes of each model, and the text that they rest on."""
    is_colored = has_colors(console)
    for name, report in reports.items():
        print_line(console, f"{name}: the class, and what it rests on", "bold")
        widest = max(map(cell_len, report.classes))
        for label, probability in zip(report.classes, report.probabilities.tolist(), strict=True):
            space = " " * (widest - cell_len(label))
            bar = "█" * round(probability * _BAR)
            print_line(console, f"  {label}{space}  {100 * probability:5.1f} %  {bar}")
        print_line(console, _legend(report, is_colored))
        cells = make_cells(map(_shown, report.pieces), cell_len)
        for row in iter_rows(cells, max(console.width, MIN_ROOM)):
            for line in _lines(row, report, is_colored):
                print_line(console, line)


def _shown(piece: str) -> str:
    return "".join(map(format_character, piece))


def _legend(report: DecisionReport, is_colored: bool) -> Text:
    what = f"log₂ p({report.classes[0]}) lost without the character"
    if not is_colored:
        return Text(f"below each character the bits of {what}; − speaks against the class")
    shares = [step / 4 for step in range(-4, 5)]
    boxes = (Text(f" {share * FULL_BITS:g} ", _style(share)) for share in shares)
    return Text.assemble(*boxes, f" bits of {what}")


def _lines(row: Sequence[TextCell], report: DecisionReport, is_colored: bool) -> list[Text]:
    gains = [float(report.gains_bits[cell.stop - 1]) for cell in row]
    pairs = [*zip(row, gains, strict=True)]
    if is_colored:
        return [Text.assemble(*((cell.shown, _style(gain / FULL_BITS)) for cell, gain in pairs))]
    digits = "".join(_digit(gain).ljust(cell.columns) for cell, gain in pairs)
    signs = "".join(("−" if gain <= -1 else " ").ljust(cell.columns) for cell, gain in pairs)
    lines = ["".join(cell.shown for cell in row), digits.rstrip(), signs.rstrip()]
    return [Text(line) for line in lines if line]


def _digit(gain: float) -> str:
    """Return the whole bits of a gain without its sign, blank under 1."""
    whole = min(int(abs(gain)), 9)
    return str(whole) if whole else " "


def _style(share: float) -> str:
    color = signed_color(share)
    return f"{letter_color(color)} on {color}" if abs(share) > 0.02 else ""

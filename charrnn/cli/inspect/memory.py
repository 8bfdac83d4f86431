"""View `memory` on a terminal: the text as it fades, tables of how long, and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line
from charrnn.cli.formatting import format_character, one_line
from charrnn.cli.inspect.braille import BrailleChart
from charrnn.cli.inspect.text import MIN_ROOM, has_colors
from charrnn.interpret.colors import CURVES, letter_color
from charrnn.interpret.memory import SHARES, MemoryReport
from charrnn.interpret.pictures.memory import (
    LEAST,
    LEVELS,
    above_rounding,
    background,
    cell_shade,
    count_of,
    describe_text,
    level_of,
)
from charrnn.interpret.svg import Axis, Point
from charrnn.interpret.text import line_ends
from charrnn.text.columns import TextCell, iter_rows, make_cells

_TEXT_ROWS = 6
_TEXT_COLUMNS = 100  # of a row at most, also in a pipe
_CHART_COLUMNS = 78
_CHART_ROWS = 8
_HEADINGS = (
    *(">back", ">bits", ">untrained", ">right", ">untrained"),
    *(">context", ">loss", ">shuffled"),
)
_GAP = 4  # columns between charts side by side


def show_memory(reports: Mapping[str, MemoryReport], console: Console) -> None:
    """Print what is still there of the text, how long things stay, and what can be decoded."""
    is_colored = has_colors(console)
    print_line(console, _legend(is_colored))
    for name, report in reports.items():
        print_line(console, name, "bold")
        print_line(console, describe_text(report))
        for line in _text_lines(report, console.width, is_colored):
            print_line(console, line)
        print_line(console, "")
    _show_lengths(reports, console)
    print_line(console, "what a decoder reads off the state, and what context gives")
    for name, report in reports.items():
        _show_decoder(name, report, console)
    _show_decoder_notes(reports, console)
    _show_charts(reports, console)


def _legend(is_colored: bool) -> Text:
    if not is_colored:
        names = ", ".join(f"{number} = {each}" for number, each in enumerate(LEVELS[1:], 1))
        return Text(f"digits below: {names}")
    boxes = [Text(f" {words} ", _style(level)) for level, words in enumerate(LEVELS)]
    return Text("").join([Text("still there: "), *boxes])


def _text_lines(report: MemoryReport, width: int, is_colored: bool) -> list[Text]:
    """Return the end of the text, coloured or above rows of digits."""
    cells = make_cells(map(format_character, report.symbols), cell_len)
    columns = max(min(width, _TEXT_COLUMNS), MIN_ROOM)
    rows = [*iter_rows(cells, columns, line_ends(report.symbols))][-_TEXT_ROWS:]
    shades = report.shades().tolist()
    lines = []
    for row in rows:
        levels = [(cell, level_of(cell_shade(cell, shades))) for cell in row]
        if is_colored:
            lines.append(_colored(levels))
            continue
        lines.append(Text("".join(cell.shown for cell in row)))
        digits = "".join(
            (str(level) if level else " ").ljust(cell.columns) for cell, level in levels
        )
        if digits.strip():
            lines.append(Text(digits.rstrip()))
    return lines


def _colored(levels: Sequence[tuple[TextCell, int]]) -> Text:
    runs = groupby(levels, key=lambda pair: pair[1])
    return Text.assemble(
        *(("".join(cell.shown for cell, _ in run), _style(level)) for level, run in runs)
    )


def _style(level: int) -> str:
    if not level:
        return ""
    color = background(level)
    return f"{letter_color(color)} on {color}"


def _show_lengths(reports: Mapping[str, MemoryReport], console: Console) -> None:
    """Print after how many characters a half, 90 % and 99 % are written, or gone."""
    table = make_table("characters for …", *(f">{share:.0%}" for share in SHARES))
    for name, report in reports.items():
        rows: list[tuple[str, Iterable[float | None]]] = []
        if report.ledger:
            kind = report.ledger.kind
            rows.append((f"{kind} here: from the last …", report.ledger.reach.values()))
            rows.append((f"{kind} on average: from the last …", report.ledger.mean_reach.values()))
        if report.words:
            gone = "a word's effect is gone after …"
            rows.append((f"next guess: {gone}", report.words.lasting_bits.values()))
            rows.append((f"state: {gone}", report.words.lasting_distances.values()))
        if len(reports) > 1:
            table.add_row(Text(one_line(name), "bold"))
        for what, values in rows:
            table.add_row(Text(what), *(Text(count_of(value)) for value in values))
    console.print(table, crop=False)
    ledgers = [report.ledger for report in reports.values() if report.ledger]
    if ledgers:
        residual = max(ledger.residual for ledger in ledgers)
        for line in (
            f"The parts add to the memory but for {residual:.0e} of it. What a character did",
            "through later gates is booked on those later characters.",
        ):
            print_line(console, line, "dim")
    print_line(console, "")


def _show_decoder(name: str, report: MemoryReport, console: Console) -> None:
    """Print what a linear decoder names, beside the network before training, and the loss."""
    decoding = report.decoding
    context = report.context
    if not decoding or not context:
        print_line(console, f"{name}: the held-out text is too short to measure it", "dim")
        return
    print_line(console, name, "bold")
    table = make_table(*_HEADINGS)
    left = [
        (str(back), _bits(bits), _bits(before), f"{right:.1%}", f"{right_before:.1%}")
        for back, bits, before, right, right_before in zip(
            decoding.backs,
            decoding.information_bits,
            decoding.untrained_information_bits,
            decoding.accuracy,
            decoding.untrained_accuracy,
            strict=True,
        )
    ]
    floor = _bits(decoding.misaligned_information_bits)
    left.append(("floor", floor, "", f"{decoding.misaligned_accuracy:.1%}", ""))
    right = [
        (str(length), f"{alone:.3f}", f"{shuffled:.3f}")
        for length, alone, shuffled in zip(
            context.contexts, context.alone_bits, context.shuffled_bits, strict=True
        )
    ]
    right.append(("all", f"{context.whole_bits:.3f}", ""))
    for row in zip_longest(left, right):
        table.add_row(*(row[0] or [""] * 5), *(row[1] or [""] * 3))
    console.print(table, crop=False)
    print_line(console, "")


def _show_decoder_notes(reports: Mapping[str, MemoryReport], console: Console) -> None:
    """Print what the columns of the tables are."""
    methods = sorted({each.decoding.method for each in reports.values() if each.decoding})
    if not methods:
        return
    for line in (
        f"bits, right: how well {methods[0]} names the character so many back, on",
        "new text. floor: by states that never read it. loss: bits a character when the",
        "last `context` alone were read, or others before them in random order.",
    ):
        print_line(console, line, "dim")
    print_line(console, "")


def _bits(bits: float) -> str:
    return f"{round(bits, 3) + 0:.3f}"  # without the sign of a zero


def _show_charts(reports: Mapping[str, MemoryReport], console: Console) -> None:
    """Print the curves of all models, side by side where there is room."""
    charts = [chart for chart in (_words_chart(reports), _decoder_chart(reports)) if chart]
    if not charts:
        return
    if len(reports) > 1:
        names = [Text(f"━━ {one_line(name)}  ", _color(i)) for i, name in enumerate(reports)]
        print_line(console, Text("").join(names))
    fit = max((console.width + _GAP) // (_CHART_COLUMNS + _GAP), 1)
    for start in range(0, len(charts), fit):
        for line in _beside(charts[start : start + fit]):
            print_line(console, line)
        print_line(console, "")


def _words_chart(reports: Mapping[str, MemoryReport]) -> list[Text]:
    curves = [
        above_rounding(report.words.mean_distances) if report.words else []
        for report in reports.values()
    ]
    if not any(curves):
        return []
    last = max(points[-1][0] for points in curves if points)
    across = Axis("characters read since a word was replaced", 0, last)
    title = "how far another word moves the state (1: as far as two strangers)"
    return _draw(title, across, Axis("", LEAST, 2, log=True), curves, [])


def _decoder_chart(reports: Mapping[str, MemoryReport]) -> list[Text]:
    found = [report.decoding for report in reports.values()]
    curves = [[*enumerate(each.information_bits)] if each else [] for each in found]
    controls = [[*enumerate(each.untrained_information_bits)] if each else [] for each in found]
    decoding = max((each for each in found if each), key=lambda each: len(each.backs), default=None)
    if not decoding:
        return []
    ticks = [(number, f"{back}") for number, back in enumerate(decoding.backs)]
    across = Axis("characters back", 0, len(ticks) - 1, ticks=ticks)
    up = Axis("", 0, max(max(each.entropy_bits) for each in found if each))
    title = "bits about that character that a decoder reads off the state (dots: untrained)"
    return _draw(title, across, up, curves, controls)


def _draw(
    title: str,
    across: Axis,
    up: Axis,
    curves: Sequence[Sequence[Point]],
    controls: Sequence[Sequence[Point]],
) -> list[Text]:
    chart = BrailleChart(across, up, _CHART_COLUMNS, _CHART_ROWS)
    for number, points in enumerate(controls):
        chart.dots(points, _color(number))
    for number, points in enumerate(curves):
        chart.curve(points, _color(number))
    return [Text(title, "bold"), *chart.lines()]


def _beside(charts: Sequence[Sequence[Text]]) -> list[Text]:
    """Return the lines of charts side by side."""
    lines = []
    for parts in zip_longest(*charts, fillvalue=Text("")):
        line = Text("")
        for number, part in enumerate(parts):
            line.append(" " * max(number * (_CHART_COLUMNS + _GAP) - line.cell_len, 0))
            line.append_text(part)
        lines.append(line)
    return lines


def _color(number: int) -> str:
    return CURVES[number % len(CURVES)]

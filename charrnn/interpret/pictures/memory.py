"""The picture of view `memory`: the text as it fades, and the curves of its four figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.interpret.colors import CURVES, DASHES, MAGNITUDE, mix
from charrnn.interpret.memory import SHARES, MemoryReport
from charrnn.interpret.pictures.text import (
    CELL,
    COLUMNS,
    GUTTER,
    LETTER_HEIGHT,
    draw_cells,
    draw_strip,
    seen,
)
from charrnn.interpret.svg import Axis, Chart, Picture, Point
from charrnn.interpret.text import line_ends
from charrnn.text.columns import TextCell, iter_rows, make_cells

BOUNDS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
"""From these shares on a character has the next darker background."""

LEVELS = ("less", "0.03 %", "0.1 %", "0.3 %", "1 %", "3 %", "10 % or more")
"""What each background stands for, from its share on."""

LEAST = 1e-4
"""Of curves on a logarithmic scale: below is rounding."""

Curves = Callable[[MemoryReport], Iterable[Point]]

_WIDTH = GUTTER + COLUMNS * CELL + 16
_TOP = 62
_TEXT_ROWS = 4
_STRIP = 6  # pixels, of the words below a row
_ROW = LETTER_HEIGHT + _STRIP + 4
_HEADING = 42  # of a model
_NAME_CHARS = 80
_CHART = (_WIDTH / 2, 300)
_CAPTION = 44  # below a chart
_PALE = "#666666"
_SMALL = 'font-size="11"'


def draw_memory(reports: Mapping[str, MemoryReport]) -> str:
    """Return the text of each model as it fades, and the curves of all, as SVG."""
    charts = [drawn for draw in _CHARTS if (drawn := draw(reports))]
    texts = {name: _last_rows(report) for name, report in reports.items()}
    rows = sum(len(each) for each in texts.values())
    top = _TOP + rows * _ROW + _HEADING * len(reports) + 18
    height = top + math.ceil(len(charts) / 2) * (_CHART[1] + _CAPTION)
    title = "Memory: what is still there of each character that was read"
    picture = Picture(_WIDTH, height, title)
    picture.text((12, 22), title, more='font-weight="bold" font-size="14"')
    _draw_legend(picture)
    y = float(_TOP)
    for number, (name, report) in enumerate(reports.items()):
        _draw_heading(picture, y, number, name, report)
        _draw_text(picture, y + _HEADING, report, texts[name])
        y += _HEADING + len(texts[name]) * _ROW
    for number, (chart, caption) in enumerate(charts):
        corner = (_WIDTH / 2 * (number % 2), top + number // 2 * (_CHART[1] + _CAPTION))
        picture.put(chart, corner)
        for line, words in enumerate(caption):
            place = (corner[0] + 24, corner[1] + _CHART[1] + 8 + 15 * line)
            picture.text(place, words, color=_PALE, more=_SMALL)
    return picture.as_svg()


def level_of(share: float) -> int:
    """Return the background of a share, 0 to len(BOUNDS).

    >>> level_of(0), level_of(0.0005), level_of(0.5)
    (0, 1, 6)
    """
    return sum(share >= bound for bound in BOUNDS)


def background(level: int) -> str:
    """Return the colour of a level."""
    return mix(MAGNITUDE, level / len(BOUNDS))


def cell_shade(cell: TextCell, shades: Sequence[float]) -> float:
    """Return the share of a cell: of a letter and its marks together."""
    return float(np.sum(shades[cell.start : cell.stop]))


def count_of(characters: float | None) -> str:
    """Return a number of characters as words, `more` for more than were looked at.

    >>> count_of(12), count_of(0.75), count_of(None)
    ('12', '0.8', 'more')
    """
    if characters is None:
        return "more"
    return f"{characters:.1f}" if characters < 10 and characters % 1 else f"{characters:,.0f}"


def describe_text(report: MemoryReport) -> str:
    """Return in one sentence what a model's text shows."""
    if report.ledger:
        half, most = (count_of(report.ledger.reach[share]) for share in ("50%", "99%"))
        what = f"{report.ledger.kind} of layer {report.layer} by who wrote it"
        return f"{what}: half is from the last {half}, 99 % from the last {most}"
    what = f"no ledger in an rnn: how far other words would move h of layer {report.layer}"
    return f"{what}, 100 % is a stranger"


def _last_rows(report: MemoryReport) -> list[list[TextCell]]:
    cells = make_cells(map(seen, report.symbols))
    return [*iter_rows(cells, COLUMNS, line_ends(report.symbols))][-_TEXT_ROWS:]


def _draw_legend(picture: Picture) -> None:
    """Add what each background stands for."""
    picture.text((12, 48), "still there:")
    x = 88.0
    for level, words in enumerate(LEVELS):
        picture.rect((x, 36), 16, 16, background(level), 'stroke="#dddddd"')
        picture.text((x + 21, 48), words, more=_SMALL)
        x += 34 + 6.5 * len(words)
    picture.text((x, 48), "strip: whole words", color=_PALE, more=_SMALL)


def _draw_heading(picture: Picture, y: float, number: int, name: str, report: MemoryReport) -> None:
    """Add a model's name beside its line in the charts, and what its text shows."""
    dash = f' stroke-dasharray="{_dash(number)}"' if _dash(number) else ""
    picture.line((12, y + 14), (40, y + 14), _color(number), f'stroke-width="2"{dash}')
    shown = name if len(name) <= _NAME_CHARS else "…" + name[1 - _NAME_CHARS :]
    picture.text((48, y + 18), shown, more='font-weight="bold"')
    picture.text((48, y + 34), describe_text(report), color=_PALE, more=_SMALL)


def _draw_text(
    picture: Picture, y: float, report: MemoryReport, rows: Sequence[Sequence[TextCell]]
) -> None:
    """Add the end of a text up to the place."""
    shades = report.shades().tolist()
    words = report.word_shades().tolist()
    for row in rows:
        colors = [background(level_of(cell_shade(cell, shades))) for cell in row]
        draw_cells(picture, row, colors, y)
        strip = [background(level_of(words[cell.start])) for cell in row]
        draw_strip(picture, row, strip, y + LETTER_HEIGHT + 1, _STRIP)
        y += _ROW


Captioned = tuple[Chart, tuple[str, ...]]


def _draw_written(reports: Mapping[str, MemoryReport]) -> Captioned | None:
    if not any(report.ledger for report in reports.values()):
        return None
    across = Axis("last characters", 1, 512, log=True, ticks=_powers(512))
    percents = [(share, f"{share:.0%}") for share in (0, *SHARES)]
    chart = _chart(
        across, Axis("share of the memory", 0, 1, ticks=percents), "Ledger: who wrote the memory"
    )
    for number, report in enumerate(reports.values()):
        if report.ledger:
            written = np.cumsum(report.ledger.recent).tolist()
            chart.curve([*enumerate(written, 1)], _color(number), _dash(number))
            here = np.cumsum(report.ledger.shares[::-1]).tolist()
            chart.dots([(k, here[k - 1]) for k, _ in _powers(len(here))], _color(number))
    residuals = [each.ledger.residual for each in reports.values() if each.ledger]
    return chart, (
        f"Exact to {max(residuals):.0e}. Lines: the mean of places; dots: the text above. What",
        "a character did through later gates is booked on those later characters.",
    )


def _draw_effect(reports: Mapping[str, MemoryReport]) -> Captioned | None:
    curves = _curves(
        reports, lambda each: above_rounding(each.words.mean_bits) if each.words else ()
    )
    if not curves:
        return None
    up = Axis("KL in bits", LEAST, _high(curves, 10), log=True)
    chart = _chart(_since(curves), up, "Other words: what one would change in the next guess")
    _draw_lines(chart, curves)
    first = next(each.words for each in reports.values() if each.words)
    return chart, (
        f"Mean over {first.words} words of held-out text, each replaced by {first.replacements} "
        "others of its length.",
        "By whatever road, for every cell.",
    )


def _draw_moved(reports: Mapping[str, MemoryReport]) -> Captioned | None:
    curves = _curves(
        reports, lambda each: above_rounding(each.words.mean_distances) if each.words else ()
    )
    if not curves:
        return None
    up = Axis("distance of states", LEAST, _high(curves, 2), log=True)
    chart = _chart(_since(curves), up, "Other words: what one would change in the state")
    _draw_lines(chart, curves)
    chart.level(1, "two strangers")
    return chart, (
        "1: as far as the states at two random places are. A straight line is",
        "a half-life.",
    )


def _draw_information(reports: Mapping[str, MemoryReport]) -> Captioned | None:
    curves = _curves(reports, lambda each: _decoded(each, "information_bits"))
    if not curves:
        return None
    entropy = max(max(each.decoding.entropy_bits) for each in reports.values() if each.decoding)
    chart = _chart(
        _back(reports), Axis("bits", 0, entropy * 1.08), "Decoder: what can be read off the state"
    )
    _draw_lines(chart, curves)
    untrained = _curves(reports, lambda each: _decoded(each, "untrained_information_bits"))
    for number, points in untrained.items():
        chart.dots(points, _color(number), 4)
    chart.level(entropy, "all there is to tell")
    return chart, (
        "Bits about the character so many back that a linear decoder finds on new text.",
        "Dots: the same network before training, a control.",
    )


def _draw_accuracy(reports: Mapping[str, MemoryReport]) -> Captioned | None:
    curves = _curves(reports, lambda each: _decoded(each, "accuracy"))
    if not curves:
        return None
    chart = _chart(
        _back(reports), _percent("named rightly"), "Decoder: how often it names the character"
    )
    _draw_lines(chart, curves)
    untrained = _curves(reports, lambda each: _decoded(each, "untrained_accuracy"))
    for number, points in untrained.items():
        chart.dots(points, _color(number), 4)
    floor = max(each.decoding.misaligned_accuracy for each in reports.values() if each.decoding)
    chart.level(floor, "")
    return chart, (
        "Dots: the same network before training. Dashed: what is named rightly",
        "from states that never read the character.",
    )


def _draw_context(reports: Mapping[str, MemoryReport]) -> Captioned | None:
    def points(values: str) -> Curves:
        def of_report(each: MemoryReport) -> Iterable[Point]:
            context = each.context
            return zip(context.contexts, getattr(context, values), strict=True) if context else ()

        return of_report

    alone = _curves(reports, points("alone_bits"))
    if not alone:
        return None
    shuffled = _curves(reports, points("shuffled_bits"))
    contexts = [each.context for each in reports.values() if each.context]
    low = min(each.whole_bits for each in contexts)
    high = max(y for points in [*alone.values(), *shuffled.values()] for _, y in points)
    longest = max(each.contexts[-1] for each in contexts)
    across = Axis("last characters read", 1, longest, log=True, ticks=_powers(longest))
    chart = _chart(
        across,
        Axis("bits a character", math.floor(low), high * 1.05),
        "Context: how much of it lowers the loss",
    )
    _draw_lines(chart, alone)
    for number, dots in shuffled.items():
        chart.dots(dots, _color(number), 4)
    for number, report in enumerate(reports.values()):
        if report.context:
            chart.level(report.context.whole_bits, "", _color(number))
    return chart, (
        "Lines: only these were read, from the initial state. Dots: others stood before",
        f"them, {contexts[0].shuffled_tokens} in random order. Dashed: the whole text was read.",
    )


_CHARTS = (
    _draw_written,
    _draw_context,
    _draw_effect,
    _draw_moved,
    _draw_information,
    _draw_accuracy,
)


def _chart(across: Axis, up: Axis, title: str) -> Chart:
    return Chart(across, up, title, *_CHART)


def _curves(reports: Mapping[str, MemoryReport], points: Curves) -> dict[int, list[Point]]:
    """Return the points of each model that has any, by its number."""
    found = {number: [*points(report)] for number, report in enumerate(reports.values())}
    return {number: each for number, each in found.items() if each}


def _draw_lines(chart: Chart, curves: Mapping[int, list[Point]]) -> None:
    for number, points in curves.items():
        chart.curve(points, _color(number), _dash(number))


def above_rounding(values: NDArray[np.float64]) -> list[Point]:
    """Return a curve for a logarithmic scale, on which what rounding gives is not a number."""
    return [(at, y if y >= LEAST else math.nan) for at, y in enumerate(values.tolist())]


def _decoded(report: MemoryReport, values: str) -> Iterable[Point]:
    """Return figures of the decoder by the number of their distance back."""
    return enumerate(getattr(report.decoding, values)) if report.decoding else ()


def _back(reports: Mapping[str, MemoryReport]) -> Axis:
    backs = max((each.decoding.backs for each in reports.values() if each.decoding), key=len)
    ticks = [(number, f"{back}") for number, back in enumerate(backs)]
    return Axis("characters back", 0, len(backs) - 1, ticks=ticks)


def _since(curves: Mapping[int, list[Point]]) -> Axis:
    last = max(points[-1][0] for points in curves.values())
    return Axis("characters read since the word", 0, last)


def _percent(name: str) -> Axis:
    return Axis(name, 0, 1, ticks=[(tenth / 10, f"{tenth / 10:.0%}") for tenth in range(0, 11, 2)])


def _high(curves: Mapping[int, list[Point]], least: float) -> float:
    """Return the end of a logarithmic axis."""
    found = (y for points in curves.values() for _, y in points if math.isfinite(y))
    return max([least, *found])


def _powers(longest: int) -> list[tuple[int, str]]:
    return [(2**power, f"{2**power}") for power in range(longest.bit_length())]


def _color(number: int) -> str:
    return CURVES[number % len(CURVES)]


def _dash(number: int) -> str:
    return DASHES[number % len(DASHES)]

"""The picture of view `neuron`: the card of one unit of each model, one below the other."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from charrnn.interpret.clamp import ClampReport, closing_name
from charrnn.interpret.colors import CURVES, signed_color
from charrnn.interpret.neuron import BINS, Histogram, Link, NeuronReport, Snippet
from charrnn.interpret.pictures.text import CELL, COLUMNS, GUTTER, draw_cells, seen
from charrnn.interpret.svg import Axis, Chart, Picture, visible
from charrnn.interpret.units import meaning_of
from charrnn.text.columns import make_cells

_WIDTH = GUTTER + COLUMNS * CELL + 16
_SNIPPETS = {"highest": 3, "lowest": 2, "random": 3}  # of each kind, and one of each quantile
_ROW = 21
_HISTOGRAM = 170.0
_SMALL = 'font-size="11"'
_BOLD = 'font-weight="bold"'
_PALE = "#666666"
_WRAP = 148  # characters of a line of small words


def draw_neuron(reports: Mapping[str, NeuronReport]) -> str:
    """Return the cards of units as SVG."""
    cards = [_card(name, report) for name, report in reports.items()]
    units = ", ".join(f"{report.unit} of {name}" for name, report in reports.items())
    picture = Picture(_WIDTH, sum(card.height for card in cards), f"What a unit follows: {units}")
    y = 0.0
    for card in cards:
        picture.put(card, (0, y))
        y += card.height
    return picture.as_svg()


def _card(name: str, report: NeuronReport) -> Picture:
    """Return the card of one unit."""
    snippets = _chosen(report.snippets)
    sentences = _lines(report.finding.sentence)
    height = 304 + _HISTOGRAM + 14 * len(sentences) + _ROW * len(snippets)
    card = Picture(_WIDTH, height, report.unit)
    heading = f"{name}: {report.unit}, {report.finding.verdict}"
    card.text((16, 24), heading, more=f'{_BOLD} font-size="15"')
    y = 42.0
    about = f"{meaning_of(report.unit[0])}; its feature: {report.finding.feature}"
    card.text((16, y), visible(about), color=_PALE, more=_SMALL)
    y = _draw_lines(card, sentences, y + 18)
    y = _draw_snippets(card, report, snippets, y + 6)
    y = _draw_histogram(card, report, y + 8)
    y = _draw_links(card, report, y + 12)
    _draw_clamp(card, report.clamp, y)
    return card


def _chosen(snippets: Sequence[Snippet]) -> list[Snippet]:
    """Return a few snippets of each kind."""
    counts: dict[str, int] = {}
    chosen = []
    for snippet in snippets:
        counts[snippet.kind] = counts.get(snippet.kind, 0) + 1
        if counts[snippet.kind] <= _SNIPPETS.get(snippet.kind, 1):
            chosen.append(snippet)
    return chosen


def _lines(words: str) -> list[str]:
    return textwrap.wrap(visible(words), _WRAP)


def _draw_lines(card: Picture, lines: Sequence[str], y: float) -> float:
    """Add small words; return where the next line would be."""
    for line in lines:
        card.text((16, y), line, more=_SMALL)
        y += 14
    return y


def _draw_snippets(
    card: Picture, report: NeuronReport, snippets: Sequence[Snippet], y: float
) -> float:
    """Add stretches of the text on the colours of the unit's values; a line below its place."""
    words = f"Where {report.unit} is highest, lowest, anywhere, and at quantiles of its values"
    card.text((16, y), words, more=_BOLD)
    x = _WIDTH - 16 - 5 * 36
    for step in range(-2, 3):
        color = signed_color(step / 2)
        edge = x + 36 * (step + 2)
        card.rect((edge, y - 12), 36, 15, color, 'stroke="#dddddd"')
        letters = "#ffffff" if abs(step) == 2 else "#000000"
        value = f"{step / 2 * report.high:.3g}".replace("-", "−")
        card.text((edge + 18, y), value, "middle", letters, _SMALL)
    y += 10
    for snippet in snippets:
        cells = make_cells(map(seen, snippet.symbols))
        while sum(cell.columns for cell in cells) > COLUMNS and len(cells) > 1:
            cells = cells[:-1] if snippet.at < cells[len(cells) // 2].start else cells[1:]
        values = [float(snippet.values[cell.stop - 1]) / report.high for cell in cells]
        draw_cells(card, cells, [signed_color(value) for value in values], y)
        label = f"{snippet.kind} {float(snippet.values[snippet.at]):.2f}".replace("-", "−")
        card.text((GUTTER - 8, y + 13), label, "end", more=_SMALL)
        left = float(GUTTER)
        for cell in cells:
            if cell.start <= snippet.at < cell.stop:
                stop = left + CELL * cell.columns
                card.line((left, y + 19), (stop, y + 19), "#000000", 'stroke-width="2"')
            left += CELL * cell.columns
        y += _ROW
    return y + 8


def _draw_histogram(card: Picture, report: NeuronReport, y: float) -> float:
    """Add how often each value comes on both sides."""
    histogram = report.histogram
    top = max(float(histogram.inside.max()), float(histogram.outside.max()), 1e-3)
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    name = "tanh " if report.unit[0] == "c" else ""
    chart = Chart(
        Axis(f"{name}{report.unit}", low, high),
        Axis("share of the places", 0, top),
        f"Values by {visible(report.finding.feature)}",
        _WIDTH,
        _HISTOGRAM,
    )
    _add_steps(chart, histogram)
    card.put(chart, (0, y))
    return y + _HISTOGRAM


def _add_steps(chart: Chart, histogram: Histogram) -> None:
    """Add both sides as steps, as bars would hide one another."""
    sides = zip(histogram.names, (histogram.inside, histogram.outside), ("", "5 3"), strict=True)
    for color, (name, shares, dash) in zip(CURVES, sides, strict=False):
        points = [
            (float(histogram.edges[number + end]), float(shares[number]))
            for number in range(BINS)
            for end in (0, 1)
        ]
        chart.curve(points, color, dash, visible(name))


def _draw_links(card: Picture, report: NeuronReport, y: float) -> float:
    """Add what moves the unit, and what it moves."""
    rows: list[tuple[str, Sequence[Link]]] = [
        ("rises after", report.rises),
        ("falls after", report.falls),
        ("makes likelier", report.pushes),
        ("less likely", report.holds_back),
        ("reads from", report.reads_from),
        ("writes to", report.writes_to),
    ]
    for label, links in rows:
        card.text((GUTTER - 8, y), label, "end", _PALE, _SMALL)
        is_units = label in ("reads from", "writes to")
        for number, link in enumerate(links[:5]):
            card.text((GUTTER + 146 * number, y), _shown(link, is_units), more=_SMALL)
        y += 17
    note = f"likelier: the logit where {report.pushes_note}"
    if report.tau is not None:
        note = f"keeps for {report.tau:,.1f} characters by its gate; {note}"
    card.text((GUTTER, y), note, color=_PALE, more=_SMALL)
    return y + 28


def _shown(link: Link, is_unit: bool) -> str:
    value = f"{link.value:.2f} ({link.more})" if is_unit else f"{link.value:+.2f}"
    name = "␣" if link.name == " " else seen(link.name)
    return f"{name} {value.replace('-', '−')}"


def _draw_clamp(card: Picture, clamp: ClampReport, y: float) -> None:
    """Add what happens where the unit is held, as a table."""
    inside, outside = clamp.short_names
    heads = [f"loss {inside}", f"loss {outside}"]
    if clamp.closing:
        sign = visible(closing_name(clamp.closing))
        heads += [f"{sign} {inside}", f"{sign} {outside}"]
    card.text((16, y), f"{clamp.unit} held at one value", more=_BOLD)
    rows = (
        ("as it is", clamp.free),
        (f"held at {clamp.outside:.2f}, its median {outside}", clamp.held_outside),
        (f"held at {clamp.inside:.2f}, its median {inside}", clamp.held_inside),
    )
    for column, head in enumerate(heads):
        card.text((330 + 150 * column, y), head, "end", _PALE, _SMALL)
    for label, effect in rows:
        y += 17
        card.text((16, y), label.replace("-", "−"), more=_SMALL)
        figures = (
            effect.nats_inside,
            effect.nats_outside,
            effect.closing_inside,
            effect.closing_outside,
        )
        for column, figure in enumerate(figures[: len(heads)]):
            card.text((330 + 150 * column, y), f"{figure:.3f}", "end", more=_SMALL)
    words = visible(clamp.conclusion[0].upper() + clamp.conclusion[1:])
    card.text((16, y + 18), f"Losses in nats. {words}", more=_SMALL)

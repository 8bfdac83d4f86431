"""The view `errors` as a picture: errors by cause, and where the model beats a 5-gram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from charrnn.interpret.colors import CURVES, letter_color
from charrnn.interpret.errors import ORACLES, ErrorsReport, Saving
from charrnn.interpret.pictures.text import short_name
from charrnn.interpret.svg import Axis, Chart, Picture, join_pictures

_COLORS = (*CURVES[:3], CURVES[6], *CURVES[4:6], "#999999")  # of the oracles; the rest is grey
_WIDTH = 760
_LEFT, _RIGHT = 130, 24
_BAR = 26
_SMALL = 'font-size="11"'


def draw_errors(reports: Mapping[str, ErrorsReport]) -> str:
    """Return bars of one or several models on one scale."""
    pictures: list[Picture] = [_draw_causes(reports)]
    for title, kind in (
        ("Bits saved over the 5-gram, by position in a word (below 0: lost)", "by_position"),
        ("Bits saved over the 5-gram at a closing bracket or quote (below 0: lost)", "by_distance"),
    ):
        savings = {name: getattr(report, kind) for name, report in reports.items()}
        if any(not math.isnan(each.saved_bits) for all in savings.values() for each in all):
            across = (
                "letter of a word" if kind == "by_position" else "characters since it was opened"
            )
            pictures.append(_draw_savings(title, across, savings))
    return join_pictures(pictures, "What the models still get wrong")


def _draw_causes(reports: Mapping[str, ErrorsReport]) -> Picture:
    """Return a bar of each model: the share of characters that are errors, by cause."""
    picture = Picture(
        _WIDTH, 132 + (_BAR + 12) * len(reports) + 15 * len(ORACLES), "Errors by cause"
    )
    picture.text((16, 22), "What is still wrong, and why", more='font-weight="bold" font-size="14"')
    words = "Characters that the model gave less than half of the probability, by the first cause "
    picture.text((16, 41), words + "that explains them.", more=_SMALL)
    wide = _WIDTH - _LEFT - _RIGHT
    highest = max(report.error_share for report in reports.values())
    end = max(0.1, math.ceil(highest * 10 - 1e-9) / 10)
    foot = 60 + (_BAR + 12) * len(reports)
    for tenth in range(round(end * 10) + 1):
        x = _LEFT + wide * tenth / 10 / end
        picture.line((x, 54), (x, foot))
        picture.text((x, foot + 14), f"{tenth * 10}%", "middle", more=_SMALL)
    picture.text((_LEFT + wide / 2, foot + 30), "of all characters", "middle", more=_SMALL)
    for number, (name, report) in enumerate(reports.items()):
        y = 60 + (_BAR + 12) * number
        picture.text((_LEFT - 8, y + 17), short_name(name), "end")
        x = float(_LEFT)
        for each in report.oracles:
            color = _COLORS[list(ORACLES).index(each.oracle)]
            width = wide * each.share_of_chars / end
            picture.rect((x, y), width, _BAR, color, 'stroke="#ffffff"')
            if width > 34:
                share = f"{each.share_of_errors:.0%}"
                picture.text((x + width / 2, y + 17), share, "middle", letter_color(color), _SMALL)
            x += width
    _name_causes(picture, foot + 48)
    return picture


def _name_causes(picture: Picture, y: float) -> None:
    """Add the legend: each cause in the order in which it removes errors."""
    picture.text(
        (16, y), "Numbers in the bars: shares of the model's errors. Causes, in order:", more=_SMALL
    )
    for number, (name, meaning) in enumerate(ORACLES.items()):
        top = y + 8 + 15 * number
        picture.rect((16, top), 10, 10, _COLORS[number])
        picture.text((32, top + 9), f"{name}: {meaning}", more=_SMALL)


def _draw_savings(title: str, across: str, savings: Mapping[str, Sequence[Saving]]) -> Chart:
    """Return bars of bits saved: a group of places each, a bar of each model in it."""
    groups = [each.group for each in next(iter(savings.values()))]
    known = [each.saved_bits for all in savings.values() for each in all]
    known = [value for value in known if not math.isnan(value)]
    low = min(0.0, math.floor(min(known) * 5) / 5)
    high = max(0.2, math.ceil(max(known) * 5 + 1) / 5)
    ticks = [(n + 0.5, group) for n, group in enumerate(groups)]
    up = Axis("bits a character", low, high)
    chart = Chart(Axis(across, 0, len(groups), ticks=ticks), up, title, width=_WIDTH, height=300)
    _, zero = chart.place((0, 0))
    for number, (name, every) in enumerate(savings.items()):
        color = CURVES[number % len(CURVES)]
        for n, each in enumerate(every):
            if math.isnan(each.saved_bits):
                continue
            left = n + 0.1 + 0.8 * number / len(savings)
            x, y = chart.place((left, each.saved_bits))
            right, _ = chart.place((left + 0.8 / len(savings), 0))
            chart.rect((x, min(y, zero)), right - x - 1, abs(zero - y), color)
        chart.bars((0,), (), color, name)
    chart.level(0, "")
    return chart

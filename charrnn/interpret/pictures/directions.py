"""What each side of a text says of its tags: the text, its tags, and rows of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charrnn.interpret.colors import MAGNITUDE, letter_color, mix
from charrnn.interpret.directions import DirectionsReport
from charrnn.interpret.pictures.text import CELL, GUTTER, LETTER_HEIGHT, seen, short_name
from charrnn.interpret.svg import Picture

_COLUMN = 3 * CELL  # of a token: tags are longer than a character
_FIT = 27  # tokens in a row
_STRIP = 15
_BLOCK = 2 * LETTER_HEIGHT + 3 * _STRIP + 16
SIDES = {"left": "only what is left", "right": "only what is right", "whole": "the whole text"}
"""The fields of a report, and what is read for each."""


def draw_directions(reports: Mapping[str, DirectionsReport]) -> str:
    """Return the tags of each model with what each side says of them, as SVG."""
    blocks = {
        name: [*range(0, len(report.symbols), _FIT)] or [0] for name, report in reports.items()
    }
    height = 66 + sum(30 + _BLOCK * len(starts) for starts in blocks.values())
    title = "What each direction knows: p of the tag that is chosen"
    picture = Picture(GUTTER + _FIT * _COLUMN + 24, height, title)
    picture.text((16, 22), title, more='font-weight="bold" font-size="14"')
    words = "the darker, the surer of the tag (0 to 1), reading only one side, or all"
    for step in range(5):
        color = mix(MAGNITUDE, step / 4)
        picture.rect((16 + 40 * step, 34), 40, 18, color, 'stroke="#dddddd"')
        where = (36 + 40 * step, 47)
        picture.text(where, f"{step / 4:g}", "middle", letter_color(color), 'font-size="11"')
    picture.text((226, 47), words, more='font-size="11"')
    y = 66.0
    for name, report in reports.items():
        picture.text((16, y + 14), short_name(name), more='font-weight="bold"')
        y += 24
        for start in blocks[name]:
            _draw_block(picture, report, range(start, min(start + _FIT, len(report.symbols))), y)
            y += _BLOCK
        y += 6
    return picture.as_svg()


def _draw_block(
    picture: Picture, report: DirectionsReport, places: Sequence[int], y: float
) -> None:
    """Add a row of tokens with their tags and three rows of probabilities."""
    picture.text((GUTTER - 8, y + 14), "text", "end", more='font-size="11"')
    picture.text((GUTTER - 8, y + LETTER_HEIGHT + 14), "tag", "end", more='font-size="11"')
    for number, (side, words) in enumerate(SIDES.items()):
        top = y + 2 * LETTER_HEIGHT + number * _STRIP
        picture.text((GUTTER - 8, top + 11), words, "end", more='font-size="11"')
        for column, place in enumerate(places):
            share = float(getattr(report, side)[place])
            corner = (GUTTER + column * _COLUMN, top)
            picture.rect(corner, _COLUMN - 1, _STRIP - 1, mix(MAGNITUDE, share))
    for column, place in enumerate(places):
        x = GUTTER + (column + 0.5) * _COLUMN
        symbol = seen(report.symbols[place])
        picture.text((x, y + 14), "␣" if symbol == " " else symbol, "middle")
        tag = short_name(seen(report.tags[place].replace(" ", "␣")), 4)
        picture.text((x, y + LETTER_HEIGHT + 14), tag, "middle", "#666666", 'font-size="11"')

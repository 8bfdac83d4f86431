"""Boxes and arrows: what the pictures of networks are drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from charrnn.interpret.colors import letter_color
from charrnn.interpret.svg import Picture, Point

_HEAD = 6.0  # length of an arrow's head


def arrow(
    picture: Picture, points: Sequence[Point], color: str, width: float = 1.5, more: str = ""
) -> None:
    """Draw an arrow along points; more: further SVG attributes of the line."""
    *_, before, tip = points
    length = math.dist(before, tip)
    head = max(_HEAD, 2 * width)
    along = ((tip[0] - before[0]) / length, (tip[1] - before[1]) / length)
    base = (tip[0] - head * along[0], tip[1] - head * along[1])
    side = (-along[1] * head / 2, along[0] * head / 2)
    stroke = f'stroke-width="{width:.1f}"'
    picture.path([*points[:-1], base], color, f"{stroke} {more}".strip())
    picture.area(
        [
            tip,
            (base[0] + side[0], base[1] + side[1]),
            (base[0] - side[0], base[1] - side[1]),
        ],
        color,
    )


def box(
    picture: Picture,
    center: Point,
    size: tuple[float, float],
    words: Sequence[str],
    background: str = "#ffffff",
    more: str = "",
) -> None:
    """Draw a box with lines of words in its middle, in the letters that are read best on it."""
    wide, tall = size
    x, y = center
    corner = (x - wide / 2, y - tall / 2)
    picture.rect(corner, wide, tall, background, f'rx="5" stroke="#666666" {more}'.strip())
    first = y + 4 - 7.5 * (len(words) - 1)
    for number, line in enumerate(words):
        picture.text((x, first + 15 * number), line, "middle", letter_color(background))


def circle(picture: Picture, center: Point, sign: str, color: str = "#ffffff") -> None:
    """Draw a circle with a sign in it: where numbers are multiplied or added."""
    picture.dot(center, 10, color, 'stroke="#666666"')
    picture.text((center[0], center[1] + 4.5), sign, "middle")


def value(number: float) -> str:
    """Return a number with two digits and a true minus sign, as boxes have it.

    >>> value(-0.254), value(0.0)
    ('−0.25', '0.00')
    """
    text = f"{number:.2f}".replace("-", "−")
    return "0.00" if text == "−0.00" else text

"""Charts as SVG: values over something that grows by factors, such as time or examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 450, 72, 24, 16, 60


@dataclass
class Chart:
    """A chart that is drawn on call by call, and then made SVG.

    across, up: what the axes show. ticks: the names of values on the axis across, which is
    logarithmic; low, high: values on the axis up, with a line at every `step`; form: how its values
    read. Values above `high` are drawn at it.
    """

    across: str
    up: str
    ticks: Mapping[int, str]
    low: float
    high: float
    step: float
    form: str = ".1f"
    _shapes: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._shapes.append(f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>')
        for number in range(round((self.high - self.low) / self.step) + 1):
            value = self.low + number * self.step
            _, y = self._place((min(self.ticks), value))
            self._line(y, "#ddd")
            self._text((_LEFT - 8, y + 4), f"{value:{self.form}}", "end")
        for value, name in self.ticks.items():
            x, _ = self._place((value, self.low))
            self._text((x, _HEIGHT - _BOTTOM + 18), name, "middle")
        middle = (_TOP + _HEIGHT - _BOTTOM) / 2
        self._text((20, middle), self.up, "middle", more=f'transform="rotate(-90 20 {middle})"')
        self._text(((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14), self.across, "middle")

    def mark_level(self, value: float, name: str, color: str) -> None:
        """Draw a dashed line across, with its name above its end."""
        _, y = self._place((min(self.ticks), value))
        self._line(y, color, 'stroke-dasharray="6 4"')
        self._text((_WIDTH - _RIGHT, y - 6), name, "end", color)

    def mark_point(self, point: Point, name: str, color: str) -> None:
        """Draw a point with its name beside it."""
        x, y = self._place(point)
        self._dot((x, y), 4, color)
        self._text((x + 8, y + 4), name, "start", color)

    def draw_curve(self, points: Iterable[Point], color: str, form: str = "") -> None:
        """Draw points and the lines between; with a form, the value of each above it."""
        places = [(*self._place(point), point[1]) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
        )
        for x, y, value in places:
            self._dot((x, y), 3, color)
            if form:
                self._text((x + 6, y - 5), f"{value:{form}}", "start", color)

    def add_legend(self, names: Mapping[str, str], top: float = _TOP + 16) -> None:
        """Write the name of each color, a line each, at the right from `top` on."""
        for number, (color, name) in enumerate(names.items()):
            self._text((_WIDTH - _RIGHT, top + 18 * number), name, "end", color)

    def as_svg(self) -> str:
        """Return the picture."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        style = 'font-family="sans-serif" font-size="12"'
        return "\n".join([f"{head} {style}>", *self._shapes, "</svg>", ""])

    def _place(self, point: Point) -> Point:
        """Return a point's place in the picture: across by logarithm, values up."""
        first, last = min(self.ticks), max(self.ticks)
        share = math.log(point[0] / first) / math.log(last / first) if first < last else 0.5
        up = (min(point[1], self.high) - self.low) / (self.high - self.low)
        return (
            _LEFT + share * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def _line(self, y: float, color: str, more: str = "") -> None:
        ends = f'x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"'
        self._shapes.append(f'<line {ends} stroke="{color}" {more}/>')

    def _dot(self, place: Point, radius: int, color: str) -> None:
        x, y = place
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"/>')

    def _text(
        self, place: Point, words: str, anchor: str, color: str = "#444", more: str = ""
    ) -> None:
        """Write words that start, end or have their middle at a place."""
        where = f'x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="{anchor}"'
        self._shapes.append(f'<text {where} fill="{color}" {more}>{escape(words)}</text>')

"""Pictures as SVG: charts with axes, and shapes placed by hand. Every picture is drawn with these.

A picture has no style sheet and no script, so that it can be put into any page, and the same
arguments give the same bytes. Colours are those of colors.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]

_LETTERS = 'font-family="monospace" font-size="14" unicode-bidi="bidi-override"'
_INK, _GRID, _PALE = "#333333", "#dddddd", "#666666"
# Marks that turn the reading order, or break a line.
_MARKS = {0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 48  # room around the area of a chart


class Picture:
    """A picture of a size in pixels, to which shapes are added."""

    def __init__(self, width: float, height: float, title: str) -> None:
        """title: one sentence on what is seen, which a screen reader speaks."""
        self.width = width
        self.height = height
        self._title = title
        self._shapes: list[str] = []

    def rect(self, corner: Point, width: float, height: float, color: str, more: str = "") -> None:
        """Add a filled rectangle. more: further SVG attributes, here and below."""
        x, y = corner
        size = f'width="{_number(width)}" height="{_number(height)}"'
        self._add(f'<rect x="{_number(x)}" y="{_number(y)}" {size} fill="{color}"', more)

    def line(self, start: Point, stop: Point, color: str = _GRID, more: str = "") -> None:
        """Add a straight line."""
        ends = " ".join(
            f'{name}="{_number(value)}"'
            for name, value in zip(("x1", "y1", "x2", "y2"), (*start, *stop), strict=True)
        )
        self._add(f'<line {ends} stroke="{color}"', more)

    def path(self, points: Iterable[Point], color: str, more: str = "") -> None:
        """Add straight lines from point to point."""
        places = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._add(f'<polyline points="{places}" fill="none" stroke="{color}"', more)

    def area(self, points: Iterable[Point], color: str, more: str = "") -> None:
        """Add a filled shape with these corners."""
        places = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._add(f'<polygon points="{places}" fill="{color}"', more)

    def dot(self, place: Point, radius: float, color: str, more: str = "") -> None:
        """Add a filled circle."""
        x, y = place
        self._add(
            f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{radius:g}" fill="{color}"', more
        )

    def text(
        self, place: Point, words: str, anchor: str = "start", color: str = _INK, more: str = ""
    ) -> None:
        """Add words that start, end or have their middle at a place: "start", "end", "middle"."""
        x, y = place
        where = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" fill="{color}"'
        self._shapes.append(f"<text {where}{more and ' ' + more}>{xml_text(words)}</text>")

    def letters(self, places: Iterable[float], y: float, words: str, color: str = _INK) -> None:
        """Add each character of `words`, of which none is a space, at its own x."""
        where = f'x="{" ".join(map(_number, places))}" y="{_number(y)}" fill="{color}"'
        self._shapes.append(f"<text {where} {_LETTERS}>{xml_text(words)}</text>")

    def put(self, other: Picture, corner: Point) -> None:
        """Add the shapes of another picture, whose corner comes to lie at `corner`."""
        x, y = map(_number, corner)
        self._shapes += [f'<g transform="translate({x} {y})">', *other._shapes, "</g>"]

    def as_svg(self) -> str:
        """Return the picture, white behind its shapes."""
        wide, tall = map(_number, (self.width, self.height))
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" role="img"'
        back = f'<rect width="{wide}" height="{tall}" fill="#ffffff"/>'
        style = 'font-family="sans-serif" font-size="12"'
        title = f"<title>{xml_text(self._title)}</title>"
        return "\n".join([f"{head} {style}>", title, back, *self._shapes, "</svg>", ""])

    def _add(self, shape: str, more: str) -> None:
        self._shapes.append(f"{shape}{more and ' ' + more}/>")


class Axis:
    """Values along one side of a chart, from `low` to `high`; log: by factors, low above 0."""

    def __init__(
        self,
        name: str,
        low: float,
        high: float,
        *,
        log: bool = False,
        ticks: Sequence[tuple[float, str]] | None = None,
    ) -> None:
        """ticks: values and what they are called; None chooses round ones."""
        self.name = name
        self.low = low
        self.high = high if high > low else low * 10 if log else low + 1
        self.log = log
        self.ticks = self._round_ticks() if ticks is None else ticks

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at low and 1 at high; what is outside is cut."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _round_ticks(self) -> list[tuple[float, str]]:
        if self.log:
            first = math.ceil(math.log10(self.low) - 1e-9)
            last = math.floor(math.log10(self.high) + 1e-9)
            powers = [10.0**power for power in range(first, last + 1, max(1, (last - first) // 6))]
            return [(value, f"{value:g}") for value in powers]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(f * unit for f in (1, 2, 5, 10) if f * unit >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(n * step, f"{n * step:,.10g}") for n in range(first, last + 1)]


class Chart(Picture):
    """A picture with two axes, and curves, bands, dots and bars placed by their values."""

    def __init__(
        self, across: Axis, up: Axis, title: str, width: float = 640, height: float = 380
    ) -> None:
        super().__init__(width, height, title)
        self._across = across
        self._up = up
        self._names = 0  # in the legend
        self.text((_LEFT, 20), title, more='font-weight="bold"')
        right, bottom = self.width - _RIGHT, self.height - _BOTTOM
        for value, name in up.ticks:
            _, y = self.place((across.low, value))
            self.line((_LEFT, y), (right, y))
            self.text((_LEFT - 8, y + 4), name, "end")
        for value, name in across.ticks:
            x, _ = self.place((value, up.low))
            self.line((x, bottom), (x, bottom + 4), _PALE)
            self.text((x, bottom + 17), name, "middle")
        self.text(((_LEFT + right) / 2, self.height - 10), across.name, "middle")
        middle = _number((_TOP + bottom) / 2)
        turned = f'transform="rotate(-90 14 {middle})"'
        self.text((14, float(middle)), up.name, "middle", more=turned)

    def place(self, point: Point) -> Point:
        """Return where a pair of values stands in the picture."""
        wide = self.width - _LEFT - _RIGHT
        tall = self.height - _TOP - _BOTTOM
        x = _LEFT + self._across.share(point[0]) * wide
        return x, self.height - _BOTTOM - self._up.share(point[1]) * tall

    def curve(self, points: Iterable[Point], color: str, dash: str = "", name: str = "") -> None:
        """Add a curve; points that are not finite, or not above 0 on a logarithm, break it."""
        dashes = f'stroke-dasharray="{dash}" ' if dash else ""
        more = f'{dashes}stroke-width="2"'
        for run in self._runs(points):
            self.path(map(self.place, run), color, more)
        if name:
            self._name(name, color, more)

    def band(self, low: Iterable[Point], high: Iterable[Point], color: str) -> None:
        """Fill what lies between two curves."""
        lower = [point for run in self._runs(low) for point in run]
        upper = [point for run in self._runs(high) for point in run]
        if lower and upper:
            self.area(map(self.place, [*lower, *reversed(upper)]), color, 'fill-opacity="0.15"')

    def dots(
        self, points: Iterable[Point], color: str, radius: float = 2.5, name: str = ""
    ) -> None:
        """Add a dot at each point."""
        for run in self._runs(points):
            for point in run:
                self.dot(self.place(point), radius, color, 'fill-opacity="0.6"')
        if name:
            self._name(name, color, 'stroke-width="6"')

    def bars(
        self, edges: Sequence[float], values: Sequence[float], color: str, name: str = ""
    ) -> None:
        """Add a bar for each value, from one edge to the next: one edge more than values."""
        for left, right, value in zip(edges[:-1], edges[1:], values, strict=True):
            x, top = self.place((left, value))
            stop, bottom = self.place((right, self._up.low))
            self.rect((x, top), max(stop - x - 1, 1), bottom - top, color, 'fill-opacity="0.7"')
        if name:
            self._name(name, color, 'stroke-width="8"')

    def level(self, value: float, name: str, color: str = _PALE) -> None:
        """Add a dashed line across, with its name above its end."""
        start, stop = (self.place((end, value)) for end in (self._across.low, self._across.high))
        self.line(start, stop, color, 'stroke-dasharray="6 4"')
        self.text((stop[0], stop[1] - 5), name, "end", color)

    def wall(self, value: float, name: str, color: str = _PALE) -> None:
        """Add a dashed line from top to bottom, with its name beside it."""
        start, stop = (self.place((value, end)) for end in (self._up.high, self._up.low))
        self.line(start, stop, color, 'stroke-dasharray="6 4"')
        self.text((start[0] + 4, start[1] + 12), name, "start", color)

    def _runs(self, points: Iterable[Point]) -> list[list[Point]]:
        """Return the stretches of points that can be drawn."""
        runs: list[list[Point]] = [[]]
        for x, y in points:
            is_drawn = all(math.isfinite(v) for v in (x, y))
            is_drawn = is_drawn and not ((self._across.log and x <= 0) or (self._up.log and y <= 0))
            if is_drawn:
                runs[-1].append((x, y))
            elif runs[-1]:
                runs.append([])
        return [run for run in runs if run]

    def _name(self, name: str, color: str, more: str) -> None:
        """Add a line of the legend, at the top right."""
        y = _TOP + 14 + 17 * self._names
        right = self.width - _RIGHT - 8
        self.line((right - 28, y - 4), (right, y - 4), color, more)
        self.text((right - 34, y), name, "end")
        self._names += 1


def join_pictures(pictures: Sequence[Picture], title: str, columns: int = 1) -> str:
    """Return an SVG of several pictures in rows of `columns`, each row as high as its highest."""
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    width = max(sum(each.width for each in row) for row in rows)
    heights = [max(each.height for each in row) for row in rows]
    sheet = Picture(width, sum(heights), title)
    for number, row in enumerate(rows):
        for place, each in enumerate(row):
            x = sum(other.width for other in row[:place])
            sheet.put(each, (x, sum(heights[:number])))
    return sheet.as_svg()


def xml_text(words: str) -> str:
    """Return words as XML text; what XML cannot hold becomes a symbol.

    >>> xml_text("a < b" + chr(0))
    'a &lt; b␀'
    """
    return escape(visible(words))


def visible(words: str) -> str:
    """Return words with a symbol for each character that XML cannot hold, or that is not seen."""
    return "".join(map(_symbol, words))


def _symbol(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)  # also newline and tab, which would be spaces
    if code == 0x7F:
        return "␡"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE:
        return "\ufffd"
    return f"⟨{code:X}⟩" if code in _MARKS else char


def _number(value: float) -> str:
    """Return a number of pixels with a digit after the point where it has one."""
    return f"{value:.1f}".removesuffix(".0")

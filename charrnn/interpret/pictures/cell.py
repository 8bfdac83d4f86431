"""A cell from inside, as Olah (2015, *Understanding LSTM networks*) draws it, with its gates.

Along the top runs what the cell keeps, along the bottom what it reads; between them are the gates,
each with a value.
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.interpret.colors import MAGNITUDE, mix, signed_color
from charrnn.interpret.pictures.diagram import arrow, box, circle, value
from charrnn.interpret.svg import Picture, Point

CELL_HEIGHT = 300.0

_INK = "#555555"
_GATE = (104.0, 42.0)
_TOP, _MIDDLE, _BOTTOM, _INPUT = 60.0, 165.0, 232.0, 272.0  # heights
_END = 880.0
_WHAT = {
    "f": "forget gate",
    "i": "input gate",
    "g": "new value",
    "o": "output gate",
    "r": "reset gate",
    "z": "update gate",
    "n": "new value",
}


def draw_cell(picture: Picture, corner: Point, cell: str, gates: Mapping[str, float]) -> None:
    """Draw a cell of 960 × CELL_HEIGHT pixels. gates: a value for each, by name."""
    drawing = _Cell(picture, corner, gates)
    {"lstm": drawing.draw_lstm, "gru": drawing.draw_gru, "rnn": drawing.draw_rnn}[cell]()


class _Cell:
    """A cell at a place of a picture."""

    def __init__(self, picture: Picture, corner: Point, gates: Mapping[str, float]) -> None:
        self._picture = picture
        self._corner = corner
        self._gates = gates

    def draw_lstm(self) -> None:
        """c = f·c′ + i·g along the top, h = o·tanh(c) below it."""
        self._arrow((60, _TOP), (170, _TOP))
        self._arrow((190, _TOP), (400, _TOP))
        self._arrow((420, _TOP), (_END, _TOP))
        self._name((30, _TOP), "c′", "the memory before")
        self._name((_END + 16, _TOP), "c", "the memory")
        self._read(690)
        for gate, x in (("f", 180), ("i", 330), ("g", 490), ("o", 640)):
            self._gate(gate, x)
        self._arrow((180, _MIDDLE - 21), (180, _TOP + 10))
        self._arrow((330, _MIDDLE - 21), (330, 108), (400, 108))
        self._arrow((490, _MIDDLE - 21), (490, 108), (420, 108))
        self._arrow((410, 98), (410, _TOP + 10))
        self._arrow((780, _TOP), (780, 92))
        self._box((780, 107), (64, 30), "tanh")
        self._arrow((780, 122), (780, _MIDDLE - 10))
        self._arrow((692, _MIDDLE), (770, _MIDDLE))
        self._arrow((790, _MIDDLE), (_END, _MIDDLE))
        self._name((_END + 16, _MIDDLE), "h", "the state")
        for place, sign in (
            ((180, _TOP), "×"),
            ((410, _TOP), "+"),
            ((410, 108), "×"),
            ((780, _MIDDLE), "×"),
        ):
            self._circle(place, sign)

    def draw_gru(self) -> None:
        """h = (1 − z)·n + z·h′ along the top; r hides the state from n."""
        self._arrow((60, _TOP), (220, _TOP))
        self._arrow((240, _TOP), (650, _TOP))
        self._arrow((670, _TOP), (_END, _TOP))
        self._name((30, _TOP), "h′", "the state before")
        self._name((_END + 16, _TOP), "h", "the state")
        self._read(660, from_top=True)
        for gate, x in (("z", 230), ("r", 390), ("n", 660)):
            self._gate(gate, x)
        self._arrow((230, _MIDDLE - 21), (230, _TOP + 10))
        self._arrow((230, 112), (650, 112))
        self._text((560, 106), "1 − z")
        self._arrow((442, _MIDDLE), (510, _MIDDLE))
        self._arrow((520, _BOTTOM), (520, _MIDDLE + 10))
        self._text((526, _BOTTOM - 18), "W h′")
        self._arrow((530, _MIDDLE), (608, _MIDDLE))
        self._arrow((660, _MIDDLE - 21), (660, 122))
        self._arrow((660, 102), (660, _TOP + 10))
        for place, sign in (
            ((230, _TOP), "×"),
            ((660, _TOP), "+"),
            ((660, 112), "×"),
            ((520, _MIDDLE), "×"),
        ):
            self._circle(place, sign)

    def draw_rnn(self) -> None:
        """h = f(U x + W h′ + b)."""
        self._arrow((60, _TOP + 60), (290, _TOP + 60))
        self._name((30, _TOP + 60), "h′", "the state before")
        self._text((150, _TOP + 52), "W h′")
        self._name((300, _BOTTOM), "x", "what is read")
        self._arrow((300, _BOTTOM - 12), (300, _TOP + 70))
        self._text((306, _BOTTOM - 50), "U x + b")
        self._circle((300, _TOP + 60), "+")
        self._arrow((310, _TOP + 60), (468, _TOP + 60))
        self._text((370, _TOP + 52), "a")
        self._box((520, _TOP + 60), _GATE, "f(a)", "squashes it")
        self._arrow((572, _TOP + 60), (_END, _TOP + 60))
        self._name((_END + 16, _TOP + 60), "h", "the state")

    def _read(self, stop: float, *, from_top: bool = False) -> None:
        """Draw the line along the bottom: the state before and the input, for all gates."""
        if from_top:
            self._line((90, _TOP), (90, _BOTTOM), (stop, _BOTTOM))
        else:
            self._name((30, _BOTTOM), "h′", "the state before")
            self._line((60, _BOTTOM), (stop - 50, _BOTTOM))
        self._name((120, _INPUT), "x", "what is read")
        self._line((120, _INPUT - 12), (120, _BOTTOM))

    def _gate(self, gate: str, x: float) -> None:
        """Draw a gate and the arrow to it from the bottom."""
        number = self._gates[gate]
        color = signed_color(number) if gate in ("g", "n") else mix(MAGNITUDE, number)
        self._arrow((x, _BOTTOM), (x, _MIDDLE + 21))
        function = "tanh" if gate in ("g", "n") else "σ"
        words = [f"{gate} = {value(number)}", f"{_WHAT[gate]}, {function}"]
        box(self._picture, self._place((x, _MIDDLE)), _GATE, words, color)

    def _box(self, center: Point, size: tuple[float, float], *words: str) -> None:
        box(self._picture, self._place(center), size, words)

    def _circle(self, center: Point, sign: str) -> None:
        circle(self._picture, self._place(center), sign)

    def _arrow(self, *points: Point) -> None:
        arrow(self._picture, [self._place(point) for point in points], _INK)

    def _line(self, *points: Point) -> None:
        self._picture.path(map(self._place, points), _INK, 'stroke-width="1.5"')

    def _name(self, center: Point, name: str, meaning: str) -> None:
        x, y = self._place(center)
        self._picture.text((x, y + 5), name, "middle", more='font-weight="bold" font-size="15"')
        self._picture.text((x, y + 20), meaning, "middle", "#666666", 'font-size="10"')

    def _text(self, place: Point, words: str) -> None:
        self._picture.text(self._place(place), words, more='font-size="11"')

    def _place(self, point: Point) -> Point:
        return self._corner[0] + point[0], self._corner[1] + point[1]

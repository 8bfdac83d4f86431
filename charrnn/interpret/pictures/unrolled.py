"""The picture of a network: folded, unrolled along the text, and one cell from inside."""

from __future__ import annotations

import math
from collections.abc import Mapping

from charrnn.interpret.colors import CURVES, MAGNITUDE, mix
from charrnn.interpret.pictures.cell import CELL_HEIGHT, draw_cell
from charrnn.interpret.pictures.diagram import arrow, box, value
from charrnn.interpret.svg import Picture
from charrnn.interpret.unrolled import UnrolledReport

U, W, V = CURVES[0], CURVES[1], CURVES[2]
"""The colours of the matrices from the input, from the state before, and to the logits."""

_WIDTH = 1000.0
_FOLDED = 120.0  # the middle of the folded network
_FIRST, _COLUMN = 268.0, 62.0  # the middle of the first column, and from one to the next
_ROW = 78.0  # from one layer to the next
_NODE = (40.0, 30.0)
_TOP = 88.0  # above the guesses
_NOTES = 92.0  # what is written below the characters
_DECADES = 6
_LONGEST = 9  # characters of a name in a box


def draw_unrolled(reports: Mapping[str, UnrolledReport]) -> str:
    """Return the picture of the models, one below the other, on the same scales."""
    heights = [_height(report) for report in reports.values()]
    names = ", ".join(reports)
    picture = Picture(_WIDTH, sum(heights), f"The network of {names}, folded and unrolled")
    scale = max(report.scale for report in reports.values())
    strongest = max(float(report.gradients.max()) for report in reports.values())
    top = 0.0
    for number, (name, report) in enumerate(reports.items()):
        _Unrolled(picture, report, number, top, scale, strongest).draw(name)
        top += heights[number]
    return picture.as_svg()


def _height(report: UnrolledReport) -> float:
    return _TOP + _ROW * (report.num_layers + 1) + _NOTES + CELL_HEIGHT


class _Unrolled:
    """One network in a picture, from `top` down; number: of the model, from 0."""

    def __init__(
        self,
        picture: Picture,
        report: UnrolledReport,
        number: int,
        top: float,
        scale: float,
        strongest: float,
    ) -> None:
        self._picture = picture
        self._report = report
        self._number = number
        self._top = top
        self._scale = scale
        self._strongest = strongest
        self._layers = report.num_layers
        self._bottom = top + _TOP + _ROW * (self._layers + 1)  # the row of characters

    def draw(self, name: str) -> None:
        report, picture = self._report, self._picture
        kind = f"{report.cell} {report.num_layers}×{report.hidden_size}"
        heading = f"{name}: {kind}, unrolled over {len(report.symbols)} characters"
        picture.text((20, self._top + 24), heading, more='font-weight="bold" font-size="14"')
        self._draw_folded()
        picture.text(
            (_FIRST - 20, self._top + 52), "unrolled along the text", more='font-style="italic"'
        )
        for t in range(len(report.symbols)):
            self._draw_column(t)
        for cut in report.cuts:
            self._draw_cut(cut)
        self._draw_notes()
        at = report.at - report.start
        gates = {gate: float(means[at]) for gate, means in report.gates.items()}
        where = f"One step of layer {report.layer} from inside, at place {report.at}"
        if gates:
            where += "; gates: the mean over all units"
        cell_top = self._bottom + _NOTES
        picture.text((20, cell_top + 10), where, more='font-weight="bold"')
        draw_cell(picture, (20, cell_top), report.cell, gates)

    def _y(self, layer: int) -> float:
        """Return the height of a layer, from 1; 0 is that of the characters."""
        return self._bottom - _ROW * layer

    def _draw_folded(self) -> None:
        """Draw the network once, with arrows that lead back into it."""
        picture, x = self._picture, _FOLDED
        picture.text((x, self._top + 52), "folded", "middle", more='font-style="italic"')
        box(picture, (x, self._y(0)), (76, 26), ["character"])
        for layer in range(1, self._layers + 1):
            y = self._y(layer)
            box(picture, (x, y), (76, 34), [f"h{layer}, {self._report.hidden_size}"])
            arrow(picture, [(x, self._y(layer - 1) - 13 - 4 * (layer > 1)), (x, y + 17)], U, 2)
            picture.text((x + 6, y + 38), f"U{layer}", color=U, more='font-weight="bold"')
            loop = [(x + 38, y - 6), (x + 64, y - 6), (x + 64, y + 8), (x + 38, y + 8)]
            arrow(picture, loop, W, 2)
            picture.text((x + 68, y + 5), f"W{layer}", color=W, more='font-weight="bold"')
        y = self._y(self._layers + 1)
        arrow(picture, [(x, self._y(self._layers) - 17), (x, y + 13)], V, 2)
        picture.text((x + 6, y + 38), "V", color=V, more='font-weight="bold"')
        box(picture, (x, y), (76, 26), ["next"])
        picture.text((_FIRST - 52, self._y(0) + 5), "reads", "end", "#666666")
        picture.text((_FIRST - 52, y + 5), "says", "end", "#666666")

    def _draw_column(self, t: int) -> None:
        report, picture = self._report, self._picture
        x = _FIRST + _COLUMN * t
        place = report.start + t
        is_at = place == report.at
        more = 'stroke-width="3"' if is_at else ""
        box(picture, (x, self._y(0)), (40, 26), [_short(report.symbols[t])], more=more)
        picture.text((x, self._y(0) + 30), str(place), "middle", "#666666")
        for layer in range(1, self._layers + 1):
            self._draw_node(t, layer)
        y = self._y(self._layers + 1)
        arrow(picture, [(x, self._y(self._layers) - 15), (x, y + 15)], V)
        guess, chance = _short(report.guesses[t]), f"{100 * report.chances[t]:.0f} %"
        box(picture, (x, y), (46, 32), [guess, chance], more=more)

    def _draw_node(self, t: int, layer: int) -> None:
        """Draw the state of a layer after a character, and the arrows that lead to it."""
        report, picture = self._report, self._picture
        x, y = _FIRST + _COLUMN * t, self._y(layer)
        below = self._y(layer - 1) - (13 if layer == 1 else 15)
        if t in report.ends:
            picture.text((x, y + 28), "set back", "middle", "#666666", 'font-size="10"')
        else:
            arrow(picture, [(x, below), (x, y + 15)], U)
            start = (x - _COLUMN + _NODE[0] / 2, y)
            width = self._arrow_width(t - 1, layer) if t else 1.5
            more = "" if t else 'stroke-dasharray="3 2"'
            arrow(picture, [start, (x - _NODE[0] / 2, y)], W, width, more)
        strength = float(report.strengths[t, layer - 1])
        color = mix(MAGNITUDE, strength / self._scale)
        identity = f'id="m{self._number}-t{report.start + t}-l{layer}"'
        box(picture, (x, y), _NODE, [value(strength)], color, identity)

    def _arrow_width(self, t: int, layer: int) -> float:
        """Return how wide the arrow away from a state is: the logarithm of its gradient."""
        gradient = float(self._report.gradients[t, layer - 1])
        if gradient <= 0 or self._strongest <= 0 or t + self._report.start >= self._report.at:
            return 1.0
        share = 1 + math.log10(gradient / self._strongest) / _DECADES
        return 1 + 5 * min(max(share, 0.0), 1.0)

    def _draw_cut(self, column: int) -> None:
        x = _FIRST + _COLUMN * (column - 0.5)
        top, bottom = self._y(self._layers) - 28, self._y(0) - 14
        self._picture.line((x, top), (x, bottom), "#000000", 'stroke-dasharray="4 3"')
        self._picture.text((x, top - 3), "cut", "middle", more='font-size="10"')

    def _draw_notes(self) -> None:
        report, picture = self._report, self._picture
        lines = [
            "Arrows of one colour and number are the same matrix in every column: "
            "U1 reads, W1 remembers, V says. Numbers in boxes: the root mean square of the "
            "state, darker is larger.",
            f"Wide orange arrows: where the loss at place {report.at} sends its gradient back, on "
            f"a logarithmic scale of {_DECADES} powers of ten.",
        ]
        if report.seq_len is not None:
            seen = "the cuts are counted" if report.cuts else "no cut is in view, counted"
            lines.append(
                f"Training reads windows of {report.seq_len} characters and cuts the gradient "
                f"between them ({seen} from the start of this text)."
            )
        for number, words in enumerate(lines):
            place = (20, self._bottom + 52 + 16 * number)
            picture.text(place, words, color="#555555", more='font-size="11"')


def _short(name: str) -> str:
    """Return the name of a token as a box has room for it."""
    name = "␣" if name == " " else name
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"

"""The picture of one step: what one unit reads, computes and says, and what the loss says of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from charrnn.interpret.colors import CURVES, MAGNITUDE, letter_color, mix, signed_color
from charrnn.interpret.digits import decimals_for, read_number, shown
from charrnn.interpret.equations import Line
from charrnn.interpret.pictures.diagram import arrow, value
from charrnn.interpret.step import StepReport
from charrnn.interpret.svg import Picture, Point
from charrnn.interpret.trace import Array
from charrnn.interpret.unit_step import subscript

_WIDTH = 1000.0
_TOP = 96.0
_ROW = 92.0  # from one gate to the next
_FEWEST = 3  # rows that the inputs and the guesses need
_BOX = (112.0, 44.0)
_INPUTS, _SUMS, _GATES, _STATES, _SAYS = 76.0, 300.0, 506.0, 666.0, 860.0  # middles, across
_BAR = 62.0  # half the width of the bars
_BACK = "#8a3a00"
_ARROWS = "#999999"
_CELL = (36.0, 18.0)  # of a matrix
_PARTS = (("U x", CURVES[0]), ("W h′", CURVES[1]), ("b", "#777777"))


def draw_step(reports: Mapping[str, StepReport]) -> str:
    """Return the picture of the models, one below the other; bars are on one scale."""
    heights = [_height(report) for report in reports.values()]
    names = ", ".join(reports)
    picture = Picture(_WIDTH, sum(heights), f"One step of {names}, forward and backward")
    scale = max(abs(part) for report in reports.values() for row in _parts(report) for part in row)
    top = 0.0
    for (name, report), height in zip(reports.items(), heights, strict=True):
        _Step(picture, report, top, scale or 1.0).draw(name)
        top += height
    return picture.as_svg()


def _height(report: StepReport) -> float:
    height = _TOP + _ROW * max(len(_gates(report)), _FEWEST) + 24
    if report.matrices:
        height += len(_gates(report)) * ((report.hidden_size + 2) * _CELL[1] + 10) + 46
    if report.update:
        height += 40 + 18 * len(report.update.lines)
    return height


def _gates(report: StepReport) -> list[str]:
    return {"rnn": [""], "lstm": list("ifgo"), "gru": list("rzn")}[report.cell]


def _parts(report: StepReport) -> list[list[float]]:
    """Return what is added up for each gate, as printed."""
    return [[read_number(term) for term in _sum(report, gate).terms] for gate in _gates(report)]


def _sum(report: StepReport, gate: str) -> Line:
    """Return the equation of what a gate is computed from."""
    name = f"{subscript('a', gate)}[{report.unit}]"
    return next(line for line in report.forward if line.name == name)


class _Step:
    """One step in a picture, from `top` down."""

    def __init__(self, picture: Picture, report: StepReport, top: float, scale: float) -> None:
        self._picture = picture
        self._report = report
        self._top = top
        self._scale = scale
        self._names = _gates(report)
        rows = max(len(self._names), _FEWEST)
        self._first = top + _TOP + 30 + _ROW * (rows - len(self._names)) / 2
        self._middle = top + _TOP + 30 + _ROW * (rows - 1) / 2
        self._bottom = top + _TOP + _ROW * rows + 10

    def draw(self, name: str) -> None:
        self._draw_heading(name)
        self._draw_arrows()
        self._draw_inputs()
        for number, gate in enumerate(self._names):
            self._draw_sum(gate, self._y(number))
            if gate:
                self._draw_gate(gate, self._y(number))
        self._draw_states()
        self._draw_guesses()
        below = self._bottom + 10
        if self._report.matrices:
            below = self._draw_matrices(below)
        self._draw_update(below)

    def _y(self, number: int) -> float:
        return self._first + _ROW * number

    def _draw_heading(self, name: str) -> None:
        report, picture = self._report, self._picture
        ends = " (the likeliest; the text ends)" if report.is_guess else ""
        heading = (
            f"{name}: place {report.at} reads {report.symbol!r}, then comes {report.target!r}{ends}"
        )
        picture.text((20, self._top + 24), heading, more='font-weight="bold" font-size="14"')
        what = f"{report.cell}, layer {report.layer}, unit {report.unit} of {report.hidden_size}"
        picture.text((20, self._top + 44), f"{what}. Black: forward. ", color="#555555")
        words = "Brown, after ∂: the derivative of the loss by that number."
        picture.text((20 + 6.2 * len(what) + 96, self._top + 44), words, color=_BACK)
        heads = ((_INPUTS, "before"), (_SUMS, "added up"), (_STATES, "after"), (_SAYS, "says"))
        for x, name in heads:
            picture.text((x, self._top + 72), name, "middle", "#666666", 'font-style="italic"')
        if self._names != [""]:
            picture.text(
                (_GATES, self._top + 72), "gates", "middle", "#666666", 'font-style="italic"'
            )

    def _draw_arrows(self) -> None:
        """Draw all arrows, below all boxes."""
        picture = self._picture
        states = self._state_places()
        for number, gate in enumerate(self._names):
            y = self._y(number)
            for name, (_, height) in self._input_places():
                if name != "c′":
                    start = (_INPUTS + _BOX[0] / 2, height)
                    picture.line(start, (_SUMS - 100, y), _ARROWS)
            if gate:
                arrow(picture, [(_SUMS + 100, y), (_GATES - _BOX[0] / 2, y)], _ARROWS)
            end = states[-1] if gate in ("o", "") or self._report.cell == "gru" else states[0]
            left = (_GATES + _BOX[0] / 2 if gate else _SUMS + 100, y)
            arrow(picture, [left, (end[0] - _BOX[0] / 2, end[1])], _ARROWS)
        for upper, lower in pairwise(states):
            start = (upper[0], upper[1] + _BOX[1] / 2)
            arrow(picture, [start, (lower[0], lower[1] - _BOX[1] / 2)], _ARROWS)
        x, y = states[-1]
        arrow(picture, [(x + _BOX[0] / 2, y), (_SAYS - 84, self._middle)], _ARROWS)

    def _input_places(self) -> list[tuple[str, Point]]:
        """Return the boxes of what the step starts from, and where they stand."""
        names = ["x", "h′", *(["c′"] if self._report.cell == "lstm" else [])]
        first = self._middle - 56 * (len(names) - 1) / 2
        return [(name, (_INPUTS, first + 56 * number)) for number, name in enumerate(names)]

    def _state_places(self) -> list[Point]:
        if self._report.cell != "lstm":
            return [(_STATES, self._middle)]
        return [(_STATES, self._middle - 62), (_STATES, self._middle + 62)]

    def _draw_inputs(self) -> None:
        has_ngrams = any(line.name.startswith("x[") for line in self._report.forward)
        rows = "E + n-grams" if has_ngrams else "its row of E"
        for name, place in self._input_places():
            if name == "x":
                self._box(place, [f"x: {self._report.symbol!r}", rows], "#ffffff")
            else:
                self._node(name, place)

    def _draw_sum(self, gate: str, y: float) -> None:
        """Draw what is added up as bars from the middle, and the sum."""
        picture = self._picture
        line = _sum(self._report, gate)
        left = _SUMS - 100
        picture.rect((left, y - 34), 200, 68, "#ffffff", 'rx="5" stroke="#999999"')
        names = ["U x", "r·n_h", "b"] if gate == "n" else [name for name, _ in _PARTS]
        zero = _SUMS + 4
        for number, (name, said) in enumerate(zip(names, line.terms, strict=True)):
            at = y - 24 + 15 * number
            wide = _BAR * read_number(said) / self._scale
            start = zero + min(wide, 0)
            picture.rect((start, at - 6), max(abs(wide), 0.5), 11, _PARTS[number][1])
            picture.text((left + 6, at + 4), subscript(name, ""), more='font-size="11"')
            picture.text((left + 194, at + 4), said, "end", more='font-size="11"')
        picture.line((zero, y - 32), (zero, y + 13), "#333333")
        _, grad = self._report.nodes[subscript("a", gate)]
        total = f"{subscript('a', gate)} = {line.shown}"
        picture.text((left + 6, y + 28), total, more='font-weight="bold" font-size="11"')
        picture.text((left + 194, y + 28), _slope(grad), "end", _BACK, 'font-size="11"')

    def _draw_gate(self, gate: str, y: float) -> None:
        number, _ = self._report.nodes[gate]
        color = signed_color(number) if gate in ("g", "n") else mix(MAGNITUDE, number)
        function = "tanh" if gate in ("g", "n") else "σ"
        self._node(gate, (_GATES, y), color)
        words = f"{gate} = {function}(a_{gate})"
        self._picture.text((_GATES, y + 36), words, "middle", "#666666", 'font-size="10"')

    def _draw_states(self) -> None:
        formulas = {"rnn": ["h = f(a)"], "gru": ["h = (1 − z)·n + z·h′"]}
        formulas["lstm"] = ["c = f·c′ + i·g", "h = o·tanh(c)"]
        places = self._state_places()
        names = ["c", "h"][-len(places) :]
        for name, place, formula in zip(names, places, formulas[self._report.cell], strict=True):
            number, _ = self._report.nodes[name]
            color = signed_color(number) if name == "h" else "#ffffff"
            self._node(name, place, color)
            below = (place[0] + 8, place[1] + 36)
            self._picture.text(below, formula, "start", "#666666", 'font-size="10"')

    def _draw_guesses(self) -> None:
        """Draw the likeliest next characters as bars, and the loss."""
        report, picture = self._report, self._picture
        first = self._middle - 9 * len(report.guesses) - 6
        left = _SAYS - 24
        for number, guess in enumerate(report.guesses):
            y = first + 18 * number
            color = CURVES[2] if guess.is_target else "#bbbbbb"
            picture.rect((left, y - 9), max(96 * guess.probability, 0.5), 12, color)
            name = repr(guess.symbol) if guess.logit is not None else guess.symbol
            weight = 'font-weight="bold"' if guess.is_target else ""
            picture.text((left - 4, y + 1), name, "end", more=f'{weight} font-size="11"'.strip())
            picture.text((left + 132, y + 1), guess.shown, "end", more='font-size="11"')
        loss = next(line for line in report.forward if line.name == "ℓ")
        words = f"ℓ = −ln p[{report.target!r}] = {loss.shown} nats"
        below = first + 18 * len(report.guesses) + 12
        picture.text((_SAYS + 20, below), words, "middle", more='font-weight="bold"')

    def _node(self, name: str, place: Point, color: str = "#ffffff") -> None:
        """Draw a value of the unit and its derivative."""
        number, grad = self._report.nodes[name]
        words = [f"{name}[{self._report.unit}] = {shown(number)}", _slope(grad)]
        self._box(place, words, color)

    def _box(self, place: Point, words: list[str], color: str) -> None:
        x, y = place
        wide, tall = _BOX
        shape = 'rx="5" stroke="#666666"'
        self._picture.rect((x - wide / 2, y - tall / 2), wide, tall, color, shape)
        ink = letter_color(color)
        self._picture.text((x, y - 3), words[0], "middle", ink, 'font-size="11"')
        back = words[1].startswith("∂") and color == "#ffffff"
        second = _BACK if back else ink
        self._picture.text((x, y + 14), words[1], "middle", second, 'font-size="11"')

    def _draw_matrices(self, top: float) -> float:
        """Draw the whole matrices of a small layer; return where the next thing may begin."""
        report, picture = self._report, self._picture
        arrays = report.matrices
        weights = [array for name, array in arrays.items() if name[0] in "UW"]
        largest = max(float(np.abs(array).max()) for array in weights)
        picture.text((20, top + 12), "The whole layer", more='font-weight="bold"')
        words = f"U and W: colours from −{value(largest)} to {value(largest)}; the row of unit "
        words += f"{report.unit} has a frame. ∂ℓ/∂W = ∂ℓ/∂a · h′ᵀ: every row is h′ times a number."
        picture.text((130, top + 12), words, color="#555555", more='font-size="11"')
        top += 34
        for gate in self._names:
            x = 20.0
            names = [subscript(letter, gate) for letter in "UWba"]
            names += [f"∂ℓ/∂{subscript(letter, gate)}" for letter in "aW"]
            for name in names:
                x = self._draw_matrix(name, arrays[name], (x, top), largest)
            top += (report.hidden_size + 2) * _CELL[1] + 10
        return top

    def _draw_matrix(self, name: str, array: Array, corner: Point, largest: float) -> float:
        """Draw one matrix or vector; return where the next one begins."""
        rows = array if array.ndim == 2 else array[:, None]
        wide, tall = _CELL
        x, y = corner
        columns = int(rows.shape[1])
        if columns * wide > 320:  # the input is too wide
            return x
        self._picture.text((x, y + 8), name, more='font-weight="bold" font-size="11"')
        is_weight = name[0] in "UW"
        span = largest if is_weight else float(np.abs(rows).max()) or 1.0
        for row, numbers in enumerate(rows.tolist()):
            for column, number in enumerate(numbers):
                color = signed_color(number / span)
                place = (x + wide * column, y + 14 + tall * row)
                self._picture.rect(place, wide - 1, tall - 1, color)
                said = value(number) if is_weight or "∂" not in name else _tiny(number)
                center = (place[0] + wide / 2, place[1] + 12)
                self._picture.text(center, said, "middle", letter_color(color), 'font-size="9"')
        frame = 'fill-opacity="0" stroke="#000000" stroke-width="1.5"'
        at = (x - 1, y + 13 + tall * self._report.unit)
        self._picture.rect(at, wide * columns + 1, tall + 1, "#ffffff", frame)
        return x + wide * columns + 14

    def _draw_update(self, top: float) -> None:
        update = self._report.update
        if update is None:
            return
        words = f"Training: the window of {update.tokens} characters that ends here"
        self._picture.text((20, top + 14), words, more='font-weight="bold"')
        for number, (name, formula, numbers, meaning) in enumerate(update.lines):
            y = top + 36 + 18 * number
            self._picture.text((20, y), f"{name} = {formula}", more='font-size="11"')
            self._picture.text((350, y), numbers, more='font-size="11"')
            self._picture.text((630, y), meaning, color="#666666", more='font-size="10"')


def _slope(grad: float) -> str:
    return f"∂ {shown(grad, decimals_for([grad]))}"


def _tiny(number: float) -> str:
    """Return a derivative in few characters."""
    return shown(number, 3) if abs(number) >= 0.0005 else "0"

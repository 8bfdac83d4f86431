"""View `text`: what do these units follow? Their values along a text, on a fixed scale.

U = units, T = tokens, N = tokens that figures are measured on, H = hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array, Trace, record_lanes
from charrnn.interpret.units import (
    Unit,
    array_values,
    check_layer,
    meaning_of,
    parse_unit,
    state_arrays,
    unit_values,
    value_range,
)
from charrnn.text.vocab import END_NAME

_CHOSEN = 3  # units, where none are named
_SAMPLE = 2_000  # tokens that they are chosen on
_PERCENTILE = 99  # of the values of ReLUs, which have no highest
_RULE = "the slowest to change among the units that vary widely"


@dataclass(frozen=True, eq=False)
class TextReport:
    """Values of units along a text.

    symbols: (T,) what stands for each token. units: (U,) names, and meanings: what each is.
    values: (U, T) after each token, NaN where there is none; with is_diff the change by it. scales:
    (U,) the value that has the strongest colour. lows: (U,) the least that a value can be. rule: by
    which the units were chosen; "" where they were named.
    """

    symbols: list[str]
    units: list[str]
    meanings: list[str]
    values: Array
    scales: list[float]
    lows: list[float]
    is_diff: bool
    rule: str

    @property
    def described_units(self) -> str:
        """Which units are seen, what they are, and why these."""
        if self.rule:
            return f"{', '.join(self.units)} ({self.meanings[0]}): {self.rule}"
        named: dict[str, list[str]] = {}
        for unit, meaning in zip(self.units, self.meanings, strict=True):
            named.setdefault(meaning, []).append(unit)
        return "; ".join(f"{', '.join(units)} ({what})" for what, units in named.items())

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a CSV: one row a token."""
        columns = ["place", "symbol"]
        for unit in self.units:
            name = f"tanh_{unit}" if unit.startswith("c") else unit
            columns.append(f"{name}_change" if self.is_diff else name)
        rows: list[list[object]] = [
            [place, symbol, *values]
            for place, (symbol, values) in enumerate(
                zip(self.symbols, self.values.T.tolist(), strict=True)
            )
        ]
        return columns, rows


def inspect_text(subject: Subject, config: InspectConfig) -> TextReport:
    """Return the values of the units that are named, or of three that are chosen.

    Raises:
        ConfigError: the network has no unit of a name.
    """
    units = [parse_unit(name, subject.config) for name in config.neurons]
    rule = "" if units else _RULE
    units = units or slow_units(subject, check_layer(subject.config, config.layer))
    values = [unit_values(subject.trace, unit) for unit in units]
    if config.diff:
        values = [_change(subject.trace, *pair) for pair in zip(units, values, strict=True)]
    scales, lows = zip(*(_scale(subject, unit) for unit in units), strict=True)
    return TextReport(
        symbols=subject.symbols,
        units=[str(unit) for unit in units],
        meanings=[meaning_of(unit.array) for unit in units],
        values=np.stack(values),
        scales=list(scales),
        lows=[-scale for scale in scales] if config.diff else list(lows),
        is_diff=config.diff,
        rule=rule,
    )


def slow_units(subject: Subject, layer: int, count: int = _CHOSEN) -> list[Unit]:
    """Return units of a layer that say something for long: of an LSTM's c, else of h.

    Of those whose standard deviation at the beginning of the held-out text is at least half of the
    largest, the ones with the highest correlation between a value and the next.
    """
    array = state_arrays(subject.config)[-1]
    # The same few tokens whatever other views have read, as the text should be seen at once.
    sample = record_lanes(subject.network, subject.held_out[:_SAMPLE])
    values = array_values(sample, array, layer - 1)
    spread = values.std(0, dtype=np.float64)
    centred = values - values.mean(0)
    # Of a unit that never changes no correlation can be had.
    squares = np.maximum((centred * centred).sum(0, dtype=np.float64), 1e-30)
    correlation = (centred[1:] * centred[:-1]).sum(0, dtype=np.float64) / squares
    ranked = np.argsort(-np.where(spread >= spread.max() / 2, correlation, -2), kind="stable")
    return [Unit(layer, array, number) for number in ranked[:count].tolist()]


def line_ends(symbols: Sequence[str]) -> list[bool]:
    r"""Return whether a row ends after each symbol: after the last of several newlines.

    >>> line_ends(["a", "\n", "\n", "b"])
    [False, False, True, False]
    """
    ends = [symbol in ("\n", END_NAME) for symbol in symbols]
    return [end and not after for end, after in zip(ends, [*ends[1:], False], strict=True)]


def _change(trace: Trace, unit: Unit, values: Array) -> Array:
    """Return the values less those before them (T,); a gate has none before the first."""
    first = np.float32(np.nan)
    if unit.array in state_arrays(trace.config):
        start = trace.part(0, 0)  # no token: only the state before the text
        memory = start.hidden(unit.layer - 1) if unit.array == "h" else start.memory(unit.layer - 1)
        first = memory[0, unit.number]
        first = np.tanh(first) if unit.array == "c" else first
    return np.diff(values, prepend=first)


def _scale(subject: Subject, unit: Unit) -> tuple[float, float]:
    """Return the value of the strongest colour, and the least value, of a unit."""
    low, high = value_range(unit.array, subject.config)
    if math.isinf(high):
        values = array_values(subject.measured, unit.array, unit.layer - 1)
        high = float(np.percentile(values, _PERCENTILE)) or 1.0
    return high, low

"""View `gates`: is a gate a switch or a mixer, and how long does a unit remember?

Saturation as Karpathy, Johnson and Fei-Fei (2015) measure it: a gate is right-saturated where it is
above 0.9 and left-saturated where it is below 0.1. A unit of an rnn has no gate; what is measured
there is its state. N = tokens that are measured, H = hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array, Trace
from charrnn.interpret.units import check_layer

Bits = NDArray[np.bool_]

RIGHT, LEFT = 0.9, 0.1

_PIECE = 4096  # tokens whose gates are computed at once
_SMALLEST = np.float32(1e-7)  # of a gate: a float32 sigmoid near 0 has no smaller steps
_GATES = {"lstm": ("i", "f", "o"), "gru": ("r", "z"), "rnn": ("h",)}
_KEEPING = {"lstm": "f", "gru": "z"}
# What a gate does at its upper end, and at its lower.
_WORDS = {
    "i": ("lets all in", "lets nothing in"),
    "f": ("keeps the memory", "clears the memory"),
    "o": ("shows the memory", "hides the memory"),
    "r": ("uses the old state", "ignores the old state"),
    "z": ("keeps the state", "replaces the state"),
    "h": ("at its upper end", "at its lower end"),
}
_RANGES = {
    "tanh": ("above 0.9", "below −0.9"),
    "logistic": ("above 0.9", "below 0.1"),
    "relu": ("above 0", "exactly 0"),
}


@dataclass(frozen=True, eq=False)
class Saturation:
    """How often the units of a gate, or of an rnn's state, lie at the ends of their range.

    gate: i, f, o, r, z, or h. right: (H,) share of places at the upper end, left: (H,) at the lower
    end. right_range, left_range: what the ends are, "above 0.9" and "below 0.1" of a gate.
    right_means, left_means: what the gate does there. untrained_right, untrained_left: the shares
    at the initial weights.
    """

    gate: str
    layer: int
    right_range: str
    left_range: str
    right_means: str
    left_means: str
    right: Array
    left: Array
    untrained_right: Array
    untrained_left: Array

    @property
    def name(self) -> str:
        """The gate and its layer, as units have it: f1."""
        return f"{self.gate}{self.layer}"

    @property
    def right_units(self) -> int:
        """How many units are right-saturated at more than half of the places."""
        return int((self.right > 0.5).sum())

    @property
    def dead_units(self) -> int:
        """How many units are at the lower end everywhere: of ReLUs, those that are dead."""
        return int((self.left == 1).sum())

    @property
    def figures(self) -> list[str]:
        """Three numbers in words: time at either end, and units mostly at one."""
        size = len(self.right)
        last = f"{self.right_units} of {size} mostly above"
        if self.left_range == "exactly 0":
            last = f"{self.dead_units} of {size} always 0"
        right = f"{self.right.mean():.0%} {self.right_range}"
        return [right, f"{self.left.mean():.0%} {self.left_range}", last]


@dataclass(frozen=True, eq=False)
class TimeConstants:
    """How long the units of a layer remember: τ = −1 / mean ln f in tokens (H,).

    gate: f, or z of a GRU, which keeps. After τ tokens of average gates a memory is e times weaker.
    untrained: the same at the initial weights.
    """

    gate: str
    layer: int
    tau: Array
    untrained: Array


@dataclass(frozen=True, eq=False)
class GatesReport:
    """Saturation of each gate of each layer, lowest first, and time constants of each layer.

    tokens: how many were measured, without the ends of records.
    """

    cell: str
    nonlinearity: str
    tokens: int
    saturations: list[Saturation]
    time_constants: list[TimeConstants]

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a CSV: one row a unit of a gate."""
        columns = ["unit", "right_share", "left_share", "time_constant_tokens"]
        columns += [f"untrained_{name}" for name in columns[1:]]
        taus = {(each.gate, each.layer): each for each in self.time_constants}
        rows: list[list[object]] = []
        for each in self.saturations:
            constants = taus.get((each.gate, each.layer))
            for unit in range(len(each.right)):
                row: list[object] = [f"{each.name}.{unit}"]
                row += [float(each.right[unit]), float(each.left[unit])]
                row.append(float(constants.tau[unit]) if constants else None)
                row += [float(each.untrained_right[unit]), float(each.untrained_left[unit])]
                row.append(float(constants.untrained[unit]) if constants else None)
                rows.append(row)
        return columns, rows


@dataclass
class _Sums:
    """Counts of a gate over the places read so far (H,), and the sum of its logarithms."""

    right: Array
    left: Array
    logs: Array


def inspect_gates(
    subject: Subject,
    config: InspectConfig,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> GatesReport:
    """Return how saturated gates are on the held-out text, in `config.layer` or in all layers.

    Raises:
        ConfigError: the network has no such layer.
    """
    shape = subject.config
    layers = range(1, shape.num_layers + 1)
    if config.layer is not None:
        layer = check_layer(shape, config.layer)
        layers = range(layer, layer + 1)
    total = 2 * len(subject.measured)
    trained = _add_up(subject.measured, layers, lambda done: on_progress(done, total))
    control = _add_up(
        subject.measured_untrained, layers, lambda done: on_progress(done + total // 2, total)
    )
    tokens = int((~subject.measured.is_end).sum())
    saturations = []
    constants = []
    for gate, layer in trained:
        own, other = trained[gate, layer], control[gate, layer]
        words = _RANGES[shape.nonlinearity if gate == "h" else "logistic"] + _WORDS[gate]
        shares = [sums / max(tokens, 1) for sums in (own.right, own.left, other.right, other.left)]
        saturations.append(Saturation(gate, layer, *words, *shares))
        if gate == _KEEPING.get(shape.cell):
            taus = [_time_constants(sums.logs / max(tokens, 1)) for sums in (own, other)]
            constants.append(TimeConstants(gate, layer, *taus))
    return GatesReport(shape.cell, shape.nonlinearity, tokens, saturations, constants)


def _add_up(
    trace: Trace, layers: Sequence[int], on_progress: Callable[[int], None]
) -> dict[tuple[str, int], _Sums]:
    """Return the counts of each gate of the layers over a trace."""
    shape = trace.config
    size = shape.hidden_size
    gates = _GATES[shape.cell]
    found = {(gate, layer): _Sums(*np.zeros((3, size))) for layer in layers for gate in gates}
    for start in range(0, len(trace), _PIECE):
        part = trace.part(start, min(start + _PIECE, len(trace)))
        is_read = ~part.is_end
        for (gate, layer), sums in found.items():
            values = _values(part, gate, layer - 1)
            values = values if is_read.all() else values[is_read]
            right, left = _is_saturated(values, shape, gate)
            sums.right += right.sum(0)
            sums.left += left.sum(0)
            if gate == _KEEPING.get(shape.cell):
                sums.logs += np.log(np.maximum(values, _SMALLEST)).sum(0, dtype=np.float64)
        on_progress(start + len(part))
    return found


def _values(trace: Trace, gate: str, depth: int) -> Array:
    return trace.hidden(depth)[1:] if gate == "h" else trace.gates(depth)[gate]


def _is_saturated(values: Array, shape: ModelConfig, gate: str) -> tuple[Bits, Bits]:
    """Return whether values (N, H) lie at the upper end of their range, and at the lower."""
    if gate == "h" and shape.nonlinearity == "relu":
        return values > 0, values == 0
    low = -RIGHT if gate == "h" and shape.nonlinearity == "tanh" else LEFT
    return values > RIGHT, values < low


def _time_constants(mean_logs: Array) -> Array:
    """Return τ in tokens (H,), of the means of ln f; infinite where f is always 1."""
    with np.errstate(divide="ignore"):
        return np.divide(-1, mean_logs, out=np.full_like(mean_logs, np.inf), where=mean_logs < 0)

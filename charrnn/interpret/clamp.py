"""A network with units held at fixed values: does it read what a unit knows?

That a unit follows a feature says nothing of its use (Donnelly and Roegiest 2019). So it is held at
the value that it mostly has outside, where the text is inside, and the other way round: if the
network reads it, the closing sign becomes less or more likely, and the loss rises. Other units held
at their own medians show what any such change does.

S = tokens, H = hidden size, B = texts side by side, K = units held in a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.generation.cells import arrange_layer
from charrnn.generation.network import Network
from charrnn.interpret.trace import Array, Trace, layer_weights, record_lanes, sigmoid
from charrnn.interpret.units import Unit, all_units, state_arrays, state_values
from charrnn.state import State
from charrnn.text.vocab import Ids

CONTROLS = 5  # other units that are held at their medians
CLAMP_CHARS = 16_000  # that each held network reads
_LANES = 48
_LEAST_NATS = 1e-4  # less than this is rounding


class _Held(NamedTuple):
    """The units of one array that are held: their numbers and values, each (K,)."""

    numbers: NDArray[np.intp]
    values: Array


class ClampedNetwork(Network):
    """A LanguageModel whose units of h or c are set to fixed values after each step.

    The next step, the layer above and the output layer read the values that were set. Where c of an
    LSTM is held, h becomes o·tanh(c) with the output gate of that step. A state that is set is not
    set again at the start of a text or after the end of a record: there it is the initial one.
    """

    def __init__(self, network: Network, clamps: Mapping[Unit, float]) -> None:
        """clamps: of units of the state, such as Unit(1, "c", 203).

        Raises:
            ConfigError: a unit is not of the state.
        """
        super().__init__(network.config, network.weights)
        self._lowest = arrange_layer(network.config, network.weights, 0)
        arrays = state_arrays(network.config)
        for unit in clamps:
            if unit.array not in arrays:
                raise ConfigError(
                    f"unit {unit} cannot be held: it is computed at each step; give a unit "
                    f"of the state, {' or '.join(f'{each}{unit.layer}.0' for each in arrays)}"
                )
        self._held = {
            (depth, array): _held(clamps, depth + 1, array)
            for depth in range(network.config.num_layers)
            for array in arrays
        }

    def _step(self, token: int | Ids, state: State) -> State:
        """Return the state or states after one more id, which ends no record, with units held."""
        features = self._inputs[token]  # of the lowest layer; perhaps already multiplied
        x, context = self.embed(token, state)
        if self.ngrams is not None:
            is_product = self._inputs.ndim > 2
            features = self._lowest.input_product(x).reshape(features.shape) if is_product else x
        after = []
        for depth, step in enumerate(self._steps):
            layer = step(features, state[depth])
            self._hold(depth, layer, x, state[depth][0])
            features = layer[0] + features if self._is_residual and depth else layer[0]
            x = features
            after.append(layer)
        return (*after, *context)

    def _hold(self, depth: int, layer: tuple[Array, ...], x: Array, h_before: Array) -> None:
        """Overwrite the units of a layer's new state that are held."""
        if len(layer) > 1 and len((held := self._held[depth, "c"]).numbers):
            layer[1][..., held.numbers] = held.values
            shown = self._output_gate(depth, held.numbers, x, h_before)
            layer[0][..., held.numbers] = shown * np.tanh(held.values)
        held = self._held[depth, "h"]
        layer[0][..., held.numbers] = held.values

    def _output_gate(
        self, depth: int, numbers: NDArray[np.intp], x: Array, h_before: Array
    ) -> Array:
        """Return o of some units of an LSTM, (K,) or (B, K)."""
        weights = layer_weights(self, depth)
        rows = 3 * self.config.hidden_size + numbers  # of the gates i, f, g, o
        sums = x @ weights.weight_ih[rows].T + h_before @ weights.weight_hh[rows].T
        return sigmoid(sums + weights.bias_ih[rows] + weights.bias_hh[rows])


def _held(clamps: Mapping[Unit, float], layer: int, array: str) -> _Held:
    """Return the units of one array of a layer that are held."""
    chosen = [unit for unit in clamps if unit.layer == layer and unit.array == array]
    numbers = np.array([unit.number for unit in chosen], np.intp)
    return _Held(numbers, np.array([clamps[unit] for unit in chosen], np.float32))


@dataclass(frozen=True, eq=False)
class Sides:
    """The places of a text (S,) that are compared, and what they are called.

    names: such as "inside" and "outside". closing: the tokens of the signs that end what is inside.
    """

    feature: str
    is_inside: NDArray[np.bool_]
    is_outside: NDArray[np.bool_]
    names: tuple[str, str]
    closing: Mapping[str, int]


@dataclass(frozen=True)
class Effect:
    """Means over the places inside and outside: of p(closing sign), and of the loss in nats."""

    closing_inside: float
    closing_outside: float
    nats_inside: float
    nats_outside: float


@dataclass(frozen=True)
class ClampReport:
    """What a network does with a unit held.

    outside, inside: the unit's medians; of an LSTM's c as it is, without tanh. closing: the signs
    whose probability is summed; empty where the feature has none. free: nothing is held. controls:
    other units, each held at its own median. control_nats, control_closing: the largest change of
    the loss, and of p(closing sign), that one of them makes on either side. is_used: to hold the
    unit at its value outside raises the loss inside by more than twice control_nats, or the other
    way round.
    """

    unit: str
    feature: str
    names: tuple[str, str]
    closing: tuple[str, ...]
    places: int
    outside: float
    inside: float
    free: Effect
    held_outside: Effect
    held_inside: Effect
    controls: tuple[str, ...]
    control_nats: float
    control_closing: float
    is_used: bool
    sentence: str = ""
    conclusion: str = ""

    @property
    def short_names(self) -> tuple[str, str]:
        """The sides in one word each: inside and outside, or high and low."""
        inside, outside = (name.split()[-1] for name in self.names)
        return inside, outside


def clamp_test(trace: Trace, unit: Unit, sides: Sides, seed: int = 0) -> ClampReport:
    """Hold a unit at its median inside and outside, and five others at theirs.

    trace: of the text whose medians are taken; its first CLAMP_CHARS tokens are read again.
    """
    own = state_values(trace, unit)
    inside = float(np.median(own[sides.is_inside]))
    outside = float(np.median(own[sides.is_outside]))
    others = _others(trace, unit, seed)
    free = _effect(trace, {}, sides)
    controls = [
        _effect(trace, {each: float(np.median(state_values(trace, each)))}, sides)
        for each in others
    ]
    held_outside = _effect(trace, {unit: outside}, sides)
    held_inside = _effect(trace, {unit: inside}, sides)
    control_nats = max((_nats_changed(free, each) for each in controls), default=0.0)
    rise = max(
        held_outside.nats_inside - free.nats_inside,
        held_inside.nats_outside - free.nats_outside,
    )
    report = ClampReport(
        unit=str(unit),
        feature=sides.feature,
        names=sides.names,
        closing=tuple(sides.closing),
        places=min(len(trace), CLAMP_CHARS) - 1,
        outside=outside,
        inside=inside,
        free=free,
        held_outside=held_outside,
        held_inside=held_inside,
        controls=tuple(map(str, others)),
        control_nats=control_nats,
        control_closing=max((_closing_changed(free, each) for each in controls), default=0.0),
        is_used=rise > 2 * max(control_nats, _LEAST_NATS),
    )
    return replace(report, sentence=_describe(report), conclusion=_conclude(report))


def closing_name(signs: Sequence[str]) -> str:
    """Return what the probability of closing signs is called.

    >>> closing_name(["\\n"]), closing_name(["」", "』"])
    ('p of newline', 'p of 」 』')
    """
    return f"p of {' '.join('newline' if each == chr(10) else each for each in signs)}"


def _effect(trace: Trace, clamps: Mapping[Unit, float], sides: Sides) -> Effect:
    """Return the means of a network with units held, over the beginning of a text."""
    size = min(len(trace), CLAMP_CHARS)
    targets = trace.ids[1:size].astype(np.int64)
    masks = [mask[: size - 1] for mask in (sides.is_inside, sides.is_outside)]
    found = record_lanes(ClampedNetwork(trace.network, clamps), trace.ids[: size - 1], _LANES)
    nats = np.empty(len(targets), found.states[0][0].dtype)
    closing = np.empty_like(nats)
    for places, log_p in found.log_probability_blocks():
        nats[places] = -np.take_along_axis(log_p, targets[places, None], 1)[:, 0]
        closing[places] = np.exp(log_p[:, list(sides.closing.values())]).sum(1)
    means = [
        float(values[mask].mean(dtype=np.float64)) if mask.any() else 0.0
        for values in (closing, nats)
        for mask in masks
    ]
    return Effect(*means)


def _others(trace: Trace, unit: Unit, seed: int) -> list[Unit]:
    """Return units of the same array and layer, drawn at random."""
    same = all_units(trace.config, (unit.array,))
    others = [each for each in same if each.layer == unit.layer and each != unit]
    random = np.random.default_rng(seed)
    chosen = random.choice(len(others), min(CONTROLS, len(others)), replace=False)
    return [others[index] for index in chosen]


def _nats_changed(free: Effect, held: Effect) -> float:
    return max(abs(held.nats_inside - free.nats_inside), abs(held.nats_outside - free.nats_outside))


def _closing_changed(free: Effect, held: Effect) -> float:
    return max(
        abs(held.closing_inside - free.closing_inside),
        abs(held.closing_outside - free.closing_outside),
    )


def _describe(report: ClampReport) -> str:
    """Return the result as plain sentences."""
    free, out, into = report.free, report.held_outside, report.held_inside
    inside, outside = report.names
    parts = [
        f"{report.unit} held at its median {outside} ({report.outside:.2f}): the loss {inside} "
        f"goes from {free.nats_inside:.3f} to {out.nats_inside:.3f} nats, {outside} from "
        f"{free.nats_outside:.3f} to {out.nats_outside:.3f}."
    ]
    if report.closing:
        sign = closing_name(report.closing)
        parts.append(
            f"{sign} {inside} goes from {free.closing_inside:.3f} to {out.closing_inside:.3f}. "
            f"Held at its median {inside} ({report.inside:.2f}), {sign} {outside} goes from "
            f"{free.closing_outside:.3f} to {into.closing_outside:.3f}."
        )
    else:
        parts.append(
            f"Held at its median {inside} ({report.inside:.2f}), the loss {outside} becomes "
            f"{into.nats_outside:.3f}."
        )
    return " ".join([*parts, _conclude(report)])


def _conclude(report: ClampReport) -> str:
    """Return what the other units change, and what follows."""
    others = f"{len(report.controls)} other units at their medians change a loss by at most"
    verdict = "the network uses this unit" if report.is_used else "no use of this unit is shown"
    return f"{others} {report.control_nats:.3f} nats: {verdict}."

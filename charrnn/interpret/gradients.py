"""The view `gradients`: how far back a loss teaches (Bengio et al. 1994, Pascanu et al. 2013).

The gradient of the loss at one character by the state k characters before says how much training
could change what the network kept then. Where it vanishes, nothing can be learned from so far back;
where it explodes, a step of training is thrown off.

B = places, K = how far back, H = hidden size, T = tokens in view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives, grad_features, grad_of_nats
from charrnn.interpret.spectrum import (
    JACOBIAN_CHARS,
    MAX_JACOBIAN_STATE,
    SETTLE_CHARS,
    Spectrum,
    half_lives,
    jacobian_singular_values,
    lyapunov_spectrum,
)
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import RUN_UP, Array, Trace, layer_weights, record
from charrnn.interpret.units import check_layer, check_place
from charrnn.state import State, iter_arrays, map_state, select_row
from charrnn.text.vocab import Ids

PLACES = 64
REACH_CHARS = 160
SPECTRUM_CHARS = 2_000
CONTROL_CHARS = 1_000  # of the untrained network, whose directions differ little
SHOWN_CHARS = 48  # of the text in view, for which losses are told apart
_MIN_TOKENS = 48  # of a held-out text on which anything can be measured
_MIN_PLACES = 4  # of which quantiles are taken
_FITTED_FROM = 10  # characters back; nearer, the output layer still has its say
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Reach:
    """The size of the gradient by one array of the state, 0 … K characters back.

    array: "h1" or "c1", of layer 1. size: g(k) in nats per unit of the state, (3, K + 1): the 10 %
    quantile over the places, the median, the 90 % quantile. relative: the same of g(k) / g(0).
    untrained, untrained_relative: the medians of a network with the weights that training begins
    with, (K + 1,). factor: by which the median changes with each character further back, from a
    straight line through its logarithm. bound: γ‖W‖₂, which no such factor of an rnn exceeds.
    """

    array: str
    size: Array
    relative: Array
    untrained: Array
    untrained_relative: Array
    factor: float
    half_life_chars: float
    untrained_factor: float
    bound: float | None


@dataclass(frozen=True, eq=False)
class LaterLosses:
    """What each loss of a stretch of the text in view sends to the states before it.

    symbols: of the S tokens of the stretch. at: the place in it that was asked for. array: by whose
    state. sends: (S, S), at [s, t] ‖∂ℓ_t/∂state after s‖, where ℓ_t is the loss at the token after
    t; 0 where t < s, and at the last token of the text, after which there is no loss.
    """

    array: str
    start: int
    at: int
    symbols: list[str]
    sends: Array


@dataclass(frozen=True, eq=False)
class GradientsReport:
    """The view `gradients`.

    seq_len: the characters over which training carried gradients; None if the file does not say.
    jacobian: by the number of characters, singular values, largest first; None if not asked for.
    notes: what was left out, and why.
    """

    places: int
    reach_chars: int
    run_up_chars: int
    seq_len: int | None
    reaches: list[Reach]
    spectrum: Spectrum
    untrained_spectrum: Spectrum
    jacobian: dict[int, Array] | None
    later: LaterLosses
    notes: list[str]

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return columns and rows, one row for each number of characters back."""
        columns = ["chars_back"]
        series: list[NDArray[Any]] = [np.arange(self.reach_chars + 1)]
        for reach in self.reaches:
            name = f"gradient_by_{reach.array}_nats_per_unit"
            columns += [f"{name}_q10", f"{name}_median", f"{name}_q90", f"{name}_untrained_median"]
            columns += [f"gradient_by_{reach.array}_of_that_at_0_median"]
            series += [*reach.size, reach.untrained, reach.relative[1]]
        return columns, [list(row) for row in zip(*(each.tolist() for each in series), strict=True)]


def inspect_gradients(subject: Subject, config: InspectConfig) -> GradientsReport:
    """Return how far back the losses of the held-out text reach.

    Raises:
        ConfigError: the held-out text is too short to measure anything, or a place or layer is not
            there.
    """
    check_layer(subject.config, config.layer)
    check_place(config.at, len(subject.ids))
    ids = subject.held_out
    reach, run_up = _spans(len(ids))
    random = np.random.default_rng(config.seed)
    possible = np.arange(run_up + reach + 1, len(ids))
    places = np.sort(random.choice(possible, min(PLACES, len(possible)), replace=False))
    sizes = measure_reach(subject.network, ids, places, reach, run_up)
    controls = measure_reach(subject.untrained, ids, places, reach, run_up)
    notes = []
    if reach < REACH_CHARS:
        notes.append(
            f"the held-out text has only {len(ids):,} tokens, so gradients are followed over "
            f"{reach} characters instead of {REACH_CHARS}"
        )
    read = record(subject.network, ids[: SETTLE_CHARS + SPECTRUM_CHARS])
    control = record(subject.untrained, ids[: SETTLE_CHARS + CONTROL_CHARS])
    jacobian = _jacobian(read, notes) if config.jacobian else None
    return GradientsReport(
        places=len(places),
        reach_chars=reach,
        run_up_chars=run_up,
        seq_len=subject.seq_len,
        reaches=[
            _summarize(array, size, untrained, _bound(subject.network, array))
            for array, size, untrained in zip(
                array_names(subject.network), sizes, controls, strict=True
            )
        ],
        spectrum=lyapunov_spectrum(read, seed=config.seed),
        untrained_spectrum=lyapunov_spectrum(control, seed=config.seed),
        jacobian=jacobian,
        later=later_losses(subject, config),
        notes=notes,
    )


def measure_reach(
    network: Network, ids: Ids, places: NDArray[np.integer], reach: int, run_up: int
) -> list[Array]:
    """Return g(k) (K + 1, B) of each array of the state, float64; NaN behind an end of a record.

    The loss at a place is −ln p(ids[place]); its state 0 is that after the token before.
    """
    before = record(network, ids[places + np.arange(-run_up - reach - 1, -reach - 1)[:, None]])
    window = ids[places + np.arange(-reach - 1, 0)[:, None]]
    trace = record(network, window, select_row(before.states, -1))
    derivatives = Derivatives(trace)
    grad_logits = grad_of_nats(trace.part(reach).log_probabilities[0], ids[places])
    features: Array | None = grad_features(network, grad_logits)
    state = map_state(lambda array: np.zeros_like(array[0]), trace.layer_states)
    log_scale = np.zeros(len(places))
    found: list[list[Array]] = []
    for t in reversed(range(reach + 1)):
        step = derivatives.back(t, state, features)
        features = None  # the loss is read from the last state alone
        scale = np.exp(np.minimum(log_scale, 700.0))
        found.append([_norms(array) * scale for array in iter_arrays(step.whole)])
        # Rescaled at each step, so that float32 neither overflows nor ends at 0.
        largest = np.maximum.reduce([np.abs(array).max(-1) for array in iter_arrays(step.state)])
        divisor = np.where(largest > 0, largest, 1)
        state = map_state(lambda array, by=divisor[:, None]: array / by, step.state)
        log_scale += np.log(divisor)
    has_ended = np.logical_or.accumulate(trace.is_end[::-1])
    return [np.where(has_ended, np.nan, np.stack(column)) for column in zip(*found, strict=True)]


def array_names(network: Network) -> list[str]:
    """Return the names of the arrays of the state, lowest layer first: "h1", "c1", "h2", …"""
    parts = "hc"[: network.config.state_parts]
    return [f"{part}{depth + 1}" for depth in range(network.config.num_layers) for part in parts]


def later_losses(subject: Subject, config: InspectConfig) -> LaterLosses:
    """Return what each later loss sends to each state, around a place of the text in view.

    RNNbow (Cashman et al. 2017) draws this as stacked bars. Without a place it is one near the end
    of the text, but with losses after it.
    """
    trace = subject.trace
    layer = check_layer(subject.config, config.layer)
    before = SHOWN_CHARS // 4
    last = check_place(config.at, len(trace))
    at = min(max(0, last + 1 - SHOWN_CHARS + before), last) if config.at is None else last
    start = max(0, min(at - before, len(trace) - SHOWN_CHARS))
    part = trace.part(start, min(start + SHOWN_CHARS, len(trace)))
    losses = min(len(part), len(trace) - 1 - start)  # after the last token nothing is predicted
    sends = np.zeros((len(part), len(part)))
    if losses > 0:
        targets = trace.ids[start + 1 : start + 1 + losses]
        grad_logits = grad_of_nats(part.part(0, losses).log_probabilities, targets)
        sends[:, :losses] = _sends(part, grad_features(subject.network, grad_logits), layer - 1)
    return LaterLosses(
        array="hc"[subject.config.state_parts - 1] + str(layer),
        start=start,
        at=at - start,
        symbols=subject.symbols[start : start + len(part)],
        sends=sends,
    )


def _sends(trace: Trace, features: Array, depth: int) -> Array:
    """Return ‖∂ℓ_t/∂memory after s‖ (S, losses): all losses go back side by side."""
    count, size = features.shape
    state: State = map_state(lambda array: np.zeros((count, size), array.dtype), trace.layer_states)
    derivatives = Derivatives(trace)
    rows = []
    for t in reversed(range(len(trace))):
        own = np.zeros_like(features)
        if t < count:
            own[t] = features[t]
        step = derivatives.back(t, state, own)
        rows.append(_norms(step.whole[depth][-1]))
        state = step.state
    return np.stack(rows[::-1])


def _spans(count: int) -> tuple[int, int]:
    """Return how far back a held-out text of `count` tokens lets one look, and what is read first.

    A third of the text is left for places to differ.
    """
    if count < _MIN_TOKENS:
        raise ConfigError(
            f"the held-out text has {count} tokens, too few to follow gradients back; at least "
            f"{_MIN_TOKENS} are needed: give a longer text"
        )
    return min(REACH_CHARS, count // 3), min(RUN_UP, count // 3)


def _bound(network: Network, array: str) -> float | None:
    """Return γ‖W‖₂ of the highest layer of an rnn, whose gradient comes through W alone."""
    config = network.config
    if config.cell != "rnn" or array != f"h{config.num_layers}":
        return None
    steepest = 0.25 if config.nonlinearity == "logistic" else 1.0
    weight_hh = layer_weights(network, config.num_layers - 1).weight_hh
    return steepest * float(np.linalg.norm(weight_hh, 2))


def _summarize(array: str, size: Array, control: Array, bound: float | None) -> Reach:
    """Return the quantiles over places (K + 1, B)."""
    found = _quantiles(size)
    untrained = _quantiles(control)[1]
    slope = _slope(found[1])
    return Reach(
        array=array,
        size=found,
        relative=_quantiles(_over_first(size)),
        untrained=untrained,
        untrained_relative=_quantiles(_over_first(control))[1],
        factor=math.exp(slope),
        half_life_chars=float(half_lives(np.array([slope]))[0]),
        untrained_factor=math.exp(_slope(untrained)),
        bound=bound,
    )


def _over_first(size: Array) -> Array:
    """Return g(k) / g(0); NaN where g(0) is 0."""
    first = np.where(size[0] > 0, size[0], np.nan)
    return size / first


def _quantiles(sizes: Array) -> Array:
    """Return the 10, 50 and 90 % quantiles (3, K + 1) over places (K + 1, B) without NaN."""
    found = np.full((len(_QUANTILES), len(sizes)), np.nan)
    for k, row in enumerate(sizes):
        known = row[~np.isnan(row)]
        if len(known) >= min(_MIN_PLACES, sizes.shape[1]):
            found[:, k] = np.quantile(known, _QUANTILES, method="nearest")
    return found


def _slope(median: Array) -> float:
    """Return by how many nats ln g changes with each character further back; NaN if unknown."""
    back = np.arange(len(median))
    is_used = (back >= min(_FITTED_FROM, len(median) // 4)) & (median > 0) & np.isfinite(median)
    if is_used.sum() < 2:
        return math.nan
    return float(np.polyfit(back[is_used], np.log(median[is_used]), 1)[0])


def _norms(rows: Array) -> Array:
    """Return the lengths (B,) of rows (B, H), in float64."""
    lengths: Array = np.sqrt(np.square(rows, dtype=np.float64).sum(-1))
    return lengths


def _jacobian(trace: Trace, notes: list[str]) -> dict[int, Array] | None:
    """Return singular values within a trace; None where the state is too large."""
    size = sum(array.shape[-1] for array in iter_arrays(trace.layer_states))
    if size > MAX_JACOBIAN_STATE:
        notes.append(
            f"the Jacobian is left out: the state has {size:,} numbers, and more than "
            f"{MAX_JACOBIAN_STATE:,} take too long"
        )
        return None
    start, stop = _longest_stretch(trace.is_end)
    start = max(start, stop - max(JACOBIAN_CHARS))
    state = select_row(trace.states, start)
    return jacobian_singular_values(trace.network, trace.ids[start:stop], state)


def _longest_stretch(is_end: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where the longest stretch without an end of a record starts and stops."""
    edges = np.concatenate(([-1], np.flatnonzero(is_end), [len(is_end)]))
    longest = int(np.diff(edges).argmax())
    return int(edges[longest]) + 1, int(edges[longest + 1])

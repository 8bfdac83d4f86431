"""Whether small changes of the state die out or grow: Lyapunov exponents and Jacobians.

A network that reads a text moves its state at each character. A small change of the state moves
too: along some directions it shrinks quickly, along others slowly, and in a chaotic network it
grows. The gradients view (gradients.py) shows both figures.

T = tokens, D = numbers in the state of all layers, N = directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives
from charrnn.interpret.trace import Array, Trace, double_weights, record
from charrnn.state import State, iter_arrays, map_state, select_row
from charrnn.text.vocab import Ids

EXPONENTS = 8
SETTLE_CHARS = 256  # read before exponents are measured, for the directions to turn
JACOBIAN_CHARS = (1, 10, 100)
MAX_JACOBIAN_STATE = 1024  # numbers in the state: 512 units of an LSTM take half a minute
_SMALLEST = 1e-13  # of the largest singular value; below it float64 rounds


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The leading Lyapunov exponents of the state while a text is read.

    exponents_nats: (N,) in nats a character, largest first: a change of the state in direction n
    becomes e^λₙ times as long with each character, on average. half_lives_chars: (N,) ln 2 / |λₙ|,
    infinite where λₙ is not below 0. chars: on how many they were measured.
    """

    exponents_nats: Array
    half_lives_chars: Array
    chars: int


def lyapunov_spectrum(trace: Trace, count: int = EXPONENTS, seed: int = 0) -> Spectrum:
    """Return the leading exponents along a trace, by QR of changes of the state.

    Benettin et al. 1980; for recurrent networks Vogt et al. 2020 and Engelken et al. 2023. What is
    longest would soon hide all others, so the changes are made orthogonal again after each
    character, and their lengths are what R has on its diagonal. An end of a record is left out.
    """
    zero = select_row(trace.layer_states, 0)
    size = sum(array.size for array in iter_arrays(zero))
    count = min(count, size)
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.standard_normal((size, count)))[0].astype(np.float32)
    derivatives = Derivatives(trace)
    settle = min(SETTLE_CHARS, len(trace) // 4)
    total = np.zeros(count)
    chars = 0
    for t in np.flatnonzero(~trace.is_end).tolist():
        changed = derivatives.forth(t, _as_state(directions.T, zero))
        directions, lengths = np.linalg.qr(_as_rows(changed).T)
        if t >= settle:
            with np.errstate(divide="ignore"):  # a direction that dies at once has −∞
                total += np.log(np.abs(np.diagonal(lengths)).astype(np.float64))
            chars += 1
    exponents = np.sort(total / max(chars, 1))[::-1]
    return Spectrum(exponents, half_lives(exponents), chars)


def half_lives(rates_nats: Array) -> Array:
    """Return ln 2 / |λ| in characters for each rate λ below 0, infinity for others.

    >>> half_lives(np.array([-np.log(2), 0.1])).tolist()
    [1.0, inf]
    """
    lives = np.where(np.isnan(rates_nats), np.nan, np.inf)
    np.divide(np.log(2), -rates_nats, out=lives, where=rates_nats < -1e-6)
    return lives


def jacobian_singular_values(
    network: Network, ids: Ids, state: State, spans: Sequence[int] = JACOBIAN_CHARS
) -> dict[int, Array]:
    """Return the singular values of ∂(state after)/∂(state before) for the first n tokens of ids.

    ids: (T,), the longest span. Each of the D axes of the state is moved, and carried along in
    float64. Largest first; what is below float64's rounding is left out.
    """
    double = Network(network.config, double_weights(network))
    trace = record(double, ids, map_state(np.float64, state))
    derivatives = Derivatives(trace)
    zero = select_row(trace.layer_states, 0)
    size = sum(array.size for array in iter_arrays(zero))
    changes = _as_state(np.eye(size), zero)
    found: dict[int, Array] = {}
    for t in range(len(trace)):
        changes = derivatives.forth(t, changes)
        if t + 1 in spans:
            values = np.linalg.svd(_as_rows(changes), compute_uv=False)
            found[t + 1] = values[values > _SMALLEST * values[0]]
    return found


def _as_state(rows: Array, like: State) -> State:
    """Return rows (N, D) as a state of arrays (N, H)."""
    start = 0

    def cut(array: Array) -> Array:
        nonlocal start
        start += array.size
        return rows[:, start - array.size : start]

    return map_state(cut, like)


def _as_rows(state: State) -> Array:
    """Return a state of arrays (N, H) as rows (N, D)."""
    return np.concatenate(list(iter_arrays(state)), -1)

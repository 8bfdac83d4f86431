"""The stacked network once more, giving the same numbers on every machine: what a coder needs.

Sums of float32 products differ in their last bits between processors, BLAS builds and numbers of
threads, and a decoder that sees another probability than the encoder did writes rubbish. Here a
matrix and what it multiplies are whole numbers of steps, of which a product's sums never reach
more than a float holds exactly: in whatever order they are summed, with or without fused
multiply-add, the result is the same. A state between −1 and 1 takes 2⁸ steps and leaves 2¹⁶ to a
row of weights in float32; what has no such bounds takes 2²⁶ and 2²⁶ in float64. All else goes
element by element through + − × ÷, which IEEE 754 rounds in one way; tanh and exp are looked up in
tables that those four made, as libraries' own differ. It knows nothing of text or of coding.

V = vocabulary, E = embedding size, H = hidden size, G = gates of the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.generation.cells import LayerWeights, arrange

Vector = NDArray[np.float64]
LayerState = tuple[Vector, ...]
State = tuple[LayerState, ...]

_TANH_STEPS, _TANH_END = 2.0**11, 8.0
_EXP_STEPS = 2.0**10
_LIKELIEST = 1 << 30
_CACHED = 8_000_000  # numbers
_LARGEST_WEIGHT = 2.0**40
_FINEST = 60  # bits behind the point of a weight


@dataclass(frozen=True)
class _Grid:
    """Where a product is exact: features in steps of 1/steps up to largest, rows of 2^row_bits."""

    dtype: type[np.floating[Any]]
    steps: float
    largest: float
    row_bits: int


_BOUNDED = _Grid(np.float32, 2.0**8, 1.0, 16)  # sums to 2²⁴
_FREE = _Grid(np.float64, 2.0**16, 2.0**10, 26)  # sums to 2⁵²


class _Product:
    """A matrix that multiplies exactly."""

    def __init__(self, matrix: NDArray[np.float32], grid: _Grid) -> None:
        shift = _shift_of_rows(matrix, grid.row_bits)[:, None]
        whole = np.rint(np.ldexp(_tame(matrix), shift))
        self._matrix = np.ldexp(whole, -shift).astype(grid.dtype)
        self._grid = grid

    def __call__(self, features: Vector) -> Vector:
        """Give the product with features (I,), each moved to the nearest step."""
        grid = self._grid
        bounded = np.minimum(np.maximum(features, -grid.largest), grid.largest)
        stepped = (np.rint(bounded * grid.steps) / grid.steps).astype(grid.dtype)
        product: Vector = (self._matrix @ stepped).astype(np.float64)
        return product


def _shift_of_rows(matrix: NDArray[np.float32], row_bits: int) -> NDArray[np.intp]:
    """Give the bits behind the point (rows,) with which a row's sizes sum to 2^row_bits or less.

    The sums are taken over whole numbers below 2³⁰, so that they are exact too.
    """
    sizes = np.abs(_tame(matrix))
    _, exponents = np.frexp(sizes.max(axis=1))
    sums = np.rint(np.ldexp(sizes, 30 - exponents[:, None])).sum(axis=1)
    room = 2.0**row_bits - matrix.shape[1] / 2  # rounding adds up to half a step a weight
    _, bits = np.frexp(room / np.maximum(sums, 1))
    shift: NDArray[np.intp] = np.minimum(bits - 1 + 30 - exponents, _FINEST)
    return shift


def _tame(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(matrix.astype(np.float64), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)


class ExactNetwork:
    """A network that reads one token at a time. It keeps no state between calls."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        is_bounded = config.nonlinearity != "relu" and not config.residual
        grid = _BOUNDED if is_bounded else _FREE
        layers = [_ExactLayer(config, weights, i, grid) for i in range(config.num_layers)]
        self._layers, self._skip = layers, config.residual
        self._embedding, self._scale = weights["embedding.weight"], config.embedding_scale
        self._first_product = lru_cache(max(1, _CACHED // layers[0].rows))(self._multiply_token)
        projection = weights.get("projection.weight")
        self._projection = None if projection is None else _Product(projection, grid)
        output = self._embedding if config.tie_embeddings else weights["output.weight"]
        self._output = _Product(output, grid if projection is None else _FREE)
        self._bias = weights["output.bias"].astype(np.float64)
        starts = (weights[f"layers.{i}.initial"] for i in range(config.num_layers))
        self._initial = tuple(tuple(each.astype(np.float64)) for each in starts)

    def initial_state(self) -> State:
        """Give the state before any text."""
        return self._initial

    def advance(self, token: int, state: State) -> State:
        """Read one id; give the state after it."""
        features, after = np.empty(0), []
        for depth, (layer, before) in enumerate(zip(self._layers, state, strict=True)):
            product = layer.multiply(features) if depth else self._first_product(token)
            now = layer.step(product, before)
            features = now[0] + features if self._skip and depth else now[0]
            after.append(now)
        return tuple(after)

    def cumulate(self, state: State) -> NDArray[np.int64]:
        """Give the likelihoods (V,) of the next id, each 1 to 2³⁰, summed up from the first."""
        features = state[-1][0]
        if self._skip:
            features = reduce(np.add, [layer[0] for layer in state])
        if self._projection is not None:
            features = self._projection(features)
        logits = self._output(features) + self._bias
        below = np.minimum((logits.max() - logits) * _EXP_STEPS + 0.5, len(_EXP) - 1)
        return np.cumsum(_EXP.take(below.astype(np.intp)))

    def _multiply_token(self, token: int) -> Vector:
        return self._layers[0].multiply(self._embedding[token].astype(np.float64) * self._scale)


class _ExactLayer:
    """One layer: its products and its cell's step."""

    def __init__(self, config: ModelConfig, weights: Arrays, depth: int, grid: _Grid) -> None:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        arrays = (weights[f"layers.{depth}.{name}"] for name in names)
        arranged = arrange(config.cell, config.nonlinearity, LayerWeights(*arrays))
        self.rows = len(arranged.weight_ih)
        self._input = _Product(arranged.weight_ih, grid if depth else _FREE)
        self._recurrent = _Product(arranged.weight_hh, grid)
        self._bias = arranged.bias_ih.astype(np.float64)
        recurrent_bias = arranged.bias_hh.astype(np.float64)
        kind = config.nonlinearity if config.cell == "rnn" else config.cell
        self._activate = _make_gru(recurrent_bias) if kind == "gru" else _ACTIVATE[kind]

    def multiply(self, features: Vector) -> Vector:
        """Give weight_ih·x + bias_ih (G·H,)."""
        return self._input(features) + self._bias

    def step(self, product: Vector, state: LayerState) -> LayerState:
        """Give the next state from what `multiply` gave and this one."""
        return self._activate(product, self._recurrent(state[0]), state)


_Activate = Callable[[Vector, Vector, LayerState], LayerState]
"""From the input's product, the state's product and the state to the next state."""


def _lstm(product: Vector, own: Vector, state: LayerState) -> LayerState:
    gates, size = _tanh(product + own), len(state[0])
    i, f, o = (gates[: 3 * size] * 0.5 + 0.5).reshape(3, size)
    memory = f * state[1] + i * gates[3 * size :]
    return o * _tanh(memory), memory


def _make_gru(recurrent_bias: Vector) -> _Activate:
    def gru(product: Vector, own: Vector, state: LayerState) -> LayerState:
        size = len(state[0])
        gates = product[: 2 * size] + own[: 2 * size]
        r, z = (_tanh(gates) * 0.5 + 0.5).reshape(2, size)
        new = _tanh(product[2 * size :] + r * (own[2 * size :] + recurrent_bias[2 * size :]))
        return (new + z * (state[0] - new),)

    return gru


_ACTIVATE: dict[str, _Activate] = {
    "tanh": lambda product, own, _: (_tanh(product + own),),
    "relu": lambda product, own, _: (np.maximum(product + own, 0),),
    "logistic": lambda product, own, _: (_tanh(product + own) * 0.5 + 0.5,),
    "lstm": _lstm,
}


def _decay(values: Vector) -> Vector:
    """Give e⁻ᵛ for 0 ≤ v < 32: the series of e⁻ᵛᐟ¹⁰²⁴, squared ten times."""
    small, term = values / -1024, np.ones_like(values)
    series = np.ones_like(values)
    for n in range(1, 8):
        term = term * small / n
        series = series + term
    for _ in range(10):
        series = series * series
    return series


def _make_tanh_table() -> Vector:
    """Give tanh from −8 to 8, in steps of 2⁻¹¹, to 24 bits: far above the error of making it."""
    places = np.arange(int(_TANH_END * _TANH_STEPS) + 1) / _TANH_STEPS
    decayed = _decay(2 * places)
    half = np.rint((1 - decayed) / (1 + decayed) * 2**24) / 2**24
    return np.concatenate((-half[:0:-1], half))


def _make_exp_table() -> NDArray[np.int64]:
    """Give 2³⁰ e⁻ᵛ as whole numbers, for v from 0 in steps of 2⁻¹⁰ until it is 1."""
    decayed = np.rint(_decay(np.arange(22 * int(_EXP_STEPS)) / _EXP_STEPS) * _LIKELIEST)
    return np.maximum(decayed[: np.flatnonzero(decayed > 1)[-1] + 2], 1).astype(np.int64)


_TANH, _EXP = _make_tanh_table(), _make_exp_table()


def _tanh(values: Vector) -> Vector:
    bounded = np.minimum(np.maximum(values, -_TANH_END), _TANH_END)
    return _TANH.take((bounded * _TANH_STEPS + (_TANH_END * _TANH_STEPS + 0.5)).astype(np.intp))

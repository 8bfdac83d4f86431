"""The network once more, with the same numbers on every machine: what an arithmetic coder needs.

Float sums differ in their last bits between processors, BLAS builds and thread counts, and a
decoder that sees another probability than the encoder decodes rubbish. So a matrix and its operand
are rounded to grids on which a product's sums are exact, in any order. The rest is elementwise
+ − × ÷, which IEEE 754 rounds in one way; tanh and exp are looked up in tables made with these.

V = vocabulary, E = embedding size, H = hidden size, G = gates of the cell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.generation.cells import arrange_layer
from charrnn.generation.network import NGrams

Vector = NDArray[np.float64]
LayerState = tuple[Vector, ...]
State = tuple[LayerState, ...]
"""One entry a layer, lowest first; with n-grams one more, the keys of the last tokens."""

_TANH_STEPS = 2.0**11  # entries of a table from one unit to the next
_EXP_STEPS = 2.0**10
_TANH_END = 8.0  # from there on, tanh is 1 to 22 bits
_MAX_FREQUENCY = 1 << 30
_CACHED_NUMBERS = 8_000_000  # products of tokens, 64 MB
_MAX_WEIGHT = 2.0**40
_MAX_FRACTION_BITS = 60  # of a weight


@dataclass(frozen=True)
class _Grid:
    """Where a product is exact: features in steps of 1/steps up to largest, rows of 2^row_bits."""

    dtype: type[np.floating[Any]]
    steps: float
    largest: float
    row_bits: int


_BOUNDED = _Grid(np.float32, 2.0**8, 1.0, 16)  # for states from −1 to 1; sums up to 2²⁴
_FREE = _Grid(np.float64, 2.0**16, 2.0**10, 26)  # for what has no such bounds; sums up to 2⁵²


class ExactNetwork:
    """A network that reads one token at a time. It keeps no state between calls."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        # A relu or a residual sum may leave −1 to 1.
        is_bounded = config.nonlinearity != "relu" and not config.residual
        grid = _BOUNDED if is_bounded else _FREE
        depths = range(config.num_layers)
        self._layers = [_ExactLayer(config, weights, depth, grid) for depth in depths]
        self._residual = config.residual
        self._end = config.vocab_size - 1 if config.has_end else -1
        self._embedding = weights["embedding.weight"]
        self._scale = config.embedding_scale
        # Text has few different tokens and n-grams, and the first layer reads nothing else.
        cached = max(1, _CACHED_NUMBERS // self._layers[0].rows)
        self._first_product = lru_cache(cached)(self._multiply_token)
        self._ngrams = NGrams(config, weights) if config.ngram_rows else None
        projection = weights.get("projection.weight")
        self._projection = None if projection is None else _Product(projection, grid)
        output = self._embedding if config.tie_embeddings else weights["output.weight"]
        self._output = _Product(output, grid if projection is None else _FREE)
        self._bias = weights["output.bias"].astype(np.float64)
        starts = (weights[f"layers.{depth}.initial"] for depth in depths)
        self._initial = tuple(tuple(each.astype(np.float64)) for each in starts)
        if self._ngrams is not None:
            self._initial += ((self._ngrams.initial_context[0].astype(np.float64),),)

    def initial_state(self) -> State:
        """Return the state before any text."""
        return self._initial

    def advance(self, token: int, state: State) -> State:
        """Read one id; return the state after it: the initial one after the end of a record."""
        if token == self._end:
            return self._initial
        rows: list[int] = []
        context: State = ()
        if self._ngrams is not None:
            rows, recent = self._ngrams.find(token, state[-1][0])
            context = ((recent.astype(np.float64),),)
        features = np.empty(0)
        after = []
        for depth, (layer, before) in enumerate(zip(self._layers, state, strict=False)):
            product = layer.multiply(features) if depth else self._first_product(token, *rows)
            now = layer.activate(product, layer.recurrent(before[0]), before)
            features = now[0] + features if self._residual and depth else now[0]
            after.append(now)
        return (*after, *context)

    def cumulative_frequencies(self, state: State) -> NDArray[np.int64]:
        """Return the cumulative sums (V,) of the next id's frequencies, each 1 to 2³⁰."""
        layers = state[: len(self._layers)]  # without the last tokens
        features = layers[-1][0]
        if self._residual:
            features = reduce(np.add, [layer[0] for layer in layers])
        if self._projection is not None:
            features = self._projection(features)
        logits = self._output(features) + self._bias
        # e^(logit − largest) by table; the last entry, 1, serves all that is less likely.
        below = np.minimum((logits.max() - logits) * _EXP_STEPS + 0.5, len(_EXP) - 1)
        return np.cumsum(_EXP.take(below.astype(np.intp)))

    def _multiply_token(self, token: int, *rows: int) -> Vector:
        """Return the first layer's product with a token and the n-grams that end with it."""
        features = self._embedding[token].astype(np.float64) * self._scale
        if self._ngrams is not None:
            for row in rows:  # one after another: the same rounding everywhere
                features = features + self._ngrams.weight[row].astype(np.float64)
        return self._layers[0].multiply(features)


class _ExactLayer:
    """One layer: its products and its cell's step."""

    def __init__(self, config: ModelConfig, weights: Arrays, depth: int, grid: _Grid) -> None:
        arranged = arrange_layer(config, weights, depth)  # sigmoids are ½ + ½ tanh here too
        self.rows = len(arranged.weight_ih)
        self._input = _Product(arranged.weight_ih, grid if depth else _FREE)
        self.recurrent = _Product(arranged.weight_hh, grid)
        self._bias = arranged.bias_ih.astype(np.float64)
        kind = config.nonlinearity if config.cell == "rnn" else config.cell
        recurrent_bias = arranged.bias_hh.astype(np.float64)
        self.activate = _make_gru(recurrent_bias) if kind == "gru" else _ACTIVATE[kind]

    def multiply(self, features: Vector) -> Vector:
        """Return weight_ih·x + bias_ih (G·H,)."""
        return self._input(features) + self._bias


class _Product:
    """A matrix that multiplies exactly."""

    def __init__(self, matrix: NDArray[np.float32], grid: _Grid) -> None:
        shift = _fraction_bits(matrix, grid.row_bits)[:, None]
        whole = np.rint(np.ldexp(_clip(matrix), shift))
        self._matrix = np.ldexp(whole, -shift).astype(grid.dtype)
        self._grid = grid

    def __call__(self, features: Vector) -> Vector:
        """Return the product with features (I,), each rounded to the grid."""
        grid = self._grid
        bounded = np.minimum(np.maximum(features, -grid.largest), grid.largest)
        stepped = (np.rint(bounded * grid.steps) / grid.steps).astype(grid.dtype)
        return np.asarray(self._matrix @ stepped, np.float64)


def _fraction_bits(matrix: NDArray[np.float32], row_bits: int) -> NDArray[np.intp]:
    """Return each row's fraction bits (rows,), at which its sizes sum to 2^row_bits or less."""
    sizes = np.abs(_clip(matrix))
    _, exponents = np.frexp(sizes.max(axis=1))
    # The sums are of whole numbers below 2³⁰, so that they are exact too.
    sums = np.rint(np.ldexp(sizes, 30 - exponents[:, None])).sum(axis=1)
    room = 2.0**row_bits - matrix.shape[1] / 2  # rounding adds up to half a step a weight
    _, bits = np.frexp(room / np.maximum(sums, 1))
    return np.asarray(np.minimum(bits - 1 + 30 - exponents, _MAX_FRACTION_BITS))


def _clip(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(matrix.astype(np.float64), -_MAX_WEIGHT, _MAX_WEIGHT)


_Activate = Callable[[Vector, Vector, LayerState], LayerState]
"""From the input's product, the state's product and the state to the next state."""


def _lstm(product: Vector, recurrent: Vector, state: LayerState) -> LayerState:
    size = len(state[0])
    gates = _tanh(product + recurrent)
    i, f, o = (gates[: 3 * size] * 0.5 + 0.5).reshape(3, size)
    c = f * state[1] + i * gates[3 * size :]
    return o * _tanh(c), c


def _make_gru(recurrent_bias: Vector) -> _Activate:
    def gru(product: Vector, recurrent: Vector, state: LayerState) -> LayerState:
        size = len(state[0])
        gates = product[: 2 * size] + recurrent[: 2 * size]
        r, z = (_tanh(gates) * 0.5 + 0.5).reshape(2, size)
        # The reset gate scales the recurrent bias of the new gate too, as in cuDNN.
        n = _tanh(product[2 * size :] + r * (recurrent[2 * size :] + recurrent_bias[2 * size :]))
        return (n + z * (state[0] - n),)

    return gru


_ACTIVATE: dict[str, _Activate] = {
    "tanh": lambda product, recurrent, _: (_tanh(product + recurrent),),
    "relu": lambda product, recurrent, _: (np.maximum(product + recurrent, 0),),
    "logistic": lambda product, recurrent, _: (_tanh(product + recurrent) * 0.5 + 0.5,),
    "lstm": _lstm,
}


def _tanh(values: Vector) -> Vector:
    bounded = np.minimum(np.maximum(values, -_TANH_END), _TANH_END)
    return _TANH.take((bounded * _TANH_STEPS + (_TANH_END * _TANH_STEPS + 0.5)).astype(np.intp))


def _decay(values: Vector) -> Vector:
    """Return e⁻ᵛ for 0 ≤ v < 32: the series of e⁻ᵛᐟ¹⁰²⁴, squared ten times."""
    small = values / -1024
    term = np.ones_like(values)
    series = np.ones_like(values)
    for n in range(1, 8):
        term = term * small / n
        series = series + term
    for _ in range(10):  # e^(v/1024) to the 1024th
        series = series * series
    return series


def _make_tanh_table() -> Vector:
    """Return tanh from −8 to 8, in steps of 2⁻¹¹, rounded to 24 bits."""
    decayed = _decay(2 * np.arange(int(_TANH_END * _TANH_STEPS) + 1) / _TANH_STEPS)
    # Rounding hides the error of the series, which is far smaller.
    half = np.rint((1 - decayed) / (1 + decayed) * 2**24) / 2**24
    return np.concatenate((-half[:0:-1], half))


def _make_exp_table() -> NDArray[np.int64]:
    """Return 2³⁰ e⁻ᵛ as whole numbers, for v from 0 in steps of 2⁻¹⁰ until it is 1."""
    decayed = np.rint(_decay(np.arange(22 * int(_EXP_STEPS)) / _EXP_STEPS) * _MAX_FREQUENCY)
    return np.maximum(decayed[: np.flatnonzero(decayed > 1)[-1] + 2], 1).astype(np.int64)


_TANH = _make_tanh_table()
_EXP = _make_exp_table()

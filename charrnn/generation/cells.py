"""One step of an RNN, LSTM or GRU layer in numpy, on one state or on a batch of them.

`arrange_layer` scales and orders the weights of a model file once; `make_step` returns a function
from input and state to the next state. The equations are those of docs/equations.md.

H = hidden size, I = input size, G = gates (rnn 1, lstm 4, gru 3), B = states in a batch: shapes
are those of one state, with B in front for a batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig

Vector = NDArray[np.float32]
LayerState = tuple[Vector, ...]  # (h,) or, for an LSTM, (h, c): each (H,) float32
CellStep = Callable[[Vector, LayerState], LayerState]  # from an input and a state to the next state

_HALF = np.float32(0.5)


class LayerWeights(NamedTuple):
    """Arranged weights (G·H, I) and (G·H, H), biases (G·H,), all float32.

    bias_ih includes every recurrent bias that is simply added.
    """

    weight_ih: Vector
    weight_hh: Vector
    bias_ih: Vector
    bias_hh: Vector

    def input_product(self, inputs: Vector) -> Vector:
        """Return weight_ih·x + bias_ih, (G·H,) for an input (I,) or (N, G·H) for rows (N, I)."""
        return inputs @ self.weight_ih.T + self.bias_ih


def arrange_layer(
    config: ModelConfig, weights: Arrays, depth: int, direction: str = ""
) -> LayerWeights:
    """Return the weights of layer `depth` of a model file, as `make_step` takes them.

    direction: "_reverse" for the weights that read from a record's end to its start.

    A sigmoid is computed as σ(a) = ½ + ½ tanh(a/2) with the inner ½ folded into its weights, so
    that one call of tanh serves all gates of a layer.
    """
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weight_ih, weight_hh, bias_ih, bias_hh = (
        weights[f"layers.{depth}.{name}{direction}"] for name in names
    )
    count, size = weight_hh.shape
    rows = np.arange(count)
    scale = np.ones(count, np.float32)
    added = bias_hh.copy()  # to bias_ih
    if config.cell == "lstm":
        # Gates in the order i, f, o, g: the sigmoids are one slice.
        rows = rows.reshape(4, size)[[0, 1, 3, 2]].ravel()
        scale[: 3 * size] = _HALF
    elif config.cell == "gru":
        scale[: 2 * size] = _HALF
        added[2 * size :] = 0  # the reset gate scales the new gate's recurrent bias
    elif config.nonlinearity == "logistic":
        scale[:] = _HALF
    return LayerWeights(
        np.ascontiguousarray(weight_ih[rows] * scale[:, None]),
        np.ascontiguousarray(weight_hh[rows] * scale[:, None]),
        (bias_ih + added)[rows] * scale,
        bias_hh[rows] * scale,
    )


def make_step(config: ModelConfig, weights: LayerWeights, *, has_product: bool) -> CellStep:
    """Return the step of one layer.

    has_product: the step takes the input's product (G, H), looked up in a table, not the input
    itself (I,), which it multiplies in one product with the state where the cell allows it.
    """
    size = weights.weight_hh.shape[1]
    if config.cell == "gru":
        return _make_gru(weights, size, has_product)
    activate = _lstm if config.cell == "lstm" else _RNN[config.nonlinearity]
    # One product per step: of the state alone, or of the input and the state joined.
    joined = weights.weight_hh if has_product else np.hstack((weights.weight_ih, weights.weight_hh))
    product = make_product(joined, size)
    # The gates are the first axis of the sums, for one input as for rows of them.
    biases = {1: weights.bias_ih.reshape(-1, size), 2: weights.bias_ih.reshape(-1, 1, size)}

    def step(x: Vector, state: LayerState) -> LayerState:
        if has_product:
            sums = product(state[0])
            added = gates_first(x)
        else:
            sums = product(np.concatenate((x, state[0]), -1))
            added = biases[x.ndim]
        return activate(np.add(sums, added, sums), state)

    return step


def make_product(
    weight: Vector, size: int, *, is_narrow: bool = False
) -> Callable[[Vector], Vector]:
    """Return a function from a vector (N,) to weight·x as (G, H), or from rows to (G, B, H).

    is_narrow: N is a fraction of G·H, where a transposed copy is faster by a fifth.
    """
    by_rows = np.ascontiguousarray(weight.T) if is_narrow else weight.T
    # Gates first: what is done with one gate goes over contiguous memory.
    by_gates = np.ascontiguousarray(weight.reshape(-1, size, weight.shape[1]).swapaxes(1, 2))

    def product(x: Vector) -> Vector:
        if x.ndim == 1:
            sums: Vector = x.dot(by_rows).reshape(-1, size)
        else:
            sums = np.matmul(x, by_gates)
        return sums

    return product


def gates_first(sums: Vector) -> Vector:
    """Return sums (G, H) as they are, rows of them (B, G, H) as (G, B, H), and those again."""
    return sums if sums.ndim == 2 else sums.swapaxes(0, 1)


_RNN: dict[str, CellStep] = {
    # h_t = f(W_ih x_t + W_hh h_{t−1} + b)
    "tanh": lambda sums, _: (np.tanh(sums[0], sums[0]),),
    "relu": lambda sums, _: (np.maximum(sums[0], 0, out=sums[0]),),
    "logistic": lambda halved, _: (_sigmoid(halved[0]),),
}


def _sigmoid(halved: Vector) -> Vector:
    """Replace a/2 by σ(a), in place."""
    np.tanh(halved, halved)
    halved *= _HALF
    halved += _HALF
    return halved


def _lstm(gates: Vector, state: LayerState) -> LayerState:
    """i, f, o = σ(·), g = tanh(·);  c_t = f c_{t−1} + i g;  h_t = o tanh(c_t)."""
    np.tanh(gates, gates)
    sigmoids = gates[:3]  # i, f, o
    sigmoids *= _HALF
    sigmoids += _HALF
    memory = gates[1] * state[1]  # c
    memory += gates[0] * gates[3]
    hidden = np.tanh(memory)
    hidden *= gates[2]
    return hidden, memory


def _make_gru(weights: LayerWeights, size: int, has_product: bool) -> CellStep:
    """r, z = σ(·), n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h_t = (1 − z) n + z h_{t−1}."""
    # The reset gate r acts on the recurrent product alone, so the two products stay apart.
    recurrent = make_product(weights.weight_hh, size)
    recurrent_bias = weights.bias_hh[2 * size :]

    def step(x: Vector, state: LayerState) -> LayerState:
        if not has_product:
            x = weights.input_product(x).reshape(*x.shape[:-1], 3, size)
        product = gates_first(x)
        own = recurrent(state[0])
        gates = own[:2]  # r, z
        new = own[2]
        gates += product[:2]
        _sigmoid(gates)
        new += recurrent_bias
        new *= gates[0]
        new += product[2]
        np.tanh(new, new)
        return (new + gates[1] * (state[0] - new),)

    return step

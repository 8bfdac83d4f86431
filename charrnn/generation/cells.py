"""The rnn, lstm and gru steps: the equations of docs/equations.md on vectors, or rows of them.

`arrange` scales and orders a layer's weights once; `make_step` gives a plain function of input and
state. Sigmoids are taken as σ(a) = ½ + ½ tanh(a/2) with the inner ½ folded into the weights, so
that one tanh serves a whole layer. It knows nothing of stacks, of ids or of logits.

H = hidden size, I = input size, G = gates (rnn 1, lstm 4, gru 3). What is said of a vector (H,)
goes for the rows of (B, H) too: B states side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
LayerState = tuple[Vector, ...]
"""(h,) or, for an LSTM, (h, c): each (H,) float32."""

CellStep = Callable[[Vector, LayerState], LayerState]
"""From what comes in from below and a state to the next state."""

_HALF = np.float32(0.5)


@dataclass(frozen=True)
class LayerWeights:
    """A layer's arrays: as they stand in a model file, or as `arrange` made them.

    weight_ih (G·H, I), weight_hh (G·H, H), bias_ih and bias_hh (G·H,), all float32. Arranged, the
    biases that are added together all stand in bias_ih.
    """

    weight_ih: NDArray[np.float32]
    weight_hh: NDArray[np.float32]
    bias_ih: Vector
    bias_hh: Vector

    def input_product(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give weight_ih·x + bias_ih for inputs (I,) or, row by row, (N, I)."""
        return inputs @ self.weight_ih.T + self.bias_ih


def arrange(cell: str, nonlinearity: str, weights: LayerWeights) -> LayerWeights:
    """Halve the rows of sigmoids, bring an LSTM's three together, and add up what biases can be."""
    size = weights.weight_hh.shape[1]
    rows, scale = np.arange(len(weights.weight_hh)), np.ones(len(weights.weight_hh), np.float32)
    shared = weights.bias_hh.copy()
    if cell == "lstm":
        rows = rows.reshape(4, size)[[0, 1, 3, 2]].ravel()  # input, forget, output, cell
        scale[: 3 * size] = _HALF
    elif cell == "gru":
        scale[: 2 * size] = _HALF
        shared[2 * size :] = 0  # the new gate's recurrent bias is scaled by the reset gate
    elif nonlinearity == "logistic":
        scale[:] = _HALF
    return LayerWeights(
        np.ascontiguousarray(weights.weight_ih[rows] * scale[:, None]),
        np.ascontiguousarray(weights.weight_hh[rows] * scale[:, None]),
        (weights.bias_ih + shared)[rows] * scale,
        weights.bias_hh[rows] * scale,
    )


def make_step(
    cell: str, nonlinearity: str, arranged: LayerWeights, *, takes_product: bool
) -> CellStep:
    """Give a layer's step, of one state or, row by row, of many.

    takes_product: what comes in is the input product (G, H), looked up in a table; else it is the
    input itself (I,), which is multiplied together with the state where the cell allows it.
    """
    size, bias = arranged.weight_hh.shape[1], arranged.bias_ih
    recurrent = _make_product(arranged.weight_hh, size)
    if cell == "gru":
        gru = _make_gru(arranged)
        if takes_product:
            return lambda product, state: gru(_gates_first(product), recurrent(state[0]), state)
        return lambda x, state: gru(
            _gates_first(by_gate(arranged.input_product(x), size)), recurrent(state[0]), state
        )
    activate = _lstm if cell == "lstm" else _RNN[nonlinearity]
    if takes_product:

        def read_product(product: Vector, state: LayerState) -> LayerState:
            sums = recurrent(state[0])
            return activate(np.add(sums, _gates_first(product), sums), state)

        return read_product
    joint = _make_product(np.hstack((arranged.weight_ih, arranged.weight_hh)), size)
    biases = {1: bias.reshape(-1, size), 2: bias.reshape(-1, 1, size)}

    def read_input(x: Vector, state: LayerState) -> LayerState:
        sums = joint(np.concatenate((x, state[0]), -1))
        return activate(np.add(sums, biases[x.ndim], sums), state)

    return read_input


def _make_product(weight: NDArray[np.float32], size: int) -> Callable[[Vector], Vector]:
    """Give the product of weight (G·H, N) and a vector (N,), as (G, H); of rows, as (G, B, H).

    With the gates apart, all that is done with one goes over numbers that lie side by side.
    """
    by_rows = weight.T
    columns = np.ascontiguousarray(weight.reshape(-1, size, weight.shape[1]).swapaxes(1, 2))

    def product(x: Vector) -> Vector:
        if x.ndim == 1:
            sums: Vector = x.dot(by_rows).reshape(-1, size)
        else:
            sums = np.matmul(x, columns)
        return sums

    return product


def by_gate(sums: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Give sums (..., G·H) as (..., G, H)."""
    return sums.reshape(*sums.shape[:-1], sums.shape[-1] // size, size)


def _gates_first(sums: Vector) -> Vector:
    """Give sums (G, H) as they are, rows of them (B, G, H) as (G, B, H)."""
    return sums if sums.ndim == 2 else sums.swapaxes(0, 1)


_RNN: dict[str, CellStep] = {
    # h_t = f(W_ih x_t + W_hh h_{t−1} + b)
    "tanh": lambda sums, _: (np.tanh(sums[0], sums[0]),),
    "relu": lambda sums, _: (np.maximum(sums[0], 0, out=sums[0]),),
    "logistic": lambda halved, _: (_sigmoid(halved[0]),),
}


def _sigmoid(halved: Vector) -> Vector:
    """Give σ(a) in the place of a/2."""
    np.tanh(halved, halved)
    halved *= _HALF
    halved += _HALF
    return halved


def _lstm(gates: Vector, state: LayerState) -> LayerState:
    """i, f, o = σ(·), g = tanh(·);  c_t = f c_{t−1} + i g;  h_t = o tanh(c_t)."""
    np.tanh(gates, gates)
    sigmoids = gates[:3]
    sigmoids *= _HALF
    sigmoids += _HALF
    memory = gates[1] * state[1]
    memory += gates[0] * gates[3]
    hidden = np.tanh(memory)
    hidden *= gates[2]
    return hidden, memory


def _make_gru(
    arranged: LayerWeights,
) -> Callable[[Vector, Vector, LayerState], LayerState]:
    """r, z = σ(·), n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h_t = (1 − z) n + z h_{t−1}."""
    size = arranged.weight_hh.shape[1]
    recurrent_bias = arranged.bias_hh[2 * size :]

    def gru(product: Vector, own: Vector, state: LayerState) -> LayerState:
        gates, new = own[:2], own[2]
        gates += product[:2]
        _sigmoid(gates)
        new += recurrent_bias
        new *= gates[0]
        new += product[2]
        np.tanh(new, new)
        return (new + gates[1] * (state[0] - new),)

    return gru

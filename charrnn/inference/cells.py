"""The rnn, lstm and gru steps: the equations of docs/equations.md on one vector at a time.

Each maker takes a layer's weights once and gives a plain function of (input product, state).
Sigmoids are taken as σ(a) = ½ + ½ tanh(a/2) with the inner ½ folded into the weights, so that one
tanh serves a whole layer. It knows nothing of stacks, of ids or of logits.

H = hidden size, I = input size, G = gates (rnn 1, lstm 4, gru 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
LayerState = tuple[Vector, ...]
"""(h,) or, for an LSTM, (h, c): each (H,) float32."""

Step = Callable[[Vector, LayerState], LayerState]
"""From the input product weight_ih·x + biases (G·H,) and a state to the next state."""


@dataclass(frozen=True)
class Cell:
    """A layer ready to run: its step, and the weights of the input product that the step takes.

    weight_ih: (G·H, I), bias: (G·H,), both float32, rows scaled and ordered as the step wants.
    """

    step: Step
    weight_ih: NDArray[np.float32]
    bias: Vector

    def input_product(self, inputs: Vector) -> Vector:
        """Give what the step takes for inputs (I,) or, row by row, (N, I)."""
        return inputs @ self.weight_ih.T + self.bias


@dataclass(frozen=True)
class LayerWeights:
    """A layer's arrays as they stand in a model file."""

    weight_ih: NDArray[np.float32]
    weight_hh: NDArray[np.float32]
    bias_ih: Vector
    bias_hh: Vector


def make_cell(cell: str, nonlinearity: str, weights: LayerWeights) -> Cell:
    """Prepare one layer of the given kind."""
    if cell == "lstm":
        return _make_lstm(weights)
    if cell == "gru":
        return _make_gru(weights)
    return _make_rnn(nonlinearity, weights)


def _make_rnn(nonlinearity: str, weights: LayerWeights) -> Cell:
    """h_t = f(W_ih x_t + W_hh h_{t−1} + b), f tanh, ReLU or the logistic function."""
    half = np.float32(0.5)
    scale = half if nonlinearity == "logistic" else np.float32(1)
    recurrent = np.ascontiguousarray(weights.weight_hh * scale)

    def step_tanh(product: Vector, state: LayerState) -> LayerState:
        return (np.tanh(recurrent @ state[0] + product),)

    def step_relu(product: Vector, state: LayerState) -> LayerState:
        return (np.maximum(recurrent @ state[0] + product, 0),)

    def step_logistic(product: Vector, state: LayerState) -> LayerState:
        return (np.tanh(recurrent @ state[0] + product) * half + half,)

    step = {"tanh": step_tanh, "relu": step_relu, "logistic": step_logistic}[nonlinearity]
    return Cell(step, weights.weight_ih * scale, (weights.bias_ih + weights.bias_hh) * scale)


def _make_lstm(weights: LayerWeights) -> Cell:
    """i, f, o = σ(·), g = tanh(·);  c_t = f c_{t−1} + i g;  h_t = o tanh(c_t)."""
    size = weights.weight_hh.shape[1]
    half = np.float32(0.5)
    rows = _lstm_rows(size)
    scale = np.ones((4 * size, 1), np.float32)
    scale[: 3 * size] = half
    recurrent = np.ascontiguousarray(weights.weight_hh[rows] * scale)

    def step(product: Vector, state: LayerState) -> LayerState:
        gates = recurrent @ state[0]
        gates += product
        np.tanh(gates, out=gates)
        sigmoids = gates[: 3 * size]
        sigmoids *= half
        sigmoids += half
        memory = sigmoids[size : 2 * size] * state[1]
        memory += sigmoids[:size] * gates[3 * size :]
        hidden = np.tanh(memory)
        hidden *= sigmoids[2 * size :]
        return hidden, memory

    bias = (weights.bias_ih + weights.bias_hh)[rows] * scale[:, 0]
    return Cell(step, weights.weight_ih[rows] * scale, bias)


def _lstm_rows(size: int) -> NDArray[np.intp]:
    """Order the gates input, forget, output, cell: the three sigmoids lie together."""
    return np.arange(4 * size).reshape(4, size)[[0, 1, 3, 2]].ravel()


def _make_gru(weights: LayerWeights) -> Cell:
    """r, z = σ(·), n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h_t = (1 − z) n + z h_{t−1}."""
    size = weights.weight_hh.shape[1]
    half = np.float32(0.5)
    scale = np.ones((3 * size, 1), np.float32)
    scale[: 2 * size] = half
    recurrent = np.ascontiguousarray(weights.weight_hh * scale)
    recurrent_bias = weights.bias_hh[2 * size :]

    def step(product: Vector, state: LayerState) -> LayerState:
        own = recurrent @ state[0]
        gates = own[: 2 * size]
        gates += product[: 2 * size]
        np.tanh(gates, out=gates)
        gates *= half
        gates += half
        new = own[2 * size :]
        new += recurrent_bias
        new *= gates[:size]
        new += product[2 * size :]
        np.tanh(new, out=new)
        return (new + gates[size:] * (state[0] - new),)

    bias = weights.bias_ih * scale[:, 0]
    bias[: 2 * size] += weights.bias_hh[: 2 * size] * half
    return Cell(step, weights.weight_ih * scale, bias)

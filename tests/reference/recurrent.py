"""The stacked network and its backpropagation through time, straight from the equations.

Plain numpy in float64, one loop over time and one over layers, every derivative by hand. Each cell
has a step forward and a step backward; a step backward adds its own moment's term to `sums`, so
that each `+=` in this file is the sum over time of docs/equations.md. No torch, and no speed.

With n-grams a token is its embedding and the rows of the n-grams that end with it.

B = lanes, T = window length, V = vocabulary, E = embedding size, H = hidden size, I = E in the
lowest layer and H above it, N = the longest n-gram. Every array is float64; ids and targets are
integers (B, T).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig

Array = NDArray[np.float64]
Weights = dict[str, Array]
LayerState = tuple[Array, ...]
"""(h,) of a GRU or plain RNN, (h, c) of an LSTM: each (B, H)."""

State = tuple[LayerState, ...]
"""One entry a layer, lowest first; with n-grams one more, the last keys (B, N − 1)."""

LAYER_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves behind for the backward pass."""

    logits: Array  # (B, T, V)
    state: State  # after the last character
    tops: list[Array]  # for each moment, what the top layer gave: (B, H)
    memories: list[list[Any]]  # for each moment and layer, what its step remembers
    rows: list[list[list[int]]]  # for each moment and lane, the rows of its n-grams


@dataclass(frozen=True)
class Gradients:
    """The derivative of a loss by every weight and by the state that came in."""

    weights: Weights
    state: State


def forward(
    config: ModelConfig, weights: Weights, ids: NDArray[np.int64], state: State | None = None
) -> Trace:
    """Read `ids` one character at a time; None starts from the initial state."""
    step, _ = cell_steps(config)
    states = list(initial_state(config, weights, len(ids)) if state is None else state)
    logits, tops, memories, rows = [], [], [], []
    for t in range(ids.shape[1]):
        x = input_scale(weights) * weights["embedding.weight"][ids[:, t]]
        if config.ngram_rows:
            keys = np.column_stack((weights["ngrams.key"][ids[:, t]], states[-1][0]))
            states[-1] = (keys[:, :-1],)
            rows.append([ngram_rows(config, weights, lane) for lane in keys.astype(int).tolist()])
            for lane, found in enumerate(rows[t]):
                for row in found:
                    x[lane] = x[lane] + weights["ngrams.weight"][row]
        memories.append([])
        for depth in range(config.num_layers):
            states[depth], memory = step(layer_weights(weights, depth), x, states[depth])
            memories[t].append(memory)
            h = states[depth][0]
            x = h + x if config.residual and depth > 0 else h
        tops.append(x)
        logits.append(read_out(config, weights, x))
    return Trace(np.stack(logits, axis=1), tuple(states), tops, memories, rows)


def ngram_rows(config: ModelConfig, weights: Weights, keys: list[int]) -> list[int]:
    """Return the rows of the n-grams of 2, 3, … N tokens that have one; keys: newest first."""
    found = []
    for n in range(2, config.ngram_order + 1):
        code = 0
        for key in keys[:n]:
            code = (code * 0x2C9277B5 + key) % 2**32
        bucket = code * 0x5BD1E995 % 2**32 * (config.ngram_rows // 4) // 2**32
        check = code * 0x27D4EB2F % 2**32 // 2**8
        for row in range(4 * bucket, 4 * bucket + 4):
            if weights["ngrams.check"][row] == check:
                found.append(row)
    return found


def backward(
    config: ModelConfig,
    weights: Weights,
    ids: NDArray[np.int64],
    trace: Trace,
    grad_logits: Array,
    grad_state: State | None = None,
) -> Gradients:
    """Go back through time from the last character to the first, and sum every weight's terms.

    grad_state: what the windows after this one say about the state they were handed. None says
        nothing, which is the truncation of truncated BPTT.
    """
    sums = {name: np.zeros_like(weight) for name, weight in weights.items()}
    grads = list(zero_like(trace.state) if grad_state is None else grad_state)
    for t in reversed(range(ids.shape[1])):
        grad_top = read_out_back(config, weights, sums, trace.tops[t], grad_logits[:, t])
        grad_x = layers_back(config, weights, sums, trace.memories[t], grad_top, grads)
        np.add.at(sums["embedding.weight"], ids[:, t], input_scale(weights) * grad_x)
        for lane, found in enumerate(trace.rows[t] if trace.rows else []):
            for row in found:
                sums["ngrams.weight"][row] += grad_x[lane]
    return Gradients(sums, tuple(grads))


def read_out(config: ModelConfig, weights: Weights, top: Array) -> Array:
    """z = V h + c, tied z = E h + c, or with a projection z = E P h + c: (B, H) → (B, V)."""
    return project(weights, top) @ weights[output_name(config)].T + weights["output.bias"]


def read_out_back(
    config: ModelConfig, weights: Weights, sums: Weights, top: Array, grad_logits: Array
) -> Array:
    """Return the gradient of the top (B, H) from that of the logits (B, V), and add to sums."""
    sums[output_name(config)] += grad_logits.T @ project(weights, top)
    sums["output.bias"] += grad_logits.sum(axis=0)
    grad = grad_logits @ weights[output_name(config)]
    if "projection.weight" not in weights:
        return grad
    sums["projection.weight"] += grad.T @ top
    return grad @ weights["projection.weight"]


def project(weights: Weights, top: Array) -> Array:
    """P h where there is a projection: (B, H) → (B, E)."""
    return top @ weights["projection.weight"].T if "projection.weight" in weights else top


def input_scale(weights: Weights) -> float:
    """√E where the output is tied: what the lowest layer's inputs are multiplied by."""
    E = weights["embedding.weight"].shape[1]
    return 1.0 if "output.weight" in weights else E**0.5


def layers_back(
    config: ModelConfig,
    weights: Weights,
    sums: Weights,
    memories: list[Any],
    grad_top: Array,
    grads: list[LayerState],
) -> Array:
    """Go down the layers of one moment: from the top's gradient to the embedding's, both (B, ·).

    grads: by the state after this moment; becomes that by the state before it.
    """
    _, step_back = cell_steps(config)
    grad_x = grad_top
    for depth in reversed(range(config.num_layers)):
        from_above, (from_later, *others) = grad_x, grads[depth]
        grad_after = (from_above + from_later, *others)
        layer, layer_sums = layer_weights(weights, depth), layer_weights(sums, depth)
        grad_x, grads[depth] = step_back(layer, layer_sums, memories[depth], grad_after)
        if config.residual and depth > 0:
            grad_x = grad_x + from_above
    return grad_x


def bptt(
    config: ModelConfig,
    weights: Weights,
    ids: NDArray[np.int64],
    targets: NDArray[np.int64],
    state: State | None = None,
    reduction: str = "mean",
) -> tuple[float, Gradients, State]:
    """Return one window's loss in nats, its gradients, and the state after it.

    A state that came in is taken as it is: its own gradient is given, and goes no further back.
    """
    trace = forward(config, weights, ids, state)
    loss_nats, grad_logits = cross_entropy(trace.logits, targets, reduction)
    gradients = backward(config, weights, ids, trace, grad_logits)
    if state is None:
        add_initial_gradient(gradients)
    return loss_nats, gradients, trace.state


def truncated_bptt(
    config: ModelConfig,
    weights: Weights,
    ids: NDArray[np.int64],
    targets: NDArray[np.int64],
    window: int,
) -> tuple[float, Weights]:
    """Return loss and gradients summed over windows: the state is carried, the gradient is not."""
    loss_sum, state = 0.0, None
    totals = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for start in range(0, ids.shape[1], window):
        part = slice(start, start + window)
        nats, gradients, state = bptt(config, weights, ids[:, part], targets[:, part], state, "sum")
        loss_sum += nats
        for name, term in gradients.weights.items():
            totals[name] += term
    return loss_sum, totals


def add_initial_gradient(gradients: Gradients) -> None:
    """Return the initial state what every lane says about it: all lanes started from the same."""
    for depth, parts in enumerate(gradients.state):
        if f"layers.{depth}.initial" not in gradients.weights:  # the last keys: none at the start
            continue
        for part, grad in enumerate(parts):
            gradients.weights[f"layers.{depth}.initial"][part] += grad.sum(axis=0)


def cross_entropy(
    logits: Array, targets: NDArray[np.int64], reduction: str = "mean"
) -> tuple[float, Array]:
    """Return −ln softmax(logits)[target], summed or averaged, and its derivative by the logits.

    The derivative is softmax(logits) − one_hot(target): what was said, less what was right.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True)
    one_hot = np.eye(logits.shape[-1])[targets]
    nats = -np.log((probabilities * one_hot).sum(axis=-1))
    count = targets.size if reduction == "mean" else 1
    return float(nats.sum() / count), (probabilities - one_hot) / count


def rnn_step(layer: Weights, x: Array, state: LayerState, f: Any) -> tuple[LayerState, Any]:
    """h' = f(U x + b_ih + W h + b_hh) (Elman 1990): x (B, I) and h (B, H) → (h',) and a memory."""
    (h,) = state
    a = x @ layer["weight_ih"].T + layer["bias_ih"] + h @ layer["weight_hh"].T + layer["bias_hh"]
    return (f(a),), (x, h, f(a))


def rnn_step_back(
    layer: Weights, sums: Weights, memory: Any, grad_after: LayerState, slope: Any
) -> tuple[Array, LayerState]:
    """Return the gradients of x and (h,) from that of (h',); add this moment's terms to sums."""
    x, h, h_after = memory
    (grad_h_after,) = grad_after
    grad_a = grad_h_after * slope(h_after)
    add_products(sums, grad_a, x, grad_a, h)
    return grad_a @ layer["weight_ih"], (grad_a @ layer["weight_hh"],)


def lstm_step(layer: Weights, x: Array, state: LayerState) -> tuple[LayerState, Any]:
    """c' = f c + i g, h' = o tanh(c') (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    h, c = state
    a = x @ layer["weight_ih"].T + layer["bias_ih"] + h @ layer["weight_hh"].T + layer["bias_hh"]
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c_after = f * c + i * g
    h_after = o * np.tanh(c_after)
    return (h_after, c_after), (x, h, c, i, f, g, o, c_after)


def lstm_step_back(
    layer: Weights, sums: Weights, memory: Any, grad_after: LayerState
) -> tuple[Array, LayerState]:
    """Return the gradients of x and (h, c) from those of (h', c'), where c' feeds h' too."""
    x, h, c, i, f, g, o, c_after = memory
    grad_h_after, grad_c_after = grad_after
    grad_c_after = grad_c_after + grad_h_after * o * (1 - np.tanh(c_after) ** 2)
    grad_a_i = grad_c_after * g * i * (1 - i)
    grad_a_f = grad_c_after * c * f * (1 - f)
    grad_a_g = grad_c_after * i * (1 - g**2)
    grad_a_o = grad_h_after * np.tanh(c_after) * o * (1 - o)
    grad_a = np.concatenate([grad_a_i, grad_a_f, grad_a_g, grad_a_o], axis=1)
    add_products(sums, grad_a, x, grad_a, h)
    return grad_a @ layer["weight_ih"], (grad_a @ layer["weight_hh"], grad_c_after * f)


def gru_step(layer: Weights, x: Array, state: LayerState) -> tuple[LayerState, Any]:
    """h' = (1 − z) n + z h (Cho et al. 2014), the reset gate on W_n h + b_n as torch has it."""
    (h,) = state
    from_x = x @ layer["weight_ih"].T + layer["bias_ih"]
    from_h = h @ layer["weight_hh"].T + layer["bias_hh"]
    x_r, x_z, x_n = np.split(from_x, 3, axis=1)
    h_r, h_z, h_n = np.split(from_h, 3, axis=1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,), (x, h, h_n, r, z, n)


def gru_step_back(
    layer: Weights, sums: Weights, memory: Any, grad_after: LayerState
) -> tuple[Array, LayerState]:
    """Return the gradients of x and (h,) from that of (h',); h also went straight through by z."""
    x, h, h_n, r, z, n = memory
    (grad_h_after,) = grad_after
    grad_a_n = grad_h_after * (1 - z) * (1 - n**2)
    grad_a_z = grad_h_after * (h - n) * z * (1 - z)
    grad_a_r = grad_a_n * h_n * r * (1 - r)
    grad_from_x = np.concatenate([grad_a_r, grad_a_z, grad_a_n], axis=1)
    grad_from_h = np.concatenate([grad_a_r, grad_a_z, grad_a_n * r], axis=1)
    add_products(sums, grad_from_x, x, grad_from_h, h)
    grad_h = grad_from_h @ layer["weight_hh"] + grad_h_after * z
    return grad_from_x @ layer["weight_ih"], (grad_h,)


def add_products(sums: Weights, grad_from_x: Array, x: Array, grad_from_h: Array, h: Array) -> None:
    """Add one moment's term of each weight: the outer product of gradient and input, by lanes."""
    sums["weight_ih"] += grad_from_x.T @ x
    sums["weight_hh"] += grad_from_h.T @ h
    sums["bias_ih"] += grad_from_x.sum(axis=0)
    sums["bias_hh"] += grad_from_h.sum(axis=0)


def sigmoid(a: Array) -> Array:
    """1 / (1 + e^−a)."""
    return 1 / (1 + np.exp(-a))


FUNCTIONS = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "logistic": sigmoid}
"""f of a plain RNN."""

SLOPES = {
    "tanh": lambda h: 1 - h**2,
    "relu": lambda h: 1.0 * (h > 0),
    "logistic": lambda h: h * (1 - h),
}
"""f′ of a plain RNN, written with what f gave: h = f(a)."""


def cell_steps(config: ModelConfig) -> tuple[Any, Any]:
    """Return the configured cell's step forward and step backward."""
    if config.cell == "lstm":
        return lstm_step, lstm_step_back
    if config.cell == "gru":
        return gru_step, gru_step_back
    f, slope = FUNCTIONS[config.nonlinearity], SLOPES[config.nonlinearity]
    return partial(rnn_step, f=f), partial(rnn_step_back, slope=slope)


def initial_state(config: ModelConfig, weights: Weights, lanes: int) -> State:
    """Return every lane each layer's initial state: (B, H) for each part."""
    initials = [weights[f"layers.{depth}.initial"] for depth in range(config.num_layers)]
    layers = [tuple(np.tile(part, (lanes, 1)) for part in initial) for initial in initials]
    if config.ngram_rows:
        layers.append((np.zeros((lanes, config.ngram_order - 1)),))
    return tuple(layers)


def zero_like(state: State) -> State:
    """Return zeros in the shape of a state."""
    return tuple(tuple(np.zeros_like(part) for part in parts) for parts in state)


def layer_weights(weights: Weights, depth: int) -> Weights:
    """Return one layer's weights by their short names: the arrays themselves, not copies."""
    return {name: weights[f"layers.{depth}.{name}"] for name in LAYER_WEIGHTS}


def output_name(config: ModelConfig) -> str:
    """Name the output weights: the embedding where the two are tied."""
    return "embedding.weight" if config.tie_embeddings else "output.weight"

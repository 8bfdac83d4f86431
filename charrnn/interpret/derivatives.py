"""Derivatives of a recorded text by its states and inputs, written by hand, one step at a time.

`Derivatives.back` is backpropagation through time: it takes the gradient of a loss by the state
after a token to that by the state before it. `Derivatives.forth` goes the other way: it takes a
small change of the state before a token to the change after it. Both use the slopes of the gates,
which are computed once for all steps. The equations are those of docs/equations.md.

Which n-grams a text has does not depend on what the network computes. So the last tokens, which
stand behind the layers in the state of a model with n-grams, have no derivative: a gradient of such
a state, or a change of it, has zeros there or is of the layers alone. The result is as what was
given.

T = tokens, N = gradients side by side (of N losses, or of N texts), G = gates, E = embedding size,
H = hidden size, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from charrnn.generation.network import Network
from charrnn.interpret.trace import Array, Trace, layer_weights
from charrnn.state import State, map_state
from charrnn.text.vocab import Ids

LayerState = tuple[Array, ...]


@dataclass(frozen=True)
class BackStep:
    """What one step back gives.

    state: the gradient by the state before the token. whole: by the state after it, with what
    reaches it within the step: h from the layers above, c from h. x: by the embedding's row as it
    stands in the table, (…, E); by the row of an n-gram it is x / embedding_scale. sums: by layer,
    the gradient by what its input and its state add to the gates, two arrays (…, G·H), which differ
    for a GRU alone.
    """

    state: State
    whole: State
    x: Array
    sums: tuple[tuple[Array, Array], ...]


class Derivatives:
    """The derivatives along one trace.

    Gradients may have more leading axes than the trace: of a trace of one text, arrays (N, H) are
    the gradients of N losses.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._cells = [_CELLS[trace.config.cell](trace, depth) for depth in trace.depths]

    def back(self, t: int, state: State, features: Array | None = None) -> BackStep:
        """Go back over token t.

        state: the gradient by the state after the token, each array (…, H). features: the
        gradient by what the output layer reads after the token, (…, H); None is 0.
        """
        trace = self.trace
        top = np.zeros_like(state[0][0]) if features is None else features
        layers, last_tokens = self._split(state)
        grads = list(layers)
        wholes = list(layers)
        sums: list[tuple[Array, Array]] = []
        for depth in reversed(trace.depths):
            h, *rest = state[depth]
            layer = layer_weights(trace.network, depth)
            cell = self._cells[depth]
            wholes[depth] = cell.whole(t, (h + top, *rest))
            from_x, from_h, grads[depth] = cell.back(t, wholes[depth])
            sums.insert(0, (from_x, from_h))
            below = from_x @ layer.weight_ih
            grads[depth] = (from_h @ layer.weight_hh + grads[depth][0], *grads[depth][1:])
            top = top + below if trace.config.residual and depth else below
        keeps = ~trace.is_end[t][..., None]  # the state after an end does not depend on the text
        before = map_state(lambda grad: grad * keeps, tuple(grads))
        before += last_tokens
        wholes += last_tokens
        x = top * np.float32(trace.config.embedding_scale) * keeps
        kept_sums = tuple((a * keeps, b * keeps) for a, b in sums)
        return BackStep(before, tuple(wholes), x, kept_sums)

    def forth(self, t: int, state: State, x: Array | None = None) -> State:
        """Return the change of the state after token t, to first order.

        state: the change of the state before it, each array (…, H). x: the change of the
        embedding's row (…, E); None is 0.
        """
        trace = self.trace
        layers, last_tokens = self._split(state)
        below: Array | None = None
        if x is not None:
            below = x * np.float32(trace.config.embedding_scale)
        after = []
        for depth in trace.depths:
            layer = layer_weights(trace.network, depth)
            from_h = layers[depth][0] @ layer.weight_hh.T
            from_x = np.zeros_like(from_h) if below is None else below @ layer.weight_ih.T
            changed: LayerState = self._cells[depth].forth(t, from_x, from_h, layers[depth])
            if trace.config.residual and depth and below is not None:
                below = changed[0] + below
            else:
                below = changed[0]
            after.append(changed)
        keeps = ~trace.is_end[t][..., None]
        return map_state(lambda change: change * keeps, tuple(after)) + last_tokens

    def _split(self, state: State) -> tuple[State, State]:
        """Return the layers of a gradient, and zeros for the last tokens where it has them."""
        count = len(self.trace.depths)
        return state[:count], map_state(np.zeros_like, state[count:])

    def gradients(self, grad_logits: Array) -> Gradients:
        """Return the gradients of a loss along the whole text from those by its logits (T, V)."""
        features = grad_features(self.trace.network, grad_logits)
        state = map_state(lambda array: np.zeros_like(array[0]), self.trace.layer_states)
        states = [state]
        steps: list[BackStep] = []
        for t in reversed(range(len(self.trace))):
            steps.append(self.back(t, states[-1], features[t]))
            states.append(steps[-1].state)
        steps.reverse()
        states.reverse()
        # A state is reached by the loss after it too: what the output layer said of it.
        return Gradients(self.trace, grad_logits, tuple(states), tuple(steps))


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients of one loss by all that it was computed from.

    grad_logits: (T, V). states: at t the gradient by the state before token t, through all that
    comes after it. steps: of each token.
    """

    trace: Trace
    grad_logits: Array
    states: tuple[State, ...]
    steps: tuple[BackStep, ...]

    def weights(self) -> dict[str, Array]:
        """Return the gradient by each weight, by its name in a model file: the sum over time.

        It is 0 of what is not learned.
        """
        trace = self.trace
        network = trace.network
        found = {name: np.zeros_like(each) for name, each in network.weights.items()}
        flat = _rows(self.grad_logits)
        top = _rows(trace.features[1:])
        output = "embedding.weight" if trace.config.tie_embeddings else "output.weight"
        found["output.bias"] += flat.sum(0)
        if "projection.weight" in network.weights:
            projection = network.weights["projection.weight"]
            found[output] += flat.T @ (top @ projection.T)
            found["projection.weight"] += (flat @ network.weights[output]).T @ top
        else:
            found[output] += flat.T @ top
        for depth in trace.depths:
            from_x, from_h = (
                _rows(np.stack([step.sums[depth][i] for step in self.steps])) for i in range(2)
            )
            layer = f"layers.{depth}"
            found[f"{layer}.weight_ih"] += from_x.T @ _rows(trace.inputs(depth))
            found[f"{layer}.weight_hh"] += from_h.T @ _rows(trace.hidden(depth)[:-1])
            found[f"{layer}.bias_ih"] += from_x.sum(0)
            found[f"{layer}.bias_hh"] += from_h.sum(0)
        x = _rows(np.stack([step.x for step in self.steps]))
        np.add.at(found["embedding.weight"], trace.ids.ravel(), x)
        if trace.config.ngram_rows:
            x = x / np.float32(trace.config.embedding_scale)
            for rows, is_known in zip(*trace.ngrams, strict=True):
                known = is_known.ravel()
                np.add.at(found["ngrams.weight"], rows.ravel()[known], x[known])
        return found


def grad_features(network: Network, grad_logits: Array) -> Array:
    """Return the gradient by what the output layer reads (…, H) from that by the logits (…, V)."""
    weights = network.weights
    output = weights["embedding.weight" if network.config.tie_embeddings else "output.weight"]
    grad: Array = grad_logits @ output
    return grad @ weights["projection.weight"] if "projection.weight" in weights else grad


def grad_of_nats(log_probabilities: Array, targets: Ids) -> Array:
    """Return the gradient of −ln p(target) by the logits (…, V): softmax less the target."""
    grad: Array = np.exp(log_probabilities)
    np.put_along_axis(
        grad, targets[..., None], np.take_along_axis(grad, targets[..., None], -1) - 1, -1
    )
    return grad


def _rows(array: Array) -> Array:
    """Return (T, …, N) as (rows, N)."""
    return array.reshape(-1, array.shape[-1])


class _Cell(Protocol):
    """The slopes of one layer along a trace: each array (T, H)."""

    def whole(self, t: int, state: LayerState) -> LayerState:
        """Return the gradient by the layer's state, with what reaches c through h."""

    def back(self, t: int, state: LayerState) -> tuple[Array, Array, LayerState]:
        """Return the gradients by the sums from x and from h (…, G·H), and what reaches the state
        before the token without going through the sums. state: as `whole` returns it."""

    def forth(self, t: int, from_x: Array, from_h: Array, state: LayerState) -> LayerState:
        """Return the change of the layer's state from those of its sums and of its state."""


class _Rnn:
    def __init__(self, trace: Trace, depth: int) -> None:
        h = trace.hidden(depth)[1:]
        slopes = {"tanh": 1 - h * h, "relu": (h > 0).astype(h.dtype), "logistic": h * (1 - h)}
        self._slope = slopes[trace.config.nonlinearity]

    def whole(self, t: int, state: LayerState) -> LayerState:
        return state

    def back(self, t: int, state: LayerState) -> tuple[Array, Array, LayerState]:
        grad = state[0] * self._slope[t]
        return grad, grad, (np.zeros_like(grad),)

    def forth(self, t: int, from_x: Array, from_h: Array, state: LayerState) -> LayerState:
        return ((from_x + from_h) * self._slope[t],)


class _Lstm:
    def __init__(self, trace: Trace, depth: int) -> None:
        i, f, g, o = trace.gates(depth).values()
        tanh_c = np.tanh(trace.memory(depth)[1:])
        c_before = trace.memory(depth)[:-1]
        self._f = f
        # Of c by the sums of i, f and g, and of h by those of o and by c.
        self._of_c = (g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g))
        self._h_by_o = tanh_c * o * (1 - o)
        self._h_by_c = o * (1 - tanh_c * tanh_c)

    def whole(self, t: int, state: LayerState) -> LayerState:
        h, c = state
        return (h, c + h * self._h_by_c[t])

    def back(self, t: int, state: LayerState) -> tuple[Array, Array, LayerState]:
        h, c = state
        i, f, g = (c * slope[t] for slope in self._of_c)
        sums = np.concatenate((i, f, g, h * self._h_by_o[t]), -1)
        return sums, sums, (np.zeros_like(h), c * self._f[t])

    def forth(self, t: int, from_x: Array, from_h: Array, state: LayerState) -> LayerState:
        *sums, of_o = np.split(from_x + from_h, 4, -1)
        c = state[1] * self._f[t]
        for change, slope in zip(sums, self._of_c, strict=True):
            c = c + change * slope[t]
        return (of_o * self._h_by_o[t] + c * self._h_by_c[t], c)


class _Gru:
    def __init__(self, trace: Trace, depth: int) -> None:
        r, z, n, n_h = trace.gates(depth).values()
        self._r = r
        self._z = z
        self._by_n = (1 - z) * (1 - n * n)  # of h, by the sum of n
        self._by_z = (trace.hidden(depth)[:-1] - n) * z * (1 - z)
        self._by_r = n_h * r * (1 - r)  # of the sum of n, by the sum of r

    def whole(self, t: int, state: LayerState) -> LayerState:
        return state

    def back(self, t: int, state: LayerState) -> tuple[Array, Array, LayerState]:
        (h,) = state
        n = h * self._by_n[t]
        z = h * self._by_z[t]
        r = n * self._by_r[t]
        from_x = np.concatenate((r, z, n), -1)
        from_h = np.concatenate((r, z, n * self._r[t]), -1)
        return from_x, from_h, (h * self._z[t],)

    def forth(self, t: int, from_x: Array, from_h: Array, state: LayerState) -> LayerState:
        x_r, x_z, x_n = np.split(from_x, 3, -1)
        h_r, h_z, h_n = np.split(from_h, 3, -1)
        n = x_n + h_n * self._r[t] + (x_r + h_r) * self._by_r[t]
        return (n * self._by_n[t] + (x_z + h_z) * self._by_z[t] + state[0] * self._z[t],)


_CELLS: dict[str, Callable[[Trace, int], _Cell]] = {"rnn": _Rnn, "lstm": _Lstm, "gru": _Gru}

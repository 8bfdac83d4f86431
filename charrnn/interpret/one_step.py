"""One step of a network in float64: every value of it, each of which can be changed a little.

`OneStep.run` computes the step by the equations of docs/equations.md, with a name for each value;
`OneStep.measure` finds a derivative by changing one of them, which proves the formula beside it.
`OneStep.gradients` has the derivatives by formula. The view `step` is made of this.

G = gates, H = hidden size, I = E in the lowest layer and H above it, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives, grad_features
from charrnn.interpret.trace import GATES, Array, Trace, double_weights
from charrnn.state import State, map_state

Values = NDArray[np.float64]
Nudge = tuple[str, tuple[int, ...], float]
"""A value by its name, an index in it, and what to add there."""

_LITTLE = 1e-5  # the error of a central difference grows as its square


@dataclass(frozen=True, eq=False)
class StepGradients:
    """The derivatives of the loss of one step by its values.

    logits: (V,). outputs: by layer, by what it gives to the layer above, (H,); it is that by h
    too. sums: by layer, by what its input and its state add to the gates, two arrays (G·H,).
    before: by the state before the token.
    """

    logits: Array
    outputs: tuple[Array, ...]
    sums: tuple[tuple[Array, Array], ...]
    before: State


class OneStep:
    """The step that reads `token` in a state and predicts `target`.

    before: the state before the token, each array (H,); with n-grams the last tokens come last.
    """

    def __init__(self, network: Network, token: int, target: int, before: State) -> None:
        self.config = network.config
        self.weights = double_weights(network)
        self._ngrams = network.ngrams
        self.token = token
        self.target = target
        self._before = map_state(_double, before)

    @cached_property
    def values(self) -> dict[str, Values]:
        """Every value of the step, by its name: see `run`."""
        return self.run()

    @cached_property
    def ngrams(self) -> list[tuple[tuple[int, ...], int]]:
        """The n-grams that end with the token and have a row, short ones first: tokens and row.

        A token is −1 where there is none, before the text.
        """
        if self._ngrams is None:
            return []
        key_of = self.weights["ngrams.key"].astype(np.int64).tolist()
        token_of = {key: token for token, key in enumerate(key_of)}
        keys = [key_of[self.token], *self._before[-1][0].astype(np.int64).tolist()]
        tokens = [token_of.get(key, -1) for key in keys]
        rows, is_known = self._ngrams.find_many(np.array(keys)[:, None])
        return [
            (tuple(reversed(tokens[: place + 2])), int(rows[place, 0]))
            for place in np.flatnonzero(is_known).tolist()
        ]

    @property
    def output(self) -> Values:
        """The matrix from what the top layer gives to the logits, (V, H)."""
        return self._output(self.weights)

    def run(self, nudge: Nudge | None = None) -> dict[str, Values]:
        """Return every value of the step, with one of them, or one weight, changed.

        Names of layer 1 begin with "0.": x, h_before, c_before, from_x and from_h (the sums of
        its input and of its state with their biases), the gates, each as f after a_f, c, h and y,
        which is h and, with a residual, the layer's input. Then come logits, p and loss. A plain
        RNN has a alone, and a GRU n_h too, which r scales. With n-grams there is "ngrams", what
        they add to the token's embedding: it is changed instead of a number of their table.
        """
        weights = dict(self.weights)
        if nudge and nudge[0] in weights:
            weights[nudge[0]] = weights[nudge[0]].copy()
            weights[nudge[0]][nudge[1]] += nudge[2]
        run = _Run(nudge)
        features = self.config.embedding_scale * weights["embedding.weight"][self.token]
        if self.config.ngram_rows:
            rows = [row for _, row in self.ngrams]
            features = features + run.put("ngrams", _double(weights["ngrams.weight"][rows]).sum(0))
        for depth in range(self.config.num_layers):
            features = self._run_layer(run, weights, depth, features)
        logits = run.put("logits", self._output(weights) @ features + weights["output.bias"])
        shifted = np.exp(logits - logits.max())
        p = run.put("p", shifted / shifted.sum())
        run.put("loss", -np.log(p[self.target]))
        return run.values

    def measure(self, name: str, *index: int) -> float:
        """Return the derivative of the loss by a value or a weight, by a central difference."""
        high, low = (
            float(self.run((name, index, change))["loss"]) for change in (_LITTLE, -_LITTLE)
        )
        return (high - low) / (2 * _LITTLE)

    @cached_property
    def gradients(self) -> StepGradients:
        """The derivatives of the loss by formula."""
        network = Network(self.config, self.weights)
        layers = self._before[: self.config.num_layers]
        after = tuple(
            tuple(self.values[f"{depth}.{part}"] for part in ("h", "c")[: len(layer)])
            for depth, layer in enumerate(layers)
        )
        after += self._before[len(layers) :]  # of the last tokens, only those before are read
        states = map_state(lambda *both: np.stack(both), self._before, after)
        trace = Trace(network, np.array([self.token]), states)
        logits = self.values["p"].copy()
        logits[self.target] -= 1
        top = grad_features(network, logits)
        nothing = map_state(np.zeros_like, layers)
        step = Derivatives(trace).back(0, nothing, top)
        outputs = [top]
        for depth in reversed(range(1, self.config.num_layers)):
            below = step.sums[depth][0] @ self.weights[f"layers.{depth}.weight_ih"]
            outputs.insert(0, outputs[0] + below if self.config.residual else below)
        return StepGradients(logits, tuple(outputs), step.sums, step.state)

    def _output(self, weights: dict[str, Values]) -> Values:
        name = "embedding.weight" if self.config.tie_embeddings else "output.weight"
        output = weights[name]
        return output @ weights["projection.weight"] if "projection.weight" in weights else output

    def _run_layer(
        self, run: _Run, weights: dict[str, Values], depth: int, features: Values
    ) -> Values:
        """Compute a layer; return what it gives to the one above, (H,)."""
        layer = f"layers.{depth}"
        x = run.put(f"{depth}.x", features)
        h, *memory = (
            run.put(f"{depth}.{name}_before", part)
            for name, part in zip("hc", self._before[depth], strict=False)
        )
        bias_ih, bias_hh = weights[f"{layer}.bias_ih"], weights[f"{layer}.bias_hh"]
        from_x = run.put(f"{depth}.from_x", weights[f"{layer}.weight_ih"] @ x + bias_ih)
        from_h = run.put(f"{depth}.from_h", weights[f"{layer}.weight_hh"] @ h + bias_hh)
        if self.config.cell == "gru":
            h = self._run_gru(run, depth, (from_x, from_h), h)
        else:
            a = from_x + from_h
            h = self._run_lstm(run, depth, a, *memory) if memory else self._run_rnn(run, depth, a)
        return run.put(f"{depth}.y", h + x if self.config.residual and depth else h)

    def _run_rnn(self, run: _Run, depth: int, a: Values) -> Values:
        f = _FUNCTIONS[self.config.nonlinearity]
        return run.put(f"{depth}.h", f(run.put(f"{depth}.a", a)))

    def _run_lstm(self, run: _Run, depth: int, a: Values, c_before: Values) -> Values:
        i, f, g, o = (
            run.gate(depth, name, part, np.tanh if name == "g" else _sigmoid)
            for name, part in zip(GATES["lstm"], np.split(a, 4), strict=True)
        )
        c = run.put(f"{depth}.c", f * c_before + i * g)
        return run.put(f"{depth}.h", o * np.tanh(c))

    def _run_gru(
        self, run: _Run, depth: int, sums: tuple[Values, Values], before: Values
    ) -> Values:
        x_r, x_z, x_n = np.split(sums[0], 3)
        h_r, h_z, h_n = np.split(sums[1], 3)
        r = run.gate(depth, "r", x_r + h_r, _sigmoid)
        z = run.gate(depth, "z", x_z + h_z, _sigmoid)
        n_h = run.put(f"{depth}.n_h", h_n)
        n = run.gate(depth, "n", x_n + r * n_h, np.tanh)
        return run.put(f"{depth}.h", (1 - z) * n + z * before)


class _Run:
    """The values of one run, of which one may be changed on the way."""

    def __init__(self, nudge: Nudge | None) -> None:
        self.values: dict[str, Values] = {}
        self._nudge = nudge

    def put(self, name: str, value: Values) -> Values:
        """Keep a value under its name; return it, changed where that was asked for."""
        if self._nudge and self._nudge[0] == name:
            value = np.array(value)
            value[self._nudge[1]] += self._nudge[2]
        self.values[name] = value
        return value

    def gate(self, depth: int, name: str, a: Values, squash: Callable[[Values], Values]) -> Values:
        """Keep what a gate is computed from, and the gate; return the gate."""
        return self.put(f"{depth}.{name}", squash(self.put(f"{depth}.a_{name}", a)))


def _double(array: Array) -> Values:
    return array.astype(np.float64)


def _sigmoid(a: Values) -> Values:
    """Return 1 / (1 + e^−a), which no `a` makes overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


_FUNCTIONS: dict[str, Callable[[Values], Values]]
_FUNCTIONS = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "logistic": _sigmoid}

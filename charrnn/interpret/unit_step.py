"""One unit in one step: what the equations of the view `step` are written from.

H = hidden size, I = inputs of the layer, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.interpret.digits import share_digits
from charrnn.interpret.equations import DECIMALS
from charrnn.interpret.one_step import OneStep
from charrnn.interpret.trace import GATES, Array

CELLS = "charrnn/generation/cells.py"
NETWORK = "charrnn/generation/network.py"
SCORING = "charrnn/generation/scoring.py"
TRACE = "charrnn/interpret/trace.py"
DERIVATIVES = "charrnn/interpret/derivatives.py"

WHAT = {
    "i": "the input gate: how much of the new value is taken in",
    "f": "the forget gate: how much of the memory is kept",
    "g": "the new value",
    "o": "the output gate: how much of the memory is shown",
    "r": "the reset gate: how much of the state the new value may see",
    "z": "the update gate: how much of the old state is kept",
    "n": "the new value",
    "": "the new state",
}
"""What each gate is, in few words."""

_GUESSES = 5


@dataclass(frozen=True)
class Guess:
    """A next character: its name, logit and probability, and whether it came.

    shown: the probability as printed; with those of the others they add up to 1. The last one of a
    list stands for all the others, and has no logit.
    """

    symbol: str
    logit: float | None
    probability: float
    shown: str
    is_target: bool


class UnitStep:
    """The values and derivatives of one unit.

    gates: their names, [""] of a plain RNN. grad_y: by what the layer gives upwards (H,).
    grad_x_sums, grad_h_sums: by what its input and its state add to the gates (gates, H).
    """

    def __init__(self, step: OneStep, depth: int, unit: int, names: Sequence[str]) -> None:
        self.step = step
        self.depth = depth
        self.unit = unit
        self.cell = step.config.cell
        self.size = step.config.hidden_size
        self.gates = [name for name in GATES[self.cell] if name != "n_h"] or [""]
        self.weights = {
            name: step.weights[f"layers.{depth}.{name}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        self.grad_y = np.asarray(step.gradients.outputs[depth])
        self.grad_x_sums, self.grad_h_sums = (
            np.asarray(each).reshape(len(self.gates), -1) for each in step.gradients.sums[depth]
        )
        self._names = names

    def value(self, name: str) -> float:
        """Return a value of the unit."""
        return float(self.vector(name)[self.unit])

    def vector(self, name: str) -> Array:
        """Return a value of all units of the layer."""
        return self.step.values[f"{self.depth}.{name}"]

    def row(self, gate: str) -> int:
        """Return the row of a gate of the unit in the layer's weights."""
        return self.gates.index(gate) * self.size + self.unit

    def measure(self, name: str) -> float:
        """Return the derivative by a value of the unit, by a central difference."""
        return self.step.measure(f"{self.depth}.{name}", self.unit)

    @property
    def grad_h(self) -> float:
        """The derivative by h after the step."""
        return float(self.grad_y[self.unit])

    @property
    def grad_c(self) -> float:
        """The derivative by an LSTM's c after the step."""
        return self.grad_h * self.value("o") * (1 - float(np.tanh(self.value("c"))) ** 2)

    def grad_a(self, gate: str) -> float:
        """Return the derivative by what a gate is computed from."""
        return float(self.grad_x_sums[self.gates.index(gate), self.unit])

    def grad_gate(self, gate: str) -> float:
        """Return the derivative by a gate."""
        if self.cell == "gru":
            n, z = self.value("n"), self.value("z")
            of = {
                "n": self.grad_h * (1 - z),
                "z": self.grad_h * (self.value("h_before") - n),
                "r": self.grad_a("n") * self.value("n_h"),
            }
        else:
            of = {
                "i": self.grad_c * self.value("g"),
                "f": self.grad_c * self.value("c_before"),
                "g": self.grad_c * self.value("i"),
                "o": self.grad_h * float(np.tanh(self.value("c"))),
            }
        return of[gate]

    def nodes(self) -> dict[str, tuple[float, float]]:
        """Return value and derivative of all that a picture of the cell names."""
        before = self.step.gradients.before[self.depth]
        found = {"h′": (self.value("h_before"), float(before[0][self.unit]))}
        if self.cell == "lstm":
            found["c′"] = (self.value("c_before"), float(before[1][self.unit]))
        for gate in self.gates:
            found[subscript("a", gate)] = (self.value(subscript("a", gate)), self.grad_a(gate))
        for gate in filter(None, self.gates):
            found[gate] = (self.value(gate), self.grad_gate(gate))
        if self.cell == "lstm":
            found["c"] = (self.value("c"), self.grad_c)
        found["h"] = (self.value("h"), self.grad_h)
        return found

    def matrices(self) -> dict[str, Array]:
        """Return the whole layer by name: weights by gate, vectors, and the derivatives by W."""
        found: dict[str, Array] = {"x": self.vector("x"), "h′": self.vector("h_before")}
        for number, gate in enumerate(self.gates):
            rows = slice(number * self.size, (number + 1) * self.size)
            found[subscript("U", gate)] = self.weights["weight_ih"][rows]
            found[subscript("W", gate)] = self.weights["weight_hh"][rows]
            bias = self.weights["bias_ih"][rows]
            if gate == "n":  # its other bias is in n_h
                found["n_h"] = self.vector("n_h")
            else:
                bias = bias + self.weights["bias_hh"][rows]
            found[subscript("b", gate)] = bias
            found[subscript("a", gate)] = self.vector(subscript("a", gate))
            found[f"∂ℓ/∂{subscript('a', gate)}"] = self.grad_x_sums[number]
            outer = np.outer(self.grad_h_sums[number], self.vector("h_before"))
            found[f"∂ℓ/∂{subscript('W', gate)}"] = outer
        if self.cell == "lstm":
            found["c"] = self.vector("c")
        return found | {"h": self.vector("h"), "∂ℓ/∂h": self.grad_y}

    @property
    def tokens(self) -> list[int]:
        """The likeliest tokens, and the target."""
        p = self.step.values["p"]
        likely = [int(token) for token in np.argsort(-p, kind="stable")[:_GUESSES]]
        if self.step.target not in likely:
            likely[-1] = self.step.target
        return likely

    def guesses(self) -> list[Guess]:
        """Return the likeliest characters, the target and all the others as one."""
        p, logits = self.step.values["p"], self.step.values["logits"]
        tokens = self.tokens
        parts = [float(p[token]) for token in tokens]
        rest = max(1 - sum(parts), 0.0)
        digits = share_digits([*parts, rest], 1.0, DECIMALS)
        guesses = [
            Guess(self._names[t], float(logits[t]), float(p[t]), said, t == self.step.target)
            for t, said in zip(tokens, digits, strict=False)
        ]
        if len(p) > len(tokens):
            name = f"the other {len(p) - len(tokens)}"
            guesses.append(Guess(name, None, rest, digits[-1], False))
        return guesses

    def quoted(self, token: int) -> str:
        """Return the name of a token as equations have it."""
        name = self._names[token]
        return repr(name) if len(name) == 1 else name

    def quoted_run(self, tokens: Sequence[int]) -> str:
        """Return the name of several tokens in a row; ? stands where there is none."""
        return repr("".join("?" if token < 0 else self._names[token] for token in tokens))

    def term_name(self, matrix: str, row: int) -> str:
        """Return the name of weight[row, unit] · ∂a[row]; row: of all gates."""
        gate = self.gates[row // self.size]
        place = row % self.size
        grad = "∂n_h" if matrix == "W" and gate == "n" else subscript("∂a", gate)
        return f"{subscript(matrix, gate)}[{place},{self.unit}]·{grad}[{place}]"


def subscript(name: str, gate: str) -> str:
    """Return the name of what belongs to a gate: a_f, or a of a plain RNN."""
    return f"{name}_{gate}" if gate else name

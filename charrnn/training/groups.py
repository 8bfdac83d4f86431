"""Norms of groups of weights at one step: of the weights, the gradient, the update and the decay.

Groups are what people talk of: input and recurrent weights by gate, output weights, embeddings,
n-grams, biases, initial states and labels. `TrainStep` measures them in the step before an
evaluation alone, so that all others cost what they did.

G = gates, H = hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from charrnn.config.model import GATE_NAMES, GATES
from charrnn.training.optimizer import kind_of

KINDS = ("weight", "gradient", "update", "decay")
"""What is measured of a group. update: ‖w after − w before‖ of one step, which includes the decay.

decay: ‖rate · weight decay · w‖, what weight decay alone took off in it.
"""


Groups = dict[str, dict[str, float]]
"""By group, such as "recurrent.f", and by kind."""


class GroupNorms:
    """Measures the weights of a network, by their names in it, around one update.

    Of a table whose gradient is sparse, the update is that of the rows with a gradient: the others
    rest, but for a decay that comes once in many steps.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], cell: str) -> None:
        self._parameters = dict(parameters)
        self._gates = GATES[cell]
        self._names = GATE_NAMES[cell]
        self._before: dict[str, Tensor] = {}
        self._rows: dict[str, Tensor] = {}
        self._squares: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def measure_gradients(self) -> None:
        """Measure the weights and their gradients before clipping, and remember the weights."""
        self._squares = {}
        self._rows = {}
        for name, parameter in self._parameters.items():
            self._add(name, "weight", parameter)
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                self._rows[name] = gradient.indices()[0]
                gradient = gradient.values()
            self._add(name, "gradient", gradient)
            self._before[name] = self._moving(name).clone()

    @torch.no_grad()
    def measure_update(self, decays: Mapping[str, float | Tensor]) -> None:
        """Measure what the update changed. decays: the share that decay took off each weight."""
        for name, before in self._before.items():
            self._add(name, "update", self._moving(name) - before)
            decayed = self._parameters[name] if name in self._rows else before  # all of its rows
            self._add(name, "decay", decayed * decays[name])
        self._before = {}

    def read(self) -> Groups:
        """Return the norms of the step measured last, and forget them; {} if none was."""
        names = list(self._squares)
        if not names:
            return {}
        rows = torch.stack([torch.stack([*each.values()]) for each in self._squares.values()])
        values = rows.sqrt().tolist()  # waits for the device once
        self._squares = {}
        return {
            name: dict(zip(KINDS, (float(f"{value:.6g}") for value in row), strict=True))
            for name, row in zip(names, values, strict=True)
        }

    def _moving(self, name: str) -> Tensor:
        """Return the weight that an update moves: of a sparse gradient, its rows alone."""
        weight = self._parameters[name].detach()
        return weight[self._rows[name]] if name in self._rows else weight

    def _add(self, name: str, kind: str, values: Tensor) -> None:
        """Add the squares of a weight's values to its groups."""
        group = kind_of(name)
        if group in ("input", "recurrent") and self._names:
            blocks = values.reshape(self._gates, -1).float().square().sum(1)
            named = {f"{group}.{gate}": blocks[row] for row, gate in enumerate(self._names)}
        else:
            named = {group: values.float().square().sum()}
        for key, square in named.items():
            sums = self._squares.setdefault(key, {})
            sums[kind] = sums[kind] + square if kind in sums else square

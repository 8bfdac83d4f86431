"""The shape of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.rules import check, setting

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
"""Blocks of H rows in a layer's weights, in torch's order.

lstm: input, forget, cell, output; gru: reset, update, new.
"""

CELLS = tuple(GATES)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a network, complete: what a model file stores.

    V = vocab_size, E = embedding_size, H = hidden_size, L = num_layers.
    """

    cell: str = setting("lstm", "recurrent cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "of cell rnn", choices=("tanh", "relu", "logistic"))
    vocab_size: int = setting(1, "symbols", minimum=1, maximum=2_000_000)
    embedding_size: int = setting(1, "numbers that stand for a symbol", minimum=1, maximum=65_536)
    hidden_size: int = setting(1, "units in a layer", minimum=1, maximum=65_536)
    num_layers: int = setting(1, "layers", minimum=1, maximum=256)
    tie_output: bool = setting(False, "the output weights are the embedding's")
    skip: bool = setting(False, "layers above the first add their input to their output")
    dropout: float = setting(0.0, "share of features dropped", minimum=0, maximum=0.95)
    initial_state: str = setting("zero", "state before the text", choices=("zero", "learned"))

    def __post_init__(self) -> None:
        check(self)
        if self.nonlinearity != "tanh" and self.cell != "rnn":
            raise ConfigError(
                f"nonlinearity {self.nonlinearity!r} goes with cell rnn; "
                f"cell {self.cell} has its own (leave --nonlinearity out, or use --cell rnn)"
            )

    @property
    def has_projection(self) -> bool:
        """Whether a projection (E, H) takes the state to a tied table of another width."""
        return self.tie_output and self.embedding_size != self.hidden_size

    @property
    def embedding_scale(self) -> float:
        """What the embedding is multiplied by where the first layer reads it.

        A tied table starts as output weights do, too small for an input (Vaswani et al. 2017).
        """
        return math.sqrt(self.embedding_size) if self.tie_output else 1.0

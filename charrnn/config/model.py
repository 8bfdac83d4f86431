"""The shape of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

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
    vocab_size: int = setting(1, "tokens", minimum=1, maximum=2_000_000)
    embedding_size: int = setting(1, "numbers that stand for a token", minimum=1, maximum=65_536)
    hidden_size: int = setting(1, "units in a layer", minimum=1, maximum=65_536)
    num_layers: int = setting(1, "layers", minimum=1, maximum=256)
    tie_embeddings: bool = setting(False, "the output weights are the embedding's")
    residual: bool = setting(False, "layers above the first add their input to their output")
    dropout: float = setting(0.0, "share of features dropped", minimum=0, maximum=0.95)
    initial_state: str = setting("zero", "state before the text", choices=("zero", "learned"))

    def __post_init__(self) -> None:
        validate(self)
        if self.nonlinearity != "tanh" and self.cell != "rnn":
            raise ConfigError(
                f"nonlinearity {self.nonlinearity!r} goes with cell rnn; "
                f"cell {self.cell} has its own (leave --nonlinearity out, or use --cell rnn)"
            )

    @property
    def has_projection(self) -> bool:
        """Whether a projection (E, H) takes the state to a tied table of another width."""
        return self.tie_embeddings and self.embedding_size != self.hidden_size

    @property
    def embedding_scale(self) -> float:
        """What the embedding is multiplied by where the first layer reads it.

        A tied table starts as output weights do, too small for an input (Vaswani et al. 2017).
        """
        return math.sqrt(self.embedding_size) if self.tie_embeddings else 1.0

    @property
    def state_parts(self) -> int:
        """The arrays in a layer's state: (h,), or (h, c) of an LSTM."""
        return 2 if self.cell == "lstm" else 1

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every weight of this network, in the order of a file.

        >>> ModelConfig(cell="rnn", vocab_size=5, embedding_size=3, hidden_size=4).weight_shapes()[
        ...     "layers.0.weight_ih"
        ... ]
        (4, 3)
        """
        hidden = self.hidden_size
        rows = GATES[self.cell] * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocab_size, self.embedding_size)
        }
        for depth in range(self.num_layers):
            inputs = hidden if depth else self.embedding_size
            shapes |= {
                f"layers.{depth}.initial": (self.state_parts, hidden),
                f"layers.{depth}.weight_ih": (rows, inputs),
                f"layers.{depth}.weight_hh": (rows, hidden),
                f"layers.{depth}.bias_ih": (rows,),
                f"layers.{depth}.bias_hh": (rows,),
            }
        if self.has_projection:
            shapes["projection.weight"] = (self.embedding_size, hidden)
        if not self.tie_embeddings:
            shapes["output.weight"] = (self.vocab_size, hidden)
        return shapes | {"output.bias": (self.vocab_size,)}

    @property
    def num_parameters(self) -> int:
        """The number of learned weights; an initial state counts where it is learned."""
        is_learned = self.initial_state == "learned"
        shapes = self.weight_shapes().items()
        return sum(math.prod(size) for name, size in shapes if is_learned or ".initial" not in name)

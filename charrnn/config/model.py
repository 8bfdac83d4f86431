"""The shape of a network: its settings, and the weights and parameters that follow from them.

V = vocab_size, E = embedding_size, H = hidden_size, L = num_layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
"""Blocks of H rows in a layer's weights, in torch's order.

lstm: input, forget, cell, output; gru: reset, update, new.
"""

CELLS = tuple(GATES)  # in the order of help pages
_NONLINEARITIES = ("tanh", "relu", "logistic")
_MAX_SIZE = 65_536  # far larger than any that trains in practice


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The complete shape of a network, as a model file stores it."""

    cell: str = setting("lstm", "type of recurrent layer", choices=CELLS)
    nonlinearity: str = setting("tanh", "activation function of cell rnn", choices=_NONLINEARITIES)
    vocab_size: int = setting(1, "number of tokens", ge=1, le=2_000_000)
    embedding_size: int = setting(1, "size of each token's embedding", ge=1, le=_MAX_SIZE)
    hidden_size: int = setting(1, "units per layer", ge=1, le=_MAX_SIZE)
    num_layers: int = setting(1, "number of stacked layers", ge=1, le=256)
    tie_embeddings: bool = setting(False, "use one embedding table for input and output")
    residual: bool = setting(False, "from the second layer on, add a layer's input to its output")
    dropout: float = setting(
        0.0, "fraction of features dropped between layers and before the output", ge=0, le=0.95
    )
    initial_state: str = setting(
        "zero", "state before the text: zeros, or learned", choices=("zero", "learned")
    )
    has_end: bool = setting(False, "the last token ends a record, and resets the state")
    label_count: int = setting(0, "number of labels, of all columns", ge=0, le=1_000_000)
    label_size: int = setting(0, "size of each label's embedding", ge=0, le=_MAX_SIZE)

    def __post_init__(self) -> None:
        validate(self)
        if self.nonlinearity != "tanh" and self.cell != "rnn":
            raise ConfigError(
                f"nonlinearity {self.nonlinearity!r} works only with cell rnn; "
                f"cell {self.cell} has its own (leave --nonlinearity out, or use --cell rnn)"
            )

    @property
    def has_projection(self) -> bool:
        """Whether a projection (E, H) maps the state to a tied table of another width."""
        return self.tie_embeddings and self.embedding_size != self.hidden_size

    @property
    def embedding_scale(self) -> float:
        """The factor of the embedding where the first layer reads it.

        A tied table starts as small as output weights do, too small for an input (Vaswani et al.
        2017).
        """
        return math.sqrt(self.embedding_size) if self.tie_embeddings else 1.0

    @property
    def state_parts(self) -> int:
        """The number of arrays in a layer's state: (h,), or (h, c) of an LSTM."""
        return 2 if self.cell == "lstm" else 1

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every weight, in the order of a model file.

        >>> ModelConfig(cell="rnn", vocab_size=5, hidden_size=4).weight_shapes()["output.weight"]
        (5, 4)
        """
        hidden = self.hidden_size
        rows = GATES[self.cell] * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocab_size, self.embedding_size)
        }
        # The names are the file format's: docs/file-format.md.
        for depth in range(self.num_layers):
            inputs = hidden if depth else self.embedding_size
            shapes |= {
                f"layers.{depth}.initial": (self.state_parts, hidden),
                f"layers.{depth}.weight_ih": (rows, inputs),
                f"layers.{depth}.weight_hh": (rows, hidden),
                f"layers.{depth}.bias_ih": (rows,),  # two biases, as torch and cuDNN have them
                f"layers.{depth}.bias_hh": (rows,),
            }
            if self.label_count:
                shapes |= {
                    f"layers.{depth}.weight_label": (rows, self.label_size),
                    f"layers.{depth}.initial_label": (hidden, self.label_size),
                }
        if self.label_count:
            shapes["labels.weight"] = (self.label_count, self.label_size)
        if self.has_projection:
            shapes["projection.weight"] = (self.embedding_size, hidden)
        if not self.tie_embeddings:
            shapes["output.weight"] = (self.vocab_size, hidden)
        return shapes | {"output.bias": (self.vocab_size,)}

    @property
    def num_parameters(self) -> int:
        """The number of learned weights; an initial state counts only if it is learned."""
        is_learned = self.initial_state == "learned"
        shapes = self.weight_shapes().items()
        return sum(math.prod(size) for name, size in shapes if is_learned or ".initial" not in name)

"""The shape of a network: its settings, and the weights and parameters that follow from them.

V = vocab_size, E = embedding_size, H = hidden_size, L = num_layers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
"""Blocks of H rows in a layer's weights, in torch's order.

lstm: input, forget, cell, output; gru: reset, update, new.
"""

GATE_NAMES = {"rnn": (), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
"""What the blocks are called, in their order; that of an rnn has no name."""

FORGET_BIAS = 1.0
"""Lets gradients through when training begins (Gers et al. 2000; Jozefowicz et al. 2015)."""

NGRAM_TABLE = "ngrams.weight"
"""The embeddings of n-grams. A step reads a few of its rows, and multiplies by none."""

NOT_LEARNED = ("ngrams.check", "ngrams.key")
"""Weights that training leaves as they are."""

BUCKET = 4
"""Rows of a bucket, which n-grams of one hash share (text/ngrams.py)."""

NGRAM_STD = 0.02
"""The standard deviation of the embeddings of n-grams before training."""

MOST_EXACT = 1 << 24
"""Whole numbers up to this are exact in float32: checks of n-grams, and keys of tokens."""

CELLS = tuple(GATES)  # in the order of help pages
TASKS = ("text", "classification", "tagging", "seq2seq")
ATTENTIONS = ("additive", "dot", "none")
POOLINGS = ("last", "mean", "max", "mean-max", "attention")
_NONLINEARITIES = ("tanh", "relu", "logistic")
MAX_NGRAM_ORDER = 16
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
    ngram_order: int = setting(
        1,
        "longest n-gram: the last 2, 3, … N tokens together have embeddings too; 1 for none",
        ge=1,
        le=MAX_NGRAM_ORDER,
    )
    ngram_rows: int = setting(
        0,
        "rows of the table of n-grams, a multiple of 4: how many can have an embedding",
        ge=0,
        le=MOST_EXACT,
    )
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
    task: str = setting(
        "text",
        "what the network does: it writes text; it decides on the class of a text, which is its "
        "label; it gives each character a tag; or it turns one sequence into another",
        choices=TASKS,
    )
    bidirectional: bool = setting(False, "also read each text from its end to its start")
    pooling: str = setting(
        "mean-max",
        "classification: how the features of all characters become those of the whole text",
        choices=POOLINGS,
    )
    head_size: int = setting(
        0, "units of the hidden layer before the classes or tags; 0 for none", ge=0, le=_MAX_SIZE
    )
    class_count: int = setting(0, "number of classes, or of tags", ge=0, le=1_000_000)
    transitions: bool = setting(
        False, "tagging: learn which tags follow one another (a conditional random field)"
    )
    attention: str = setting(
        "additive",
        "seq2seq: how the decoder looks at the source: by additive or dot-product attention, or by "
        "none, which leaves it one vector of the whole source",
        choices=ATTENTIONS,
    )
    target_size: int = setting(
        0, "number of target tokens; the last one ends a target", ge=0, le=2_000_000
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.nonlinearity != "tanh" and self.cell != "rnn":
            raise ConfigError(
                f"nonlinearity {self.nonlinearity!r} works only with cell rnn; "
                f"cell {self.cell} has its own (leave --nonlinearity out, or use --cell rnn)"
            )

        if (self.ngram_order > 1) != (self.ngram_rows > 0):
            raise ConfigError(
                f"ngram_order {self.ngram_order} and ngram_rows {self.ngram_rows} do not go "
                "together: an order of 2 or more needs rows, and 1 has none"
            )
        check_ngram_rows(self.ngram_rows)
        if self.ngram_order > 1 and self.task != "text":
            raise ConfigError(f"ngram_order works only with task text, not {self.task}")

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

    @property
    def features(self) -> int:
        """The number of features of a position: those of one direction, or of both."""
        return self.hidden_size * (1 + self.bidirectional)

    @property
    def pooled_features(self) -> int:
        """The number of features of a whole record."""
        return self.features * (2 if self.pooling == "mean-max" else 1)

    @property
    def decoder_inputs(self) -> tuple[int, ...]:
        """The input size of each layer of a decoder, lowest first.

        With attention there is one more than in the encoder: the lowest reads the target alone, to
        ask what the others read of the source.
        """
        if self.attention == "none":
            return (self.embedding_size, *[self.hidden_size] * (self.num_layers - 1))
        return (self.embedding_size, *[self.hidden_size + self.features] * self.num_layers)

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
        if self.ngram_rows:
            shapes |= {
                NGRAM_TABLE: (self.ngram_rows, self.embedding_size),
                "ngrams.check": (self.ngram_rows,),  # which n-gram a row is of
                "ngrams.key": (self.vocab_size,),  # what a token counts as in n-grams
            }
        # The names are the file format's: docs/file-format.md.
        directions = ("", "_reverse") if self.bidirectional else ("",)
        for depth, direction in itertools.product(range(self.num_layers), directions):
            inputs = self.features if depth else self.embedding_size
            shapes |= {
                f"layers.{depth}.initial{direction}": (self.state_parts, hidden),
                f"layers.{depth}.weight_ih{direction}": (rows, inputs),
                f"layers.{depth}.weight_hh{direction}": (rows, hidden),
                # Two biases, as torch and cuDNN have them.
                f"layers.{depth}.bias_ih{direction}": (rows,),
                f"layers.{depth}.bias_hh{direction}": (rows,),
            }
            if self.label_count:
                shapes |= {
                    f"layers.{depth}.weight_label": (rows, self.label_size),
                    f"layers.{depth}.initial_label": (hidden, self.label_size),
                }
        if self.task == "classification":
            return shapes | self._head_shapes()
        if self.task == "seq2seq":
            return shapes | self._seq2seq_shapes()
        if self.task == "tagging":
            return shapes | self._tagger_shapes()
        if self.label_count:
            shapes["labels.weight"] = (self.label_count, self.label_size)
        if self.has_projection:
            shapes["projection.weight"] = (self.embedding_size, hidden)
        if not self.tie_embeddings:
            shapes["output.weight"] = (self.vocab_size, hidden)
        return shapes | {"output.bias": (self.vocab_size,)}

    def _head_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of the weights that decide on a record's class."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.pooling == "attention":
            shapes["attention.weight"] = (1, self.features)
        width = self.pooled_features
        if self.head_size:
            shapes["hidden.weight"] = (self.head_size, width)
            shapes["hidden.bias"] = (self.head_size,)
            width = self.head_size
        return shapes | {
            "output.weight": (self.class_count, width),
            "output.bias": (self.class_count,),
        }

    def _seq2seq_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of the weights that write a target."""
        hidden = self.hidden_size
        features = self.features
        rows = GATES[self.cell] * hidden
        shapes: dict[str, tuple[int, ...]] = {
            "target_embedding.weight": (self.target_size, self.embedding_size)
        }
        for depth, inputs in enumerate(self.decoder_inputs):
            shapes |= {
                f"decoder.{depth}.weight_ih": (rows, inputs),
                f"decoder.{depth}.weight_hh": (rows, hidden),
                f"decoder.{depth}.bias_ih": (rows,),
                f"decoder.{depth}.bias_hh": (rows,),
                f"bridge.{depth}.weight": (self.state_parts * hidden, features),
                f"bridge.{depth}.bias": (self.state_parts * hidden,),
            }
        if self.attention == "additive":
            shapes |= {
                "attention.query.weight": (hidden, hidden),
                "attention.key.weight": (hidden, features),
                "attention.score.weight": (1, hidden),
            }
        if self.attention == "dot":
            shapes["attention.query.weight"] = (features, hidden)
        if self.attention != "none":
            shapes["combine.weight"] = (hidden, hidden + features)
            shapes["combine.bias"] = (hidden,)
        return shapes | {
            "output.weight": (self.target_size, hidden),
            "output.bias": (self.target_size,),
        }

    def _tagger_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of the weights that decide on the tag of each position.

        They read its features, and the embedding of its token.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        width = self.features + self.embedding_size
        if self.head_size:
            shapes["hidden.weight"] = (self.head_size, width)
            shapes["hidden.bias"] = (self.head_size,)
            width = self.head_size
        tags = self.class_count
        shapes |= {"output.weight": (tags, width), "output.bias": (tags,)}
        if self.transitions:
            shapes |= {
                "transitions.start": (tags,),
                "transitions.weight": (tags, tags),  # (from, to)
                "transitions.end": (tags,),
            }
        return shapes

    @property
    def num_parameters(self) -> int:
        """The number of learned weights; an initial state counts only if it is learned.

        Which n-grams have a row is not learned.
        """
        is_learned = self.initial_state == "learned"
        shapes = self.weight_shapes().items()
        return sum(
            math.prod(size)
            for name, size in shapes
            if (is_learned or ".initial" not in name) and name not in NOT_LEARNED
        )

    @property
    def num_ngram_parameters(self) -> int:
        """The number of weights in the table of n-grams."""
        return self.ngram_rows * self.embedding_size

    @property
    def num_dense_parameters(self) -> int:
        """The number of learned weights without the table of n-grams.

        About as many numbers a step multiplies by: of the table it only adds a few rows.
        """
        return self.num_parameters - self.num_ngram_parameters


def check_ngram_rows(rows: int) -> None:
    """Refuse a number of rows that is not a whole number of buckets.

    Raises:
        ConfigError: it is not; names the nearest that are.
    """
    if rows % BUCKET:
        fewer = rows // BUCKET * BUCKET
        raise ConfigError(
            f"ngram_rows is {rows}; give a multiple of {BUCKET}, such as {fewer} or "
            f"{fewer + BUCKET}"
        )

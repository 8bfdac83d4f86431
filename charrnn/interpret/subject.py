"""A model that is looked at, with the texts it is looked at with: what every view starts from.

T = tokens of the text in view, N = tokens that figures are measured on, V = vocabulary, H = hidden
size, L = layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import Arrays, ModelFile
from charrnn.config import ModelConfig
from charrnn.config.inspect import InspectConfig
from charrnn.generation.network import Network
from charrnn.generation.scoring import line_start_state
from charrnn.interpret.trace import Array, Trace, check_finite, log_softmax, record, record_lanes
from charrnn.interpret.untrained import untrained_weights
from charrnn.text.vocab import Ids, Vocab

_MAX_NUMBERS = 48_000_000  # of the states that figures are measured on, 192 MB


class Texts:
    """The held-out and the training text of models that are looked at, read when a view asks."""

    def __init__(self, read: Callable[[], tuple[Ids, Ids]]) -> None:
        """read: returns the tokens (N,) of the held-out text, and those of the training text."""
        self._read = read

    @cached_property
    def _both(self) -> tuple[Ids, Ids]:
        return self._read()

    @property
    def held_out(self) -> Ids:
        """What the models were not trained on."""
        return self._both[0]

    @property
    def train(self) -> Ids:
        """What they were trained on; empty where it is not at hand."""
        return self._both[1]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model by a name that people know, and two texts.

    file: its labels are fixed (generation/labels.py). ids: the text in view (T,). texts: for
    figures. metrics: the lines of the run's metrics.jsonl. read_snapshots: returns its weights
    along the way by step, ascending. chars: how many held-out tokens figures are measured on at
    most. seed: of all that is random in a figure.

    Two subjects can be compared if their vocabularies are equal: then their texts are too.
    """

    name: str
    file: ModelFile
    ids: Ids
    texts: Texts
    metrics: tuple[dict[str, Any], ...] = ()
    read_snapshots: Callable[[], Sequence[tuple[int, Arrays]]] = tuple
    chars: int = InspectConfig().chars
    seed: int = 0

    @property
    def held_out(self) -> Ids:
        """The tokens (N,) that figures are measured on: `chars` of the held-out text at most."""
        return self.texts.held_out[: self.chars]

    @property
    def train(self) -> Ids:
        """The tokens that the model was trained on; empty where they are not at hand."""
        return self.texts.train

    @property
    def config(self) -> ModelConfig:
        """The shape of the network."""
        return self.file.config

    @property
    def vocab(self) -> Vocab:
        """What its tokens are."""
        return self.file.vocab

    @property
    def seq_len(self) -> int | None:
        """Over how many tokens training carried gradients; None if the file does not say."""
        plan = (self.file.progress or {}).get("plan") or {}
        resolved = self.file.summary.get("resolved") or {}
        seq_len = plan.get("seq_len") or resolved.get("seq_len")
        return seq_len if isinstance(seq_len, int) else None

    @cached_property
    def snapshots(self) -> tuple[tuple[int, Arrays], ...]:
        """The run's weights along the way by step, ascending, read when a view asks for them.

        Raises:
            CheckpointError: a file of them is damaged.
        """
        return tuple(self.read_snapshots())

    @cached_property
    def network(self) -> Network:
        """The trained network."""
        return Network(self.config, self.file.weights)

    @cached_property
    def untrained(self) -> Network:
        """A network of the same shape with the weights that training begins with: a control."""
        weights = untrained_weights(self.config, self.seed, self.file.weights)
        return Network(self.config, weights)

    @cached_property
    def symbols(self) -> list[str]:
        """What stands for each token of the text in view: a character, a cluster, or as <E4>."""
        return [self.vocab.name_of(token) for token in self.ids.tolist()]

    @cached_property
    def trace(self) -> Trace:
        """The text in view, as the sampler reads it."""
        return record(self.network, self.ids)

    @cached_property
    def log_probabilities(self) -> Array:
        """ln p of every token at each place of the text in view (T, V): row t is about ids[t].

        A newline predicts the first, as `charrnn score` has it.

        Raises:
            DivergedError: one is not a finite number, here and below.
        """
        first = log_softmax(self.network.logits(line_start_state(self.network, self.vocab)))
        check_finite(first)
        return np.concatenate((first[None], self.trace.log_probabilities[:-1]))

    @cached_property
    def measured(self) -> Trace:
        """The held-out text, as the network reads it in stretches side by side."""
        return record_lanes(self.network, self._measured_ids)

    @cached_property
    def measured_untrained(self) -> Trace:
        """The same text as the untrained network reads it."""
        return record_lanes(self.untrained, self._measured_ids)

    @property
    def _measured_ids(self) -> Ids:
        """The held-out tokens, as many as there is memory for their states."""
        config = self.config
        per_token = config.hidden_size * config.state_parts * config.num_layers
        return self.held_out[: _MAX_NUMBERS // per_token]

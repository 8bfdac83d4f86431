"""What a network that was trained to decide says of texts. Never torch.

N = texts, K = classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.train import LONGEST_TOKENS
from charrnn.errors import ConfigError
from charrnn.generation.bayes import LARGEST_TEMPERATURE, LEAST_TEMPERATURE, posteriors
from charrnn.generation.classifier import Classifier
from charrnn.generation.filters import Floats
from charrnn.tasks.predict_labels import rank_labels
from charrnn.tasks.predictions import Prediction, PredictRequest, TextIds
from charrnn.text.vocab import Ids


class ClassPredictor:
    """Decides on the class of texts."""

    def __init__(self, file: ModelFile, request: PredictRequest) -> None:
        """Open the contents of a model file.

        Raises:
            ConfigError: the model has no such column.
        """
        column = file.labels.columns[0]
        if request.column not in (None, column.name):
            raise ConfigError(
                f"there is no column {request.column!r}; the model has {column.name!r}"
            )
        figures: Any = file.summary.get("classification", {})
        temperature = figures.get(column.name, {}).get("temperature", 1.0)
        self.classes = column.values
        self._temperature = float(np.clip(temperature, LEAST_TEMPERATURE, LARGEST_TEMPERATURE))
        self._counts = np.array(column.counts, np.int64)
        self._network = Classifier(file.config, file.weights)
        self._longest = longest_of(file)
        self._ids = TextIds(file, longest_of(file))
        self._request = request
        self.changes = self._ids.changes

    @property
    def notes(self) -> list[str]:
        """What a person should know of the texts that were read."""
        return self._ids.notes

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the likeliest classes of texts.

        Raises:
            VocabError: one holds half of a surrogate pair.
        """
        probs = self.class_probabilities(texts)
        return rank_labels(texts, probs, self.classes, self._request)

    def class_probabilities(self, texts: Sequence[str]) -> Floats:
        """Return p(class | text) (N, K) of texts; each row sums to 1."""
        return self.probabilities(self._ids.encode(texts))

    def probabilities(self, texts: Sequence[Ids]) -> Floats:
        """Return p(class | text) (N, K) in float64; each row sums to 1.

        An empty text says nothing: its classes are as likely as they are beforehand.
        """
        is_uniform = self._request.prior == "uniform"
        counts = np.zeros_like(self._counts) if is_uniform else self._counts
        probs = posteriors(np.zeros((len(texts), len(self.classes))), counts)
        read = [i for i, each in enumerate(texts) if len(each)]
        if read:
            own = self._network.log_probs([texts[i][: self._longest] for i in read])
            # Learned from records of their own frequencies: those are taken out again.
            shift = np.log(self._counts + 1) if is_uniform else 0.0
            alike = np.zeros_like(self._counts)
            probs[read] = posteriors(own - shift, alike, self._temperature)
        return probs


def longest_of(file: ModelFile) -> int:
    """Return how many tokens of a text are read."""
    given = file.summary.get("settings", {}).get("seq_len")
    return given if isinstance(given, int) and given > 0 else LONGEST_TOKENS

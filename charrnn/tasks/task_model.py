"""A trained network that decides, for Python: what scikit-learn calls an estimator. Never torch.

N = texts, K = classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.generation.labels import AskedLabels
from charrnn.tasks.model import Model
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.predict_task import ClassPredictor
from charrnn.tasks.predictions import PredictRequest, iter_blocks


def open_model(file: ModelFile, labels: AskedLabels = ()) -> Model | TaskModel:
    """Open the contents of a file, for the task that it was trained for; labels: as for `Model`."""
    return Model(file, labels) if file.config.task == "text" or labels else TaskModel(file)


class TaskModel:
    """A model of another task than text: `predict`, `predict_proba` and `score` as in scikit-learn.

    >>> model = charrnn.load("intents")  # doctest: +SKIP
    >>> model.predict(["where is my card"])  # doctest: +SKIP
    array(['card_arrival'], dtype=object)
    """

    def __init__(self, file: ModelFile) -> None:
        self.config: ModelConfig = file.config
        self.summary: dict[str, Any] = file.summary
        self._file = file

    @property
    def classes_(self) -> NDArray[np.object_]:
        """The classes (K,), in the order of the columns of `predict_proba`.

        Raises:
            ConfigError: the model does not decide on classes.
        """
        return np.array(self._classifier().classes, object)

    def predict(self, texts: Iterable[str], **settings: Any) -> NDArray[np.object_]:
        """Return what each text is or becomes (N,): its class, its target, or the text with tags.

        settings: fields of tasks/predictions.py's PredictRequest, but for top.

        Raises:
            ConfigError: a setting is for models of another task, or is top.
        """
        if settings.get("top", 1) != 1:
            raise ConfigError(
                "predict returns one answer for each text; leave top out, and call "
                "charrnn.predict for several"
            )
        request = PredictRequest(**settings)
        found = [each.label for each in iter_predictions(self._file, texts, request)]
        array = np.empty(len(found), object)
        array[:] = found
        return array

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return p(class | text) (N, K); each row sums to 1.

        Raises:
            ConfigError: the model does not decide on classes.
        """
        classifier = self._classifier()
        parts = [classifier.class_probabilities(block) for block in iter_blocks(texts)]
        return np.concatenate([np.zeros((0, len(classifier.classes))), *parts])

    def score(self, texts: Iterable[str], targets: Sequence[str]) -> float:
        """Return the share of texts for which `predict` returns the target.

        Raises:
            ConfigError: there are more texts than targets, or fewer, or none.
        """
        found = self.predict(texts)
        if len(found) != len(targets) or not len(found):
            raise ConfigError(f"{len(found)} texts cannot be compared with {len(targets)} targets")
        return float(np.mean([a == b for a, b in zip(found, targets, strict=True)]))

    def _classifier(self) -> ClassPredictor:
        if self.config.task != "classification":
            raise ConfigError(f"a model for {self.config.task} has no classes; use predict")
        return ClassPredictor(self._file, PredictRequest())

"""What a trained model says of texts: `charrnn predict` calls this. Never torch.

A model of labelled text names labels by Bayes, a model of another task does what it was trained
for. `make_predictor` opens the one that a file needs, and imports no other: the first answer should
come at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from charrnn.checkpoint.model_file import ModelFile
from charrnn.tasks.predictions import Prediction, PredictRequest, check_request, iter_blocks


class Predictor(Protocol):
    """Says what texts are.

    changes: counts the characters that the model never saw. notes: what a person should know of the
    texts that were read.
    """

    changes: Counter[str]

    @property
    def notes(self) -> list[str]: ...

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return what is said of each text."""


def make_predictor(file: ModelFile, request: PredictRequest | None = None) -> Predictor:
    """Return what reads texts with a model of any task.

    Raises:
        ConfigError: the model can say nothing of a text, or the request does not go with it.
    """
    request = request or PredictRequest()
    check_request(request, file.config.task)
    task = file.config.task
    if task == "classification":
        from charrnn.tasks.predict_task import ClassPredictor

        return ClassPredictor(file, request)
    if task == "tagging":
        from charrnn.tasks.predict_tags import TagPredictor

        return TagPredictor(file, request)
    if task == "seq2seq":
        from charrnn.tasks.predict_targets import TargetPredictor

        return TargetPredictor(file, request)
    from charrnn.tasks.predict_labels import LabelPredictor

    return LabelPredictor(file, request)


def iter_predictions(
    model_file: ModelFile, texts: Iterable[str], request: PredictRequest | None = None
) -> Iterator[Prediction]:
    """Yield what is said of each text, in their order; a few hundred are read at once.

    Raises:
        ConfigError: as `make_predictor`, or one is not a text.
        VocabError: one holds half of a surrogate pair.
    """
    predictor = make_predictor(model_file, request)
    for block in iter_blocks(texts):
        yield from predictor.predict(block)

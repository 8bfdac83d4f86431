"""What a model of another task than text looks at: its decision, its tags, its attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.errors import ConfigError
from charrnn.generation.seq2seq import Seq2Seq
from charrnn.generation.tagger import Tagger
from charrnn.interpret.attention import AttentionReport, inspect_attention
from charrnn.interpret.decision import DecisionReport, inspect_decision
from charrnn.interpret.directions import DirectionsReport, inspect_directions
from charrnn.tasks.predict_tags import TagPredictor
from charrnn.tasks.predict_targets import TargetPredictor
from charrnn.tasks.predict_task import ClassPredictor
from charrnn.tasks.predictions import PredictRequest, TextIds
from charrnn.text.vocab import Ids


def inspect_task(file: ModelFile, text: str, top: int = 5) -> Any:
    """Return the report of the view of a model's task; top: how many classes to name.

    Raises:
        ConfigError: nothing of the text is read, or it is too long to be looked at.
        VocabError: it holds half of a surrogate pair.
    """
    if file.config.task == "classification":
        return _inspect_class(file, text, top)
    if file.config.task == "tagging":
        return _inspect_tags(file, text)
    return _inspect_targets(file, text)


def _inspect_class(file: ModelFile, text: str, top: int) -> DecisionReport:
    predictor = ClassPredictor(file, PredictRequest())
    ids = _encode(file, text)
    symbols = [file.vocab.name_of(token) for token in ids.tolist()]
    return inspect_decision(ids, symbols, predictor.classes, predictor.probabilities, top)


def _inspect_tags(file: ModelFile, text: str) -> DirectionsReport:
    ids = TagPredictor(file, PredictRequest()).read(text)
    _refuse_nothing(ids, text)
    symbols = [file.vocab.name_of(token) for token in ids.tolist()]
    tagger = Tagger(file.config, file.weights)
    return inspect_directions(tagger, ids, symbols, file.labels.columns[0].values)


def _inspect_targets(file: ModelFile, text: str) -> AttentionReport:
    ids = _encode(file, text)
    [found] = TargetPredictor(file, PredictRequest()).convert([ids])
    assert file.target_vocab is not None
    target = np.array(found[0].ids if found else (), np.int64)
    network = Seq2Seq(file.config, file.weights)
    return inspect_attention(network, ids, target, file.vocab, file.target_vocab)


def _encode(file: ModelFile, text: str) -> Ids:
    [ids] = TextIds(file).encode([text])
    _refuse_nothing(ids, text)
    return ids


def _refuse_nothing(ids: Ids, text: str) -> None:
    """Refuse a text that is empty once it is read as a record."""
    if not len(ids):
        raise ConfigError(f"the model reads nothing of the text {text!r}; give another by --text")

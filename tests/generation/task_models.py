"""Models of other tasks than text with random weights, in tiny: one of each kind that there is."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.data.labels import LabelColumn, Labels
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import Vocab
from tests.generation.random_models import random_weights

CLASSES = LabelColumn("kind", ("with", "without", "odd"), (7, 5, 2))
WORD_TAGS = LabelColumn("tag", ("B", "M", "E", "S"), (9, 2, 9, 4))
CASE_TAGS = LabelColumn("tag", ("=", "U", "= ", "=,"), (30, 4, 5, 2))
PHONES = TokenVocab(tokens=("AH", "B", "K"), has_end=True)
FIGURES = {"temperature": 1.25, "error": 0.01, "accuracy": 0.9, "nats": 0.3, "records": 40}

KINDS: dict[str, dict[str, Any]] = {
    "classification": {"task": "classification", "labels": CLASSES, "head_size": 5},
    "tagging": {"task": "tagging", "labels": CASE_TAGS, "settings": {"restore": "case,spaces"}},
    "transitions": {
        "task": "tagging",
        "transitions": True,
        "bidirectional": True,
        "labels": WORD_TAGS,
        "settings": {"tags": "spaces"},
    },
    "seq2seq": {"task": "seq2seq", "target_vocab": Vocab("-xyz", has_end=True), "cell": "gru"},
    "phones": {"task": "seq2seq", "attention": "dot", "target_vocab": PHONES},
    "fixed": {"task": "seq2seq", "attention": "none", "target_vocab": PHONES, "cell": "rnn"},
}
"""What each kind of model has: fields of ModelConfig, labels, target_vocab and settings."""

END_BIASES = {"phones": 1, "fixed": -4}
"""Of the logit of a target's end: with it, not all targets are empty."""


def make_task_file(
    kind: str, *, seed: int = 11, spread: float = 1.0, alphabet: str = " ,abé", **shape: Any
) -> ModelFile:
    """Return the file of a model of one of KINDS; shape: other fields of ModelConfig."""
    own = KINDS[kind] | shape
    column = own.pop("labels", None)
    target_vocab = own.pop("target_vocab", None)
    settings = own.pop("settings", {})
    vocab = Vocab(alphabet, has_end=True)
    sizes = {"embedding_size": 3, "hidden_size": 4, "num_layers": 1}
    counts = {
        "class_count": len(column.values) if column else 0,
        "target_size": target_vocab.size if target_vocab else 0,
    }
    config = ModelConfig(**({"vocab_size": vocab.size, "has_end": True} | sizes | counts | own))
    summary: dict[str, Any] = {
        "step": 7,
        "val_nats": 0.5,
        "val_bpc": None,
        "elapsed_seconds": 1.5,
        "chars_seen": 42,
        "corpus": {"name": "words", "paths": ["words.txt"], "sha256": "0" * 64},
        "settings": settings,
        "scores": {"accuracy": 0.75},
        "created": "2031-02-03T04:05:06+00:00",
    }
    if config.task == "classification":
        summary["classification"] = {CLASSES.name: FIGURES}
    if config.task == "seq2seq":
        summary["target_bounds"] = [1.5, 2.0, -3.0]
    weights = random_weights(config, seed, spread)
    weights["output.bias"][-1] += END_BIASES.get(kind, 0)
    return ModelFile(
        config,
        vocab,
        weights,
        summary,
        {"moments": np.arange(6, dtype=np.float64).reshape(2, 3)},
        {"step": 7},
        Labels((column,) if column else ()),
        target_vocab,
    )

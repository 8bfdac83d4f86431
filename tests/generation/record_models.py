"""Models of records with random weights: the shape that training gives them, in tiny."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.data.labels import LabelColumn, Labels
from charrnn.text.vocab import Vocab
from tests.generation.random_models import ngram_choice

WHO = LabelColumn("who", ("ROMEO", "JULIET"), (163, 118))
YEAR = LabelColumn("year", ("1597", "1599", "1603"), (5, 4, 3))


def make_records_file(
    kind: str = "line",
    *,
    alphabet: str = " abé",
    has_bytes: bool = False,
    labels: tuple[LabelColumn, ...] = (),
    document_end: str | None = None,
    spread: float = 1.0,
    end_bias: float = 0.0,
    seed: int = 11,
    **shape: Any,
) -> ModelFile:
    """Return a model file; end_bias: of the logit of the end of a record."""
    vocab = Vocab(alphabet, has_bytes, has_end=True)
    sizes = {"embedding_size": 3, "hidden_size": 4, "num_layers": 2, "initial_state": "learned"}
    columns = Labels(labels)
    label_sizes = {"label_count": len(columns), "label_size": 2 if labels else 0}
    config = ModelConfig(
        **({"vocab_size": vocab.size, "has_end": True} | sizes | label_sizes | shape)
    )
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, spread, size).astype(np.float32)
        for name, size in config.weight_shapes().items()
    }
    weights |= ngram_choice(config)
    if config.cell == "lstm":
        for depth in range(config.num_layers):
            weights[f"layers.{depth}.initial"][1] = 0
    weights["output.bias"][vocab.end] += end_bias
    summary = {
        "step": 7,
        "corpus": {"name": "names", "record_kind": kind, "sha256": "0" * 64},
        "settings": {"document_end": document_end},
        "created": "2031-02-03T04:05:06+00:00",
    }
    return ModelFile(config, vocab, weights, summary, labels=columns)

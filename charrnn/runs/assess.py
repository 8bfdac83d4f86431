"""A model file and a text become figures: what `charrnn eval` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.metrics import bits_per_char, perplexity
from charrnn.model.network import CharRNN, import_weights
from charrnn.runs.request import locate_texts
from charrnn.text.corpus import split_ids
from charrnn.text.reader import iter_text, open_sources
from charrnn.text.vocab import Ids
from charrnn.training.device import set_up_machine
from charrnn.training.evaluation import evaluate_carried, evaluate_windowed


@dataclass(frozen=True)
class Assessment:
    """What a model makes of a text; nats and bpc are per character."""

    chars: int
    nats: float
    bpc: float
    perplexity: float
    windowed_nats: float
    windowed_bpc: float
    windowed_perplexity: float


def assess_model(path: Path, corpus: Sequence[str], split: str, encoding: str) -> Assessment:
    """Score a text, or the part of it ("train", "val") that training would have taken.

    Raises:
        CheckpointError: the model file is damaged.
        CorpusError: the text is missing, undecodable, or has fewer than two characters.
        VocabError: it has characters that the model does not know.
    """
    file = read_model(path)
    ids = _read_ids(file, corpus, split, encoding)
    set_up_machine(TrainConfig())
    model = CharRNN(file.config)
    import_weights(model, file.weights)
    carried = evaluate_carried(model, ids, file.vocab)
    windowed = evaluate_windowed(model, ids, file.vocab)
    figures = [
        [nats, bits_per_char(nats), perplexity(nats)]
        for nats in (carried.loss_nats, windowed.loss_nats)
    ]
    return Assessment(carried.chars, *figures[0], *figures[1])


def _read_ids(file: ModelFile, corpus: Sequence[str], split: str, encoding: str) -> Ids:
    settings = file.summary.get("settings", {})
    form = settings.get("normalize", TextConfig().normalize)
    with open_sources(locate_texts(corpus)) as sources:
        pieces = iter_text(sources, encoding=encoding, normalize=form)
        ids = np.concatenate([np.empty(0, file.vocab.dtype), *map(file.vocab.encode, pieces)])
    if split != "all" and settings.get("val_file"):
        raise ConfigError(
            f"the model held out {settings['val_file']}, not a part of its text; "
            "give that file and leave --split out"
        )
    if split != "all":
        train, val = split_ids(
            ids, file.vocab, settings.get("val_fraction", TextConfig().val_fraction)
        )
        ids = train if split == "train" else val
    if len(ids) < 2:
        raise CorpusError(
            f"{corpus[0]} leaves {len(ids)} characters to score; at least 2 are needed"
        )
    return ids

"""A new run that starts from a model: its shape, its weights, and room for what it never saw.

Ids are places in a sorted alphabet, so new characters move the old ones' rows. It reads no files
and knows no network: the rows of new tokens come from one that the caller has initialised.

V = tokens of the model, W = tokens of the run, W − V of them new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import Arrays, ModelFile
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.text.vocab import Vocab

_SHAPE = [each.name for each in fields(ModelConfig) if each.name not in ("vocab_size", "dropout")]


@dataclass(frozen=True)
class InitialModel:
    """The model that a run starts from, and which tokens of the run it does not know.

    new_characters: sorted by code point. has_new_bytes: the run writes rare characters as bytes,
    which the model could not. step, corpus_sha256: of the model, None where its file has none.
    """

    model_name: str
    step: int | None
    corpus_sha256: str | None
    new_characters: str
    has_new_bytes: bool

    @classmethod
    def of(cls, name: str, model: ModelFile, vocab: Vocab) -> InitialModel:
        """Describe what a run of vocabulary `vocab` takes over from a model."""
        new = sorted(set(vocab.alphabet) - set(model.vocab.alphabet))
        return cls(
            model_name=name,
            step=model.summary.get("step"),
            corpus_sha256=model.summary.get("corpus", {}).get("sha256"),
            new_characters="".join(new),
            has_new_bytes=vocab.has_bytes and not model.vocab.has_bytes,
        )

    def as_json(self) -> dict[str, Any]:
        """Give what a model file's summary says under `init_from`."""
        return {
            "name": self.model_name,
            "step": self.step,
            "corpus_sha256": self.corpus_sha256,
            "new_characters": len(self.new_characters),
        }


def with_model_shape(model: ModelConfig, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give `settings` with the shape of the network filled in: that of the model called `name`.

    Raises:
        ConfigError: a setting asks for another shape.
    """
    shape = {key: getattr(model, key) for key in _SHAPE}
    for key, value in shape.items():
        asked = settings.get(key)
        if asked is not None and asked != value:
            flag = "--" + key.replace("_", "-")
            raise ConfigError(
                f"{key} of model {name!r} is {value!r} and cannot become {asked!r}; "
                f"leave {flag} out, or train anew without --init-from"
            )
    return {**settings, **shape}


def with_document_end(model: ModelFile, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give `settings` with what ends a document to the model, unless they say it themselves."""
    own = model.summary.get("settings", {}).get("document_end")
    return {**settings, "document_end": settings.get("document_end") or own}


def extend_weights(model: ModelFile, vocab: Vocab, fresh: Arrays) -> Arrays:
    """Give the model's weights for `vocab`, which has all its tokens: each keeps its rows.

    fresh: weights of a new network of the grown shape, by the same names.

    A new token is read by its fresh embedding and written by the mean of the old output rows and
    biases (Hewitt 2021, nlp.stanford.edu/~johnhew/vocab-expansion.html). By Jensen's inequality its
    logit is then at most that of a token of probability 1/V, so that a text of old tokens costs
    at most ln(W/V) nats a token more, whatever the state. A tied table is an output table here.
    """
    output = "embedding.weight" if model.config.tie_embeddings else "output.weight"
    others = {"embedding.weight": fresh["embedding.weight"]}
    others |= {name: model.weights[name].mean(axis=0) for name in (output, "output.bias")}
    places = model.vocab.places_in(vocab)
    grown = {name: weight.copy() for name, weight in model.weights.items()}
    for name, rows in others.items():
        grown[name] = np.empty((vocab.size, *grown[name].shape[1:]), dtype=np.float32)
        grown[name][:] = rows
        grown[name][places] = model.weights[name]
    return grown


def required_vocab(last: ModelFile) -> Vocab | None:
    """Give the vocabulary of a run's file where not all of it need be in its text."""
    return last.vocab if "init_from" in last.summary else None

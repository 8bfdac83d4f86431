"""A new run that starts from a model: its shape, its weights, and rows for tokens it never saw.

A run of another task may start from a language model, whose layers read in the forward direction.

Ids are positions in a sorted alphabet, so new characters move the rows of the old ones. There are
no files here and no network. tasks/train_request.py fills in the shape; tasks/train.py hands
`extend_weights` to the trainer, which passes in the weights that it has initialised.

V = tokens of the model, W = tokens of the run; W − V are new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays, ModelFile
from charrnn.config import ModelConfig, TextConfig
from charrnn.data.corpus import Corpus
from charrnn.data.labels import Labels
from charrnn.errors import ConfigError
from charrnn.generation.labels import with_labels
from charrnn.text.vocab import Vocab

# Tokens, records, labels and targets follow from the text, and dropout changes no weight.
_OF_THE_TEXT = (
    *("vocab_size", "has_end", "label_count", "class_count", "target_size", "task", "dropout"),
)
_OF_LAYERS = (*("cell", "nonlinearity", "embedding_size", "hidden_size", "num_layers", "residual"),)
_OF_HEADS = ("bidirectional", "pooling", "head_size", "transitions", "attention")
SHAPE = [each.name for each in fields(ModelConfig) if each.name not in _OF_THE_TEXT]
"""The settings that a run takes from the model that it starts from."""


@dataclass(frozen=True)
class InitialModel:
    """The model that a run starts from, and the tokens of the run that it does not know.

    step, corpus_sha256: of the model; None where its file has none. new_characters: sorted by code
    point. has_new_bytes: the run writes rare characters as bytes, which the model could not.
    new_clusters: graphemes of several characters that the model could not write as one token.
    are_ngrams_dropped: the model has embeddings of n-grams, and the run is for a task without.
    lacks_ngrams: the model has none, so that a run for text has none either.
    """

    model_name: str
    step: int | None
    corpus_sha256: str | None
    new_characters: str
    has_new_bytes: bool
    new_clusters: int = 0
    are_ngrams_dropped: bool = False
    lacks_ngrams: bool = False

    @classmethod
    def of(cls, name: str, model: ModelFile, vocab: Vocab, task: str = "text") -> InitialModel:
        """Compare a model with the vocabulary and the task of the run that starts from it."""
        return cls(
            model_name=name,
            step=model.summary.get("step"),
            corpus_sha256=model.summary.get("corpus", {}).get("sha256"),
            new_characters="".join(sorted(set(vocab.alphabet) - set(model.vocab.alphabet))),
            has_new_bytes=vocab.has_bytes and not model.vocab.has_bytes,
            new_clusters=len(vocab.clusters) - len(model.vocab.clusters),
            are_ngrams_dropped=model.config.ngram_rows > 0 and task != "text",
            lacks_ngrams=model.config.ngram_rows == 0 and task == "text",
        )

    def as_json(self) -> dict[str, Any]:
        """Return what a model file's summary holds under `init_from`."""
        return {
            "name": self.model_name,
            "step": self.step,
            "corpus_sha256": self.corpus_sha256,
            "new_characters": len(self.new_characters),
        }


def with_model_shape(
    model: ModelConfig, name: str, settings: Mapping[str, Any], task: str
) -> dict[str, Any]:
    """Return `settings` with the shape of the network filled in: that of the model called `name`.

    task: of the run. One of another task than text takes the shape of a language model's layers.

    Raises:
        ConfigError: a setting asks for another shape, or the model is of another task.
    """
    if model.task not in ("text", task):
        way_out = f"start from a model of text or of {task}"
        if task == "text":
            how = {"classification": "--task classification", "seq2seq": "--pairs"}
            way_out = f"start from a model of text, or give {how.get(model.task, '--tags')}"
        raise ConfigError(
            f"model {name!r} is for {model.task}, and this run is for {task}; {way_out}"
        )
    names = [*_OF_LAYERS, *(_OF_HEADS if model.task == task else ())]
    if task == "text":
        names = [key for key in SHAPE if key not in _OF_HEADS]
    shape = {key: getattr(model, key) for key in names}
    if not model.label_count:
        shape.pop("label_size", None)
    if settings.get("parameters") is not None:
        raise ConfigError(
            f"model {name!r} has {model.num_parameters:,} parameters, which a run from its weights "
            "keeps; leave --parameters out, or train a new model without --init-from"
        )
    decay = settings.get("weight_decay_ngrams")
    if task == "text" and not model.ngram_rows and decay is not None:
        raise ConfigError(
            f"model {name!r} has no n-grams, so weight_decay_ngrams {decay:g} does nothing; leave "
            "--weight-decay-ngrams out, or train a new model without --init-from"
        )
    for key, value in shape.items():
        given = settings.get(key)
        if given is not None and given != value:  # None is "chosen": it takes the model's
            flag = "--" + key.replace("_", "-")
            raise ConfigError(
                f"{key} of model {name!r} is {value!r} and cannot become {given!r}; "
                f"leave {flag} out, or train a new model without --init-from"
            )
    if not model.has_end and model.initial_state == "zero":
        shape.pop("initial_state", None)  # records learn theirs, and running text has this anyway
    return {**settings, **shape}


def extend_weights(model: ModelFile, vocab: Vocab, labels: Labels, initialised: Arrays) -> Arrays:
    """Return the model's weights for `vocab`, which has all its tokens: each keeps its rows.

    labels: of the run; those that the model has keep theirs too. initialised: the weights of a new
    network for W tokens, by the same names.

    A new token takes its embedding from there, and the mean of the old output rows and biases
    (Hewitt 2021, nlp.stanford.edu/~johnhew/vocab-expansion.html). By Jensen's inequality its logit
    is then at most that of a token of probability 1/V, so that a text of old tokens costs at most
    ln(W/V) nats a token more, whatever the state. In n-grams old tokens keep their keys, by which
    the table knows them, and new ones get keys of their own.
    """
    # A tied table counts as the output table, where a wrong row would cost most.
    output = "embedding.weight" if model.config.tie_embeddings else "output.weight"
    new_rows = {"embedding.weight": initialised["embedding.weight"]}
    new_rows |= {name: model.weights[name].mean(axis=0) for name in (output, "output.bias")}
    old_ids = model.vocab.ids_in(vocab)
    if (keys := model.weights.get("ngrams.key")) is not None:
        new_rows["ngrams.key"] = _keys_with_new_ones(keys, old_ids, vocab.size)
    extended = {name: weight.copy() for name, weight in model.weights.items()}  # V rows
    _extend_labels(extended, model, labels, initialised)
    for name, rows in new_rows.items():
        extended[name] = np.empty((vocab.size, *extended[name].shape[1:]), dtype=np.float32)
        extended[name][:] = rows  # of every token; then the old ones get their own back
        extended[name][old_ids] = model.weights[name]
    return extended


def _keys_with_new_ones(
    keys: NDArray[Any], old_ids: NDArray[Any], count: int
) -> NDArray[np.float32]:
    """Return the keys (W,) of all tokens in n-grams; new ones have the smallest unused numbers.

    Small ones, as float32 has to hold each exactly: a key is below 2²⁴.
    """
    extended = np.zeros(count, np.float32)
    extended[old_ids] = keys
    unused = np.setdiff1d(np.arange(1, count + 1), keys)
    is_new = extended == 0
    extended[is_new] = unused[: is_new.sum()]
    return extended


def extend_encoder(model: ModelFile, corpus: Corpus, initialised: Arrays) -> Arrays:
    """Return the weights of a network that reads whole records, as far as a model has them.

    A language model gives its embedding and its layers, which read forwards, and not what it has
    for n-grams. From the second layer on, what reads backwards below it is new: its columns stay as
    they were initialised. A model of the same task gives the rows of the classes, tags or target
    tokens that it knows, too.
    """
    weights = {name: weight.copy() for name, weight in initialised.items()}
    old = with_labels(model) if model.config.task == "text" else model
    for name, weight in weights.items():
        known = old.weights.get(name)
        if known is None or name.startswith(_OF_TOKENS):
            continue
        if known.shape == weight.shape:
            weight[:] = known
        elif name.endswith("weight_ih"):
            weight[:, : known.shape[1]] = known
    scale = np.float32(model.config.embedding_scale)
    weights["embedding.weight"][model.vocab.ids_in(corpus.vocab)] = (
        scale * model.weights["embedding.weight"]
    )
    if model.config.task == "text":
        return weights
    for name, own, found in _rows_of_targets(model, corpus):
        if name in weights:
            weights[name][found] = model.weights[name][own]
    return weights


_OF_TOKENS = ("embedding.", "target_embedding.", "output.", "transitions.")


def _rows_of_targets(model: ModelFile, corpus: Corpus) -> Iterator[tuple[str, Any, Any]]:
    """Yield weights with a row for each target: their name, the model's rows, and the run's."""
    names: tuple[str, ...]
    if model.target_vocab is not None and corpus.target_vocab is not None:
        own = np.arange(model.target_vocab.size)
        found = model.target_vocab.ids_in(corpus.target_vocab)
        names = ("target_embedding.weight", "output.weight", "output.bias")
    else:
        index_of = corpus.labels.columns[0].index_of
        values = model.labels.columns[0].values
        own = np.array([i for i, value in enumerate(values) if value in index_of], np.int64)
        found = np.array([index_of[values[i]] for i in own.tolist()], np.int64)
        names = ("output.weight", "output.bias")  # a class is not embedded
        yield "transitions.weight", np.ix_(own, own), np.ix_(found, found)
        yield "transitions.start", own, found
        yield "transitions.end", own, found
    for name in names:
        yield name, own, found


def _extend_labels(extended: Arrays, model: ModelFile, labels: Labels, initialised: Arrays) -> None:
    """Make the weights of labels those of a run; without any in the model they change nothing."""
    of_labels = [name for name in {**extended, **initialised} if "label" in name]
    if not labels:
        for name in of_labels:
            extended.pop(name, None)
        return
    for name in of_labels:
        if not model.labels:
            extended[name] = initialised[name] * (not name.endswith("weight_label"))
    if model.labels:
        old = {model.labels.describe(1 + row): row for row in range(len(model.labels))}
        rows = initialised["labels.weight"].copy()
        for row in range(len(labels)):
            if (known := old.get(labels.describe(1 + row))) is not None:
                rows[row] = model.weights["labels.weight"][known]
        extended["labels.weight"] = rows


def required_vocab(last: ModelFile) -> Vocab | None:
    """Return the vocabulary of a run whose text may lack some of it, or may be cut otherwise.

    Such runs started from a model or have clusters. None for any other run, whose vocabulary is
    that of its text.
    """
    return last.vocab if "init_from" in last.summary or last.vocab.clusters else None


def read_again(last: ModelFile | None, config: TextConfig) -> TextConfig:
    """Return how the text of a model is read once more: its graphemes are known, none is sought.

    Another version of Unicode would find others.
    """
    is_known = last is not None and config.unit == "grapheme"
    return replace(config, unit="char") if is_known else config

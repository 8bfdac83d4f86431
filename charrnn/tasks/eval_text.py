"""Which characters models are scored on: a text that is named, or the corpus they learned from.

All models read the same ids, so they must share the vocabulary and all that turns a text into ids
and cuts it. Their own corpus is looked for where training found it, and known by its SHA-256.

S = tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TextConfig, as_dict
from charrnn.corpora.library import locate_texts
from charrnn.errors import ConfigError, CorpusError
from charrnn.tasks.finetune import required_vocab
from charrnn.text.corpus import Corpus, open_corpus, split_ids
from charrnn.text.files import open_sources
from charrnn.text.reader import iter_text
from charrnn.text.vocab import Ids

OWN_SPLIT, OTHER_SPLIT = "val", "all"  # where none is asked for


@dataclass(frozen=True)
class NamedModel:
    """A model file under the name that it was asked for by."""

    name: str
    file: ModelFile

    @property
    def text(self) -> TextConfig:
        """How training read the text; defaults where the file does not say."""
        settings = self.file.summary.get("settings", {})
        names = {each.name for each in fields(TextConfig)}
        return TextConfig(**{key: settings[key] for key in settings if key in names})


@dataclass(frozen=True)
class EvalTextRequest:
    """What is asked for. texts: files, folders, globs, "-" or library names; none: the models' own.

    split, encoding: None is what goes with the text.
    """

    texts: Sequence[str] = ()
    split: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class EvalText:
    """The characters to score, `ids` (S,), two or more, and where they come from."""

    texts: list[str]
    split: str
    ids: Ids


def read_eval_text(models: Sequence[NamedModel], wanted: EvalTextRequest) -> EvalText:
    """Read what is asked for in the ids of `models`.

    Raises:
        ConfigError: the models do not read texts alike, or the request clashes with itself.
        CorpusError: the text is missing, undecodable, has fewer than two characters, or is not
            the one that the models were trained on.
        VocabError: it has characters that the models do not know.
    """
    split = wanted.split or (OTHER_SPLIT if wanted.texts else OWN_SPLIT)
    _check_alike(models, split, has_own_text=not wanted.texts)
    if wanted.texts:
        texts, ids = list(wanted.texts), _read_named(models[0], wanted, split)
    elif wanted.encoding is not None:
        raise ConfigError("--encoding says how to read the text of --on; give both, or neither")
    else:
        texts, ids = _read_own(models[0], split)
    vocab = models[0].file.vocab
    if vocab.count_characters(ids[1:]) < 1:  # the first token is given, not scored
        chars = vocab.count_characters(ids)
        raise CorpusError(f"{texts[0]} leaves {chars} characters to score; at least 2 are needed")
    return EvalText(list(dict.fromkeys(texts)), split, ids)  # one given twice is read once


def _check_alike(models: Sequence[NamedModel], split: str, *, has_own_text: bool) -> None:
    """Refuse models for which the text asked for would not be the same ids."""
    first, *others = models
    keys = (
        ["normalize"]
        + ["encoding", "document_end"] * has_own_text
        + ["val_fraction", "val_file"] * (split != "all")
    )
    for other in others:
        pair = f"{first.name} and {other.name}"
        if other.file.vocab != first.file.vocab:
            raise ConfigError(f"{pair} have different vocabularies; score them one at a time")
        if has_own_text and _corpus(other).get("sha256") != _corpus(first).get("sha256"):
            raise ConfigError(
                f"{pair} were trained on different texts; name the text to score by --on"
            )
        for key in keys:
            values = [as_dict(each.text)[key] for each in (first, other)]
            if values[0] != values[1]:
                raise ConfigError(
                    f"{pair} were trained with {key} {values[0]} and {values[1]}, so this text is "
                    "not the same to both; score them one at a time"
                )


def _read_named(model: NamedModel, wanted: EvalTextRequest, split: str) -> Ids:
    vocab, text = model.file.vocab, model.text
    if split != "all" and text.val_file:
        raise ConfigError(
            f"{model.name} held out {text.val_file}, not a part of its text; leave --on out to "
            "score that file, or leave --split out"
        )
    encoding = wanted.encoding or TextConfig().encoding
    with open_sources(locate_texts(wanted.texts)) as sources:
        pieces = iter_text(sources, encoding=encoding, normalize=text.normalize)
        ids = np.concatenate([np.empty(0, vocab.dtype), *map(vocab.encode, pieces)])
    return _part(split, *split_ids(ids, vocab, text.val_fraction))


def _read_own(model: NamedModel, split: str) -> tuple[list[str], Ids]:
    """Give the paths and the ids of the text that a model was trained on, or of a part of it."""
    corpus = open_own_corpus(model, "name a text by --on")
    paths, val_file = _corpus(model)["paths"], model.text.val_file
    held_out = [val_file] if val_file else paths
    texts = {"train": paths, "val": held_out, "all": [*paths, *held_out] if val_file else paths}
    return texts[split], _part(split, corpus.train, corpus.val)


def open_own_corpus(model: NamedModel, hint: str) -> Corpus:
    """Open the text that a model was trained on, where training found it.

    way_out: what to do where that is not possible, for the message.

    Raises:
        CorpusError: it is not known or not kept, cannot be read, or is not what it was.
    """
    paths, text = _corpus(model).get("paths"), model.text
    if not isinstance(paths, list) or not paths:
        raise CorpusError(f"{model.name} does not say which text it was trained on; {hint}")
    if "-" in (*paths, text.val_file):
        raise CorpusError(f"{model.name} was trained on standard input, which is not kept; {hint}")
    try:
        corpus = open_corpus(locate_texts(paths), text, known=required_vocab(model.file))
    except CorpusError as error:
        raise CorpusError(f"the text of {model.name} cannot be read: {error}; or {hint}") from error
    if corpus.sha256 != _corpus(model).get("sha256") or corpus.vocab != model.file.vocab:
        raise CorpusError(
            f"{', '.join(paths)} has changed since {model.name} was trained on it (its SHA-256 is "
            f"another); bring the old text back, or {hint}"
        )
    return corpus


def _part(split: str, train: Ids, val: Ids) -> Ids:
    return np.concatenate({"train": [train], "val": [val], "all": [train, val]}[split])


def _corpus(model: NamedModel) -> dict[str, Any]:
    corpus: dict[str, Any] = model.file.summary.get("corpus", {})
    return corpus

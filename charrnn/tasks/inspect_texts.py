"""The texts that models are looked at with, where they are files or the models' own held-out text.

tasks/inspect.py calls this; a literal text needs none of it, and is shown at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.inspect import InspectText
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.interpret.subject import Texts
from charrnn.tasks.eval_text import (
    EvalTextRequest,
    NamedModel,
    check_alike,
    open_own_corpus,
    read_eval_text,
)
from charrnn.text.vocab import Ids

_HINT = "name a text by --file, or give one by --text"


def read_texts(
    models: Mapping[str, ModelFile], text: InspectText, notes: list[str]
) -> tuple[Ids, Texts]:
    """Return the files' text or the held-out text (N,), and the texts for figures.

    Raises:
        ConfigError: the models do not read texts alike.
        CorpusError: the text cannot be read, or is too short.
        VocabError: it has characters that the models do not know, and may not.
    """
    if not text.files:
        texts = Texts(lambda: own_texts(models))
        return texts.held_out, texts
    request = EvalTextRequest(
        files=text.files,
        encoding=text.encoding,
        errors=text.errors,
        unknown=text.unknown,
        split="all",
    )
    found = read_eval_text(_named(models), request)
    notes += found.notes
    if found.unseen_chars:
        unseen = counted(found.unseen_chars, "character")
        notes.append(f"{unseen} that the models never saw: left out")
    return found.ids, Texts(lambda: (found.ids, _train_text(models)))


def own_texts(models: Mapping[str, ModelFile]) -> tuple[Ids, Ids]:
    """Return what the models held out, and what they were trained on.

    Raises:
        ConfigError: they were trained on different texts, or held out different parts.
        CorpusError: the text is not where training found it, has changed, or nothing is held out.
    """
    named = _named(models)
    check_alike(named, "val", is_own=True)
    corpus = open_own_corpus(named[0], _HINT)
    held_out = corpus.val if len(corpus.val) > 1 else corpus.test
    if len(held_out) < 2:
        raise CorpusError(f"{named[0].name} was trained with nothing held out; {_HINT}")
    return np.asarray(held_out), np.asarray(corpus.train)


def _named(models: Mapping[str, ModelFile]) -> list[NamedModel]:
    return [NamedModel(name, file) for name, file in models.items()]


def _train_text(models: Mapping[str, ModelFile]) -> Ids:
    """Return what the models were trained on; empty where it is not at hand."""
    try:
        return own_texts(models)[1]
    except (ConfigError, CorpusError):
        return np.zeros(0, np.int64)

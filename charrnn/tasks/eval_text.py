"""Which characters models are scored on: a text that is given, or the corpus they learned from.

All models read the same ids, so they must share the vocabulary and everything that turns a text
into ids and cuts it. Their own corpus is opened where training found it, and must have its SHA-256.

S = tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import COST, OLD_TEXT_SETTINGS, TextConfig, as_dict
from charrnn.config.fields import UNKNOWN, refuse_escapes, setting, validate
from charrnn.config.text import ERRORS
from charrnn.corpora.library import locate_texts
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.generation.generator import text_format_of
from charrnn.generation.scoring import without
from charrnn.tasks.finetune import required_vocab
from charrnn.tasks.score import TEXT_GIVEN, fit_piece
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.files import open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import BadBytes, describe_bad, iter_text, text_options
from charrnn.text.split import choose_split
from charrnn.text.vocab import Ids


@dataclass(frozen=True)
class NamedModel:
    """A model file, and the name that messages call it by."""

    name: str
    file: ModelFile

    @property
    def text(self) -> TextConfig:
        """How training read the text; defaults where the file does not say."""
        settings = OLD_TEXT_SETTINGS | self.file.summary.get("settings", {})
        names = [field.name for field in fields(TextConfig) if field.name in settings]
        return TextConfig(**{name: settings[name] for name in names})

    @property
    def corpus(self) -> dict[str, Any]:
        """What the file says of the text it was trained on: paths, sha256."""
        return dict(self.file.summary.get("corpus", {}))


@dataclass(frozen=True)
class EvalTextRequest:
    """What to score: files, or a literal text; with neither, the models' own corpus."""

    files: tuple[str, ...] = setting((), 'files, folders, globs, "-" or library names')
    split: str | None = setting(
        None,
        "None is val of the models' own corpus, all of another text",
        choices=("all", "train", "val"),
    )
    encoding: str | None = setting(None, "of the files; None is UTF-8")
    text: str | None = setting(None, "a literal text")
    unknown: str = setting(
        COST, "of a text that is given, as for `ScoredText`", choices=(COST, *UNKNOWN)
    )
    errors: str | None = setting(None, "of the files; None is strict", choices=ERRORS)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class EvalText:
    """The characters to score, `ids` (S,), two or more, and where they come from.

    unseen_chars: how many more there are, which the models never saw and which have no ids.
    changes: what was changed for the models to know it, and how often each. notes: on how files
    were read.
    """

    texts: list[str]
    split: str
    ids: Ids
    unseen_chars: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def read_eval_text(models: Sequence[NamedModel], request: EvalTextRequest) -> EvalText:
    """Read the requested text in the ids of `models`.

    Raises:
        ConfigError: the models do not read texts alike, or the request clashes with itself.
        CorpusError: the text is missing, undecodable, has fewer than two characters, or is not
            the one that the models were trained on.
        VocabError: it has characters that the models do not know, and may not.
    """
    if request.files and request.text is not None:
        raise ConfigError("--file and --text both name the text to score; keep one")
    for name in ("encoding", "errors"):
        if getattr(request, name) is not None and not request.files:
            raise ConfigError(
                f"--{name} says how to read the text of --file; give both, or neither"
            )
    is_own = not request.files and request.text is None  # the corpus of training
    if is_own and request.unknown != COST:
        raise ConfigError("--unknown is for a text of --file or --text; name one, or leave it out")
    split = request.split or ("val" if is_own else "all")
    _check_alike(models, split, is_own=is_own)
    first = models[0]  # all read alike: one is enough
    vocab = first.file.vocab
    unseen: list[int] = []
    changes: Counter[str] = Counter()
    notes: list[str] = []
    if is_own:
        texts, train, val = _read_own(first, split)
    else:
        texts, whole, unseen, changes = _read_given(first, request, split, notes)
        cut = len(whole) if split == "all" else _held_out_tail(first, whole)
        train, val = whole[:cut], whole[cut:]
    if split == "val" and not len(val) and not first.text.val_fraction:
        way_out = "--split train, or another text by --file" if is_own else "leaving --split out"
        raise CorpusError(
            f"{first.name} was trained with nothing held out; score the whole text by {way_out}"
        )
    ids = np.concatenate({"train": [train], "val": [val], "all": [train, val]}[split])
    in_train = sum(before < len(train) for before in unseen)
    unseen_chars = {"train": in_train, "val": len(unseen) - in_train, "all": len(unseen)}[split]
    if vocab.count_characters(ids[1:]) < 1:  # the first token is given, not scored
        chars = vocab.count_characters(ids)
        few = counted(chars, "character")
        raise CorpusError(f"{texts[0]} leaves {few} to score; at least 2 are needed")
    names = list(dict.fromkeys(texts))  # a file given twice is read once
    return EvalText(names, split, ids, unseen_chars, changes, tuple(notes))


def _held_out_tail(model: NamedModel, ids: Ids) -> int:
    """Return where the part of a given text begins that training would have held out of it.

    Raises:
        ConfigError: that is not a tail.
    """
    split = choose_split(ids, model.file.vocab, np.array([len(ids)]), model.text)
    if split.ends is not None:
        raise ConfigError(
            f"of such a text {model.name} held out {split.held_out}; leave --file and --text out "
            "to score them, or leave --split out"
        )
    return split.position


def _check_alike(models: Sequence[NamedModel], split: str, *, is_own: bool) -> None:
    """Refuse models to which the requested text would not be the same ids."""
    first, *others = models
    keys = ["normalize", "lowercase", "unit"]  # all that changes the ids
    keys += ["encoding", "errors", "document_end"] * is_own
    keys += ["val_fraction", "val_file", "split"] * (split != "all")
    for other in others:
        pair = f"{first.name} and {other.name}"
        if other.file.vocab != first.file.vocab:
            raise ConfigError(f"{pair} have different vocabularies; score them one at a time")
        if is_own and other.corpus.get("sha256") != first.corpus.get("sha256"):
            raise ConfigError(
                f"{pair} were trained on different texts; name the text to score by --file"
            )
        for key in keys:
            values = [as_dict(model.text)[key] for model in (first, other)]
            if values[0] != values[1]:
                raise ConfigError(
                    f"{pair} were trained with {key} {values[0]} and {values[1]}, so this text is "
                    "not the same to both; score them one at a time"
                )


def _read_given(
    model: NamedModel, request: EvalTextRequest, split: str, notes: list[str]
) -> tuple[list[str], Ids, list[int], Counter[str]]:
    """Return the names, the ids (S,), the unseen characters, and the changes of a given text.

    An unseen character is known by how many ids stand before it. notes: takes what a person should
    know of how files were read.
    """
    vocab = model.file.vocab
    if split != "all" and model.text.val_file:  # training cut nothing off its text
        raise ConfigError(
            f"{model.name} held out {model.text.val_file}, not a part of its text; leave --file "
            "and --text out to score that file, or leave --split out"
        )
    unseen: list[int] = []
    changes: Counter[str] = Counter()

    def encode(pieces: Iterable[str]) -> Ids:
        # Encoded piece by piece: ids take a quarter of the characters' room, or less.
        ids = [np.empty(0, vocab.dtype)]
        done = 0
        for piece in pieces:
            fitted = fit_piece(piece, vocab, request.unknown)
            lost = vocab.find_unknown(fitted.text)
            unseen.extend((done + lost - np.arange(len(lost))).tolist())  # no id for those before
            ids.append(vocab.encode(without(fitted.text, lost.tolist())))
            done += len(ids[-1])
            changes.update(fitted.changes)
        return np.concatenate(ids)

    if request.text is not None:
        refuse_escapes("--text", request.text, vocab.alphabet)
        normal = text_format_of(model.file.summary).normalized(request.text)
        return [TEXT_GIVEN], encode([vocab.spell(normal)]), unseen, changes
    chosen = (request.encoding or TextConfig().encoding, request.errors or TextConfig().errors)
    form = text_format_of(model.file.summary)
    reading = form.reading(*chosen, is_binary=vocab.is_binary)
    with open_sources(locate_texts(request.files)) as found:
        bad: dict[str, BadBytes] = {}
        sources = inspect_sources(found, reading, notes.append)
        ids = encode(iter_text(sources, bad=bad, **text_options(reading)))
    notes += describe_bad(bad, reading.errors)
    return list(request.files), ids, unseen, changes


def _read_own(model: NamedModel, split: str) -> tuple[list[str], Ids, Ids]:
    """Return the paths and the two parts of the text that a model was trained on."""
    corpus = open_own_corpus(model, hint="name a text by --file")
    paths = model.corpus["paths"]
    held_out = [model.text.val_file] if model.text.val_file else paths  # a part of the same files
    texts = {"train": paths, "val": held_out, "all": [*paths, *held_out]}
    return texts[split], corpus.train, corpus.val


def open_own_corpus(model: NamedModel, hint: str) -> Corpus:
    """Open the text that a model was trained on, where training found it.

    hint: what to do where that is not possible, for the message.

    Raises:
        CorpusError: it is not known or not kept, cannot be read, or has changed.
    """
    paths = model.corpus.get("paths")
    text = model.text
    if not isinstance(paths, list):
        raise CorpusError(f"{model.name} does not say which text it was trained on; {hint}")
    if not paths or "-" in (*paths, text.val_file):
        source = "standard input" if paths else "a text in memory"
        raise CorpusError(f"{model.name} was trained on {source}, which is not kept; {hint}")
    try:
        corpus = open_corpus(locate_texts(paths), text, known=required_vocab(model.file))
    except CorpusError as error:
        raise CorpusError(
            f"the text of {model.name} cannot be read: {error.message}; or {hint}"
        ) from error
    if corpus.sha256 != model.corpus.get("sha256") or corpus.vocab != model.file.vocab:
        raise CorpusError(
            f"{', '.join(paths)} has changed since {model.name} was trained on it (its SHA-256 "
            f"differs); bring the old text back, or {hint}"
        )
    return corpus

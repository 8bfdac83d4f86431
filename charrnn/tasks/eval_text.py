"""Which characters models are scored on: a text that is given, or the corpus they learned from.

All models read the same ids, so they must share the vocabulary and everything that turns a text
into ids and cuts it. Their own corpus is opened where training found it, or where it is now, and
must have its SHA-256.

S = tokens.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import COST, OLD_TEXT_SETTINGS, TextConfig, as_dict
from charrnn.config.fields import UNKNOWN, refuse_escapes, setting, validate
from charrnn.config.text import ERRORS, KEPT_RECORDS, READ_AS_RECORDS
from charrnn.config.weights import with_new_place
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.data.draw import PARTS
from charrnn.data.label_table import RowFinder
from charrnn.data.records import Block, Found, Records, iter_records, join, join_parts, read_records
from charrnn.data.split import choose_split
from charrnn.data.tables import layout_of_name
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.generation.scoring import without
from charrnn.generation.text_format import text_format_of
from charrnn.tasks.finetune import read_again, required_vocab
from charrnn.text.files import TEXT_GIVEN, hash_sources, open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import BadBytes, describe_bad, iter_text, text_options
from charrnn.text.substitutions import fit_piece
from charrnn.text.vocab import Ids

# Settings of tables, which a literal text is not.
_OF_TABLES = ("text_column", "label_column", "group_column", "header", "skip_bad", "format")


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
        text = TextConfig(**{name: settings[name] for name in names})
        # Whether lines are records may have been chosen; where it was not, the model knows.
        return text if text.record_kind else replace(text, lines=self.file.vocab.has_end)

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
        choices=("all", *PARTS),
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
    were read. records: where they are in `ids`; None for models of running text.
    """

    texts: list[str]
    split: str
    ids: Ids
    unseen_chars: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()
    records: Records | None = None


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
    is_moved = split != "all" and _are_own_files(models, request)
    check_alike(models, split, is_own=is_own or is_moved)
    first = models[0]  # all read alike: one is enough
    _check_held_out(first, split, is_own=is_own)
    vocab = first.file.vocab
    if is_own or is_moved:
        text = _own_text(models, split, request.files)
    elif vocab.has_end:
        text = _given_records(first, request, split)
    else:
        text = _given_text(first, request, split)
    if vocab.count_characters(text.ids[1:]) < 1:  # the first token is given, not scored
        chars = vocab.count_characters(text.ids) - (vocab.has_end and len(text.ids) > 0)
        few = counted(chars, "character")
        raise CorpusError(f"{text.texts[0]} leaves {few} to score; at least 2 are needed")
    return replace(text, texts=list(dict.fromkeys(text.texts)))  # a file given twice is read once


def _own_text(models: Sequence[NamedModel], split: str, moved: Sequence[str]) -> EvalText:
    """Return a part of the text that all models were trained on."""
    texts, corpus = _read_own(models, split, moved)
    if corpus.record_kind:
        parts = [
            (getattr(corpus, part), records)
            for part in PARTS
            if split in (part, "all")
            and (records := getattr(corpus, f"{part}_records")) is not None
        ]
        ids, records = join_parts(parts)
        return EvalText(texts, split, ids, records=records)
    ids = np.concatenate([getattr(corpus, part) for part in PARTS if split in (part, "all")])
    return EvalText(texts, split, ids)


def _given_text(model: NamedModel, request: EvalTextRequest, split: str) -> EvalText:
    """Return a given running text, or the part of it that training would have made."""
    notes: list[str] = []
    texts, ids, unseen, changes = _read_given(model, request, split, notes)
    if split == "all":
        return EvalText(texts, split, ids, len(unseen), changes, tuple(notes))
    parts = _cut_given(model, ids)
    ends = np.cumsum([len(part) for part in parts.values()])
    # An unseen character is in the part of the id after it.
    shown_in = np.searchsorted(ends, np.minimum(unseen, ends[-1] - 1), side="right")
    unseen_chars = int(np.count_nonzero(shown_in == list(parts).index(split)))
    return EvalText(texts, split, parts[split], unseen_chars, changes, tuple(notes))


def _check_held_out(model: NamedModel, split: str, *, is_own: bool) -> None:
    """Refuse a part that training did not hold out."""
    val_fraction, test_fraction = model.text.held_out_fractions
    whole = "--split train, or another text by --file" if is_own else "leaving --split out"
    if split == "val" and not val_fraction and not model.text.val_file:
        if test_fraction:
            raise CorpusError(
                f"{model.name} was trained with a part held out for testing alone; score it by "
                "--split test"
            )
        raise CorpusError(
            f"{model.name} was trained with nothing held out; score the whole text by {whole}"
        )
    if split == "test" and not test_fraction:
        other = "score another text by --file" if is_own else "leave --split out"
        raise CorpusError(
            f"{model.name} was trained with no test part; train with --test-fraction, or {other}"
        )


def _cut_given(model: NamedModel, ids: Ids) -> dict[str, Ids]:
    """Return the parts that training would have made of a given text.

    Raises:
        ConfigError: what it would have held out is not a tail.
    """
    split = choose_split(ids, model.file.vocab, np.array([len(ids)]), model.text)
    if split.ends is not None:
        raise ConfigError(
            f"of such a text {model.name} held out {split.held_out}; leave --file and --text out "
            "to score them, or leave --split out"
        )
    return split.cut(ids)


def _are_own_files(models: Sequence[NamedModel], request: EvalTextRequest) -> bool:
    """Return whether given files hold the text that all models were trained on."""
    own = models[0].text
    is_read_alike = request.encoding in (None, own.encoding) and request.errors in (
        None,
        own.errors,
    )
    if not request.files or "-" in (*request.files, own.val_file) or not is_read_alike:
        return False
    with ExitStack() as stack:
        paths = locate_texts(request.files)
        sources = stack.enter_context(open_sources(paths, has_weights=True))
        if own.val_file is not None and Path(own.val_file).exists():
            sources += stack.enter_context(open_sources([own.val_file]))
        sha256 = hash_sources(sources)
    return all(model.corpus.get("sha256") == sha256 for model in models)


def check_alike(models: Sequence[NamedModel], split: str, *, is_own: bool) -> None:
    """Refuse models to which the requested text would not be the same ids."""
    first, *others = models
    keys = ["normalize", "lowercase", "unit", *READ_AS_RECORDS]  # all that changes the ids
    keys += ["encoding", "errors", *KEPT_RECORDS] * is_own
    keys += ["val_fraction", "test_fraction", "val_file", "split"] * (split != "all")
    for other in others:
        pair = f"{first.name} and {other.name}"
        if other.file.vocab != first.file.vocab:
            raise ConfigError(f"{pair} have different vocabularies; score them one at a time")
        if other.file.labels != first.file.labels:
            raise ConfigError(f"{pair} have different labels; score them one at a time")
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
    is_cut = split in ("train", "test") and model.text.test_fraction > 0
    if split != "all" and model.text.val_file and not is_cut:
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
        for piece in vocab.iter_settled(pieces):
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


def _given_records(model: NamedModel, request: EvalTextRequest, split: str) -> EvalText:
    """Return a given text as records, as training read its own; an unknown label is none.

    Raises:
        ConfigError: a part is asked for; that of another text would be drawn by hash.
    """
    if split != "all":
        raise ConfigError(
            f"{model.name} held out a part of its own records; leave --file and --text out to "
            "score them, or leave --split out"
        )
    vocab = model.file.vocab
    defaults = TextConfig()
    reading = (request.encoding or defaults.encoding, request.errors or defaults.errors)
    config = replace(model.text, encoding=reading[0], errors=reading[1], val_file=None)
    config = replace(config, group_column=None)  # which matters to a split alone
    notes: list[str] = []
    found = Found()
    with ExitStack() as stack:
        if request.text is not None:
            refuse_escapes("--text", request.text, vocab.alphabet)
            texts = [TEXT_GIVEN]
            blocks = _read_literal(model, _for_literal(config), request.text)
        else:
            texts = list(request.files)
            opened = stack.enter_context(open_sources(locate_texts(texts)))
            bad: dict[str, BadBytes] = {}
            config = _with_layout(model, config, [source.name for source in opened])
            blocks = iter_records(inspect_sources(opened, config, notes.append), config, found, bad)
            stack.callback(lambda: notes.extend(describe_bad(bad, config.errors)))
        encoded = _encode_records(model, blocks, config, request.unknown)
    if found.skipped:
        notes.append(f"{counted(found.skipped, 'row')} skipped: {', '.join(found.places)}")
    return replace(encoded, texts=texts, notes=tuple(notes))


def _with_layout(model: NamedModel, config: TextConfig, names: Sequence[str]) -> TextConfig:
    """Return how tables of these names are read: where no name says, as the model's own table."""
    own = map(layout_of_name, map(str, model.corpus.get("paths", [])))
    layout = next(filter(None, own), None)
    if config.record_kind != "row" or layout is None or any(map(layout_of_name, names)):
        return config
    return config if config.format != "auto" else replace(config, format=layout)


def _encode_records(
    model: NamedModel, blocks: Iterable[Block], config: TextConfig, unknown: str
) -> EvalText:
    """Return records as what is scored; its texts have no names yet."""
    vocab = model.file.vocab
    finder = RowFinder(model.file.labels)
    ids = [np.array([vocab.end], vocab.dtype)]
    rows = [finder.find([])]
    changes: Counter[str] = Counter()
    unseen_chars = 0
    for block in blocks:
        fitted = fit_piece(join(block.texts, config), vocab, unknown)
        lost = vocab.find_unknown(fitted.text)
        unseen_chars += len(lost)
        changes.update(fitted.changes)
        ids.append(vocab.encode(without(fitted.text, lost.tolist())))
        no_labels = [("",) * len(model.file.labels.columns)] * len(block.texts)
        rows.append(finder.find(block.labels or no_labels))
    whole = np.concatenate(ids)
    ends = np.flatnonzero(whole == vocab.end)[1:] + 1
    records = Records(ends, np.concatenate(rows))
    return EvalText([], "all", whole, unseen_chars, changes, records=records)


def _read_literal(model: NamedModel, config: TextConfig, text: str) -> Iterator[Block]:
    """Return the records of a literal text."""
    if config.document_end is not None:  # which is found in the text as it is read
        text = text_format_of(model.file.summary).normalized(text)
    return read_records(TEXT_GIVEN, [model.file.vocab.spell(text)], config, Found())


def _for_literal(config: TextConfig) -> TextConfig:
    """Return how a literal text is read: it is no table, and lies in no file."""
    if config.label in ("file", "folder"):
        config = replace(config, label=None)
    if config.record_kind != "row":
        return config
    defaults: dict[str, Any] = {name: getattr(TextConfig(), name) for name in _OF_TABLES}
    return replace(config, files=True, **defaults)


def _read_own(
    models: Sequence[NamedModel], split: str, moved: Sequence[str]
) -> tuple[list[str], Corpus]:
    """Return the paths of the text that all models were trained on, and the text.

    moved: where it is now; empty where training found it.
    """
    model = models[0]
    hint = f"name a text by --file, with --split {split} if it is the same one"
    corpus = open_own_corpus(model, hint, moved, partial(_say_moved, models, split))
    paths = list(moved) or model.corpus["paths"]
    held_out = [model.text.val_file] if model.text.val_file else paths  # a part of the same files
    texts = {"train": paths, "val": held_out, "test": paths, "all": [*paths, *held_out]}
    return texts[split], corpus


def _say_moved(models: Sequence[NamedModel], split: str, missing: str) -> str:
    """Return what to type if the file that is missing has moved."""
    names = shlex.join(model.name for model in models)
    files = models[0].corpus["paths"]
    part = f" --split {split}"
    if missing == models[0].text.val_file and split == "val":  # all of it is the part
        files = [missing]
        part = ""
    flags = (f"--file {each}" for each in with_new_place(files, missing))
    return f"if you moved it: charrnn eval {names} {' '.join(flags)}{part}"


def open_own_corpus(
    model: NamedModel,
    hint: str,
    moved: Sequence[str] = (),
    say_moved: Callable[[str], str] | None = None,
) -> Corpus:
    """Open the text that a model was trained on, where training found it or where it is now.

    hint: what to do where that is not possible, for the message; say_moved returns what to do where
    this file is missing.

    Raises:
        CorpusError: it is not known or not kept, cannot be read, or has changed.
    """
    paths = list(moved) or model.corpus.get("paths")
    text = model.text
    if not isinstance(paths, list):
        raise CorpusError(f"{model.name} does not say which text it was trained on; {hint}")
    if not paths or "-" in (*paths, text.val_file, text.target_file, text.val_target_file):
        # Of a shared model nobody knows the paths: checkpoint/public.py leaves them out.
        source = "standard input" if paths else "a text in memory, or elsewhere"
        raise CorpusError(f"{model.name} was trained on {source}, which is not kept; {hint}")
    if text.record_kind and not model.file.vocab.has_end:
        raise CorpusError(
            f"{model.name} was trained by an older version, to which the end of a document was "
            f"text, and its own text is not read so any more; train it again, or {hint}"
        )
    try:
        config = read_again(model.file, text)
        corpus = open_corpus(
            locate_texts(paths),
            config,
            known=required_vocab(model.file),
            known_target=model.file.target_vocab,
            known_labels=model.file.labels,
        )
    except CorpusError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            missing = error.__cause__.filename
            way_out = say_moved(missing) if say_moved else f"bring it back, or {hint}"
            raise CorpusError(
                f"cannot find {missing!r}, of the text of {model.name}, in {Path.cwd()}; {way_out}"
            ) from error
        raise CorpusError(
            f"the text of {model.name} cannot be read: {error.message}; or {hint}"
        ) from error
    vocabs = (model.file.vocab, model.file.target_vocab)
    is_same = corpus.sha256 == model.corpus.get("sha256")
    if not is_same or (corpus.vocab, corpus.target_vocab) != vocabs:
        raise CorpusError(
            f"{', '.join(paths)} has changed since {model.name} was trained on it (its SHA-256 "
            f"differs); bring the old text back, or {hint}"
        )
    return corpus

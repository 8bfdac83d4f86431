"""What a run is asked for: settings by name become the corpus and three frozen settings objects.

A new run may start from a model's weights, and then has that model's shape. A resumed run starts
from the settings in its file; those that shape the model or the text cannot change. The same
command given again finds the run that it left unfinished. tasks/train.py calls all of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import charrnn.config as config
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import SETTINGS, DamagedState, RunFolder, format_toml
from charrnn.checkpoint.run_store import find_model, find_run, list_runs, named_run
from charrnn.config import LENGTHS, RunConfig, TextConfig, TrainConfig, check_type
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.text_format import TextFormat
from charrnn.storage import read_note
from charrnn.tasks.finetune import SHAPE, InitialModel, required_vocab, with_model_shape
from charrnn.text.files import open_bytes
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import iter_text
from charrnn.text.vocab import Vocab

_MACHINE = {"device", "precision", "threads", "cuda_graph", "deterministic"}
_CHANGEABLE = {
    *LENGTHS,
    "length_history",
    *_MACHINE,
    "patience",
    "eval_every",
    "val_file",
    "learning_rate",
    "samples",
    "sample_prompt",
}
# Not in a run's file.
_NOT_KEPT = {"resume", "checkpoints", "on_unfinished", "keep_checkpoints", "overwrite"}
_NOT_KEPT |= {"tensorboard", "teachers"}


class FileContent(NamedTuple):
    """What was read of an open file, and the name that messages call it by."""

    name: str
    content: str | bytes


Text = str | bytes | FileContent


@dataclass(frozen=True)
class TrainRequest:
    """A run that is about to start: a new one, or one that continues.

    corpus_paths: as they were given; without any, `given_texts` are what to train on. resumed: the
    folder of a run that continues; last: the state it continues from; damaged: newer states that
    could not be read. initial: the model named by run.init_from, for a new run. teachers: the
    models named by run.distill_from.
    """

    corpus_paths: list[str]
    text: TextConfig
    train: TrainConfig
    run: RunConfig
    resumed: RunFolder | None = None
    last: ModelFile | None = None
    damaged: tuple[DamagedState, ...] = ()
    initial: ModelFile | None = None
    teachers: tuple[ModelFile, ...] = ()
    given_texts: tuple[str, ...] = field(default=(), repr=False)

    def resume(self, folder: RunFolder) -> TrainRequest:
        """Return the request to continue a run of the same settings.

        Raises:
            CheckpointError: it has no state to continue from.
        """
        last, damaged = folder.read_state()
        return replace(self, resumed=folder, last=last, damaged=tuple(damaged), initial=None)

    @property
    def task(self) -> str:
        """What the network will do."""
        return self.train.task or self.text.task

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of text and training, and the models it begins with, as plain values."""
        models = {"init_from": self.run.init_from, "distill_from": list(self.run.distill_from)}
        named = {key: value for key, value in models.items() if value}
        return config.as_dict(self.text) | config.as_dict(self.train) | named

    @property
    def config_file(self) -> dict[str, Any]:
        """What the run's config.toml holds."""
        return {"corpus": self.corpus_paths} | self.settings

    @property
    def known_vocab(self) -> Vocab | None:
        """The tokens that the vocabulary has besides those of the corpus, if any are required."""
        if self.initial is not None:
            return self.initial.vocab
        return None if self.last is None else required_vocab(self.last)

    @property
    def known_tokens(self) -> dict[str, Any]:
        """What `open_corpus` is told of tokens, targets and tags that are known already."""
        of_task = self.initial or self.last
        if of_task is None or of_task.config.task in ("text", "classification"):
            return {"known": self.known_vocab}
        labels = of_task.labels
        # A resumed run has just these: the same text gives the same again, in the same order.
        known = of_task.vocab if self.initial is not None else self.known_vocab
        return {"known": known, "known_target": of_task.target_vocab, "known_labels": labels}

    def initial_model(self, vocab: Vocab) -> InitialModel | None:
        """Return what a new run of vocabulary `vocab` starts from, if that is a model."""
        if self.initial is None or self.run.init_from is None:
            return None
        return InitialModel.of(self.run.init_from, self.initial, vocab, self.task)

    def origin(self, vocab: Vocab) -> dict[str, Any]:
        """Return the entry on that model in the summary of the run's files; {} if there is none."""
        if initial := self.initial_model(vocab):
            return {"init_from": initial.as_json()}
        before = {} if self.last is None else self.last.summary  # a resumed run keeps its own
        return {key: value for key, value in before.items() if key == "init_from"}


def split_settings(settings: Mapping[str, Any]) -> tuple[TextConfig, TrainConfig, RunConfig]:
    """Sort settings into their classes.

    >>> text, train, run = split_settings({"hidden_size": 9, "min_count": 2})
    >>> train.hidden_size, text.min_count, run.resume
    (9, 2, None)

    Raises:
        ConfigError: one is unknown, out of range, or clashes with another.
    """
    classes = (TextConfig, TrainConfig, RunConfig)
    names = {cls: {item.name for item in fields(cls)} for cls in classes}
    config.check_names(settings, set().union(*names.values()))
    text, train, run = ({k: settings[k] for k in settings if k in names[c]} for c in classes)
    return TextConfig(**text), TrainConfig(**train), RunConfig(**run)


def find_resumed(settings: Mapping[str, Any]) -> RunFolder | None:
    """Return the folder of the run named by the setting `resume`; None without one.

    Raises:
        ConfigError: as `split_settings`, or a resumed run is given a name.
        CheckpointError: there is no such run.
    """
    _, _, run = split_settings(settings)
    if run.resume is None:
        return None
    if run.name is not None:
        raise ConfigError(f"a resumed run keeps its name, {run.resume!r}; leave --name out")
    return find_run(run.resume, Path(run.checkpoints))


def read_request(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    resumed: RunFolder | None = None,
    texts: Sequence[Text] = (),
) -> TrainRequest:
    """Return what is asked for; for a resumed run, on top of the settings in its file.

    texts: to train on, instead of a corpus.

    Raises:
        ConfigError: as `split_settings`, or there is no corpus, or a resumed run would change, or
            the model to start from has another shape than is asked for.
        CheckpointError: the run to resume has no state to continue from, or is damaged; there is
            no such model to start from, or it is damaged.
        CorpusError: a file name is not text.
    """
    text, train, run = split_settings(settings)
    named = (text.val_file, text.target_file, text.val_target_file, run.init_from)
    for name in (*corpus, *filter(None, named), *run.distill_from):
        try:
            name.encode()  # a run's files name it in UTF-8
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"the file name {name!r} is not valid UTF-8; rename the file"
            ) from error
    if corpus and texts:
        raise ConfigError("corpus and texts both say what to train on; give one")
    if resumed is not None:
        request = _read_resumed(corpus, settings, run, resumed, has_texts=bool(texts))
        return replace(request, given_texts=read_texts(texts, request.text))
    if texts:
        given_texts = read_texts(texts, text)
        request = read_request(["texts"], settings)
        return replace(request, corpus_paths=[], given_texts=given_texts)
    if not corpus:
        raise ConfigError("no corpus is given; name a text file, as in: charrnn train book.txt")
    if "-" in corpus and text.val_file == "-":
        raise ConfigError("corpus and --val-file are both standard input; name a file for one")
    if run.init_from is None:
        return TrainRequest(list(corpus), text, train, run, teachers=_read_teachers(run))
    # A new run that starts from a model takes its shape, and its records unless given others.
    initial = read_model(find_model(run.init_from, Path(run.checkpoints)))
    if text.record_kind is None and text.lines is None:
        settings = {**settings, **_records_of(initial)}
    task = train.task or text.task
    settings = with_model_shape(initial.config, run.init_from, settings, task)
    text, train, run = split_settings(settings)
    teachers = _read_teachers(run)
    return TrainRequest(list(corpus), text, train, run, initial=initial, teachers=teachers)


def _read_teachers(run: RunConfig, folder: RunFolder | None = None) -> tuple[ModelFile, ...]:
    """Return the models that a run learns from; those of a resumed one are beside its folder."""
    checkpoints = Path(run.checkpoints) if folder is None else folder.path.parent
    try:
        return tuple(read_model(find_model(name, checkpoints)) for name in run.distill_from)
    except CheckpointError as error:
        if folder is None:
            raise
        raise CheckpointError(
            f"run {folder.name!r} learns from {', '.join(run.distill_from)}: {error.message}"
        ) from error


def _records_of(initial: ModelFile) -> dict[str, Any]:
    """Return the settings that say what a record is in the text of a model.

    The columns of a table, and the lines that begin a speech, are those of one text alone: {}.
    """
    if not initial.vocab.has_end:
        return {}
    own = initial.summary.get("settings", {})
    if any(own.get(name) is not None for name in ("text_column", "label_regex")):
        return {}
    is_of_lines = not own.get("files") and own.get("document_end") is None
    names = ("files", "document_end")
    return {"lines": True} if is_of_lines else {name: own[name] for name in names if own.get(name)}


def read_texts(texts: Sequence[Text], config: TextConfig) -> tuple[str, ...]:
    r"""Return texts as files of them are read.

    >>> read_texts(["One", b"two\r\n"], TextConfig(lowercase=True))
    ('one', 'two\n')

    Raises:
        ConfigError: one is not a text, or a setting is for files.
        CorpusError: one cannot be decoded, or cannot be written in UTF-8.
    """
    if texts and config.val_file is not None:
        raise ConfigError("val_file goes with files; hold a part of the texts out by val_fraction")
    form = TextFormat(config.normalize, lowercase=config.lowercase)
    is_binary = config.unit == "byte"
    read = []
    for number, each in enumerate(texts):
        name, text = each if isinstance(each, FileContent) else (f"text {number}", each)
        check_type(name, text, str | bytes, "a str, or bytes as of a file")
        if isinstance(text, bytes):
            text = _decode(name, text, config)
        try:
            text.encode(errors="surrogateescape" if is_binary else "strict")
        except UnicodeEncodeError as error:
            where = f"character {error.start:,} of {name}"
            raise CorpusError(f"{where} is half of a surrogate pair; remove it") from error
        read.append(text if is_binary else text.replace("\r\n", "\n").replace("\r", "\n"))
    if config.record_kind in ("row", "speech", "pair") or config.label == "prefix":
        return tuple(read)  # columns, patterns and labels are those of the text as it was given
    return tuple(map(form.normalized, read))


def _decode(name: str, data: bytes, config: TextConfig) -> str:
    """Return bytes as characters, by way of a file, so that both are read alike."""
    options = {key: getattr(config, key) for key in ("encoding", "errors", "unit")}
    with open_bytes(data, name) as source:
        return "".join(iter_text(inspect_sources([source], config), **options))


def _read_resumed(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    run: RunConfig,
    folder: RunFolder,
    *,
    has_texts: bool,
) -> TrainRequest:
    """Return the request to continue the run in `folder`, with what may change changed."""
    last, damaged = folder.read_state()
    before = last.summary.get("settings")
    paths = last.summary.get("corpus", {}).get("paths")
    if not isinstance(before, dict) or not isinstance(paths, list):
        raise CheckpointError(f"{folder.path} does not say how it was trained; start a new run")
    # The file may be that of an older version.
    before = config.OLD_TEXT_SETTINGS | config.with_new_names(before)
    if run.teachers:
        raise ConfigError(
            f"run {folder.name!r} continues with the teachers that it has; leave --teachers out"
        )
    given = {key: value for key, value in settings.items() if key not in _NOT_KEPT}
    for key, value in given.items():
        if key not in _CHANGEABLE:
            _refuse_change(folder.name, key, value, before, last)
    if given.keys() & set(LENGTHS):  # a new length replaces the old one, of any kind
        is_same = all(given.get(name) == before.get(name) for name in LENGTHS)
        before = before | dict.fromkeys(LENGTHS if is_same else (*LENGTHS, "length_history"))
    text, train, _ = split_settings(before | given)
    distill_from = tuple(before.get("distill_from", ()))
    run = replace(run, init_from=before.get("init_from"), distill_from=distill_from)
    paths = [] if has_texts else list(corpus) or paths
    if not paths and not has_texts:
        raise ConfigError(
            f"run {folder.name!r} was trained on texts in memory; give them again, in Python: "
            f"charrnn.train(texts=..., resume={folder.name!r})"
        )
    teachers = _read_teachers(run, folder)
    return TrainRequest(paths, text, train, run, folder, last, tuple(damaged), teachers=teachers)


def _refuse_change(
    name: str, key: str, value: object, before: Mapping[str, Any], last: ModelFile
) -> None:
    """Refuse another value of a setting that a resumed run keeps; a command may repeat its own."""
    kept = before.get(key)
    chosen = (config.as_dict(last.config) | (last.progress or {}).get("plan", {})).get(key)
    value = list(value) if isinstance(value, tuple) else value
    if value in (kept, chosen):
        return
    is_chosen = kept is None and chosen is not None
    in_force = f"{chosen!r} (chosen)" if is_chosen else "not set" if kept is None else repr(kept)
    flag = "--" + key.replace("_", "-")
    is_fixed = key in (*SHAPE, "init_from")  # a run from its weights could not change it either
    way_out = "" if is_fixed else f" from its weights, by --init-from {shlex.quote(name)}"
    raise ConfigError(
        f"{key} of run {name!r} is {in_force} and cannot change; leave {flag} out, or start a new "
        f"run{way_out}"
    )


@dataclass(frozen=True)
class UnfinishedRun:
    """A run of the same command that can continue, and the step that it was saved after."""

    run: RunFolder
    step: int


def find_unfinished(request: TrainRequest, corpus: Corpus) -> UnfinishedRun | None:
    """Return the newest unfinished run of the same settings and text, or that of the name given.

    None also where the request says which run it is for: a resumed one, or a new one.
    """
    is_new = request.run.on_unfinished == "new" or request.run.overwrite
    if request.resumed is not None or is_new:
        return None
    name = request.run.name
    checkpoints = Path(request.run.checkpoints)
    runs = list_runs(checkpoints) if name is None else [named_run(name, checkpoints)]
    return next(
        filter(None, (each.unfinished for each in _iter_alike(runs, request, corpus))), None
    )


@dataclass(frozen=True)
class AlikeRun:
    """A run of the same settings and text, and its newest state."""

    run: RunFolder
    state: ModelFile

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""
        return bool((self.state.progress or {}).get("is_finished"))

    @property
    def unfinished(self) -> UnfinishedRun | None:
        """The run as one that can continue, unless it has ended."""
        if self.is_finished:
            return None
        return UnfinishedRun(self.run, int((self.state.progress or {})["step"]))


def find_alike(request: TrainRequest, corpus: Corpus, ending: str = "") -> AlikeRun | None:
    """Return the newest run of the same settings and text, whatever its name; a finished one first.

    ending: of the name that it has unless somebody renamed it; such a run goes before others.

    None also where the request asks for a new run.
    """
    if request.run.on_unfinished == "new" or request.run.overwrite:
        return None
    runs = list_runs(Path(request.run.checkpoints))
    stem = request.run.name or ""
    runs.sort(key=lambda run: not (run.name.endswith(ending) and run.name.startswith(stem)))
    alike = list(_iter_alike(runs, request, corpus))
    return next((each for each in alike if each.is_finished), next(iter(alike), None))


def _iter_alike(
    runs: Iterable[RunFolder], request: TrainRequest, corpus: Corpus
) -> Iterator[AlikeRun]:
    """Yield those of the runs that have the same settings and text."""
    for run in runs:
        state = _state_of(run, request, corpus)
        if state is not None:
            yield AlikeRun(run, state)


def _state_of(run: RunFolder, request: TrainRequest, corpus: Corpus) -> ModelFile | None:
    """Return the newest state of a run of the same settings and text; None of any other run."""
    try:
        # The small file first: most runs differ there, and a state may be hundreds of megabytes.
        # Such a run wrote it byte for byte.
        if read_note(run.path / SETTINGS) != format_toml(request.config_file).encode():
            return None
        last, _ = run.read_state()
    except (CheckpointError, OSError, ValueError):  # no such run, or one that cannot continue
        return None
    sha256 = last.summary.get("corpus", {}).get("sha256")
    own = config.with_new_names(last.summary.get("settings", {}))
    # The small file may have been exchanged: what shapes the model is asked of the state itself.
    is_same = all(own.get(k) == v for k, v in request.settings.items() if k not in _CHANGEABLE)
    return last if sha256 == corpus.sha256 and is_same else None

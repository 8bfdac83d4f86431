"""What a run is asked for: settings by name become the corpus and three frozen settings objects.

A new run may start from a model's weights, and then has that model's shape. A resumed run starts
from the settings in its file; those that shape the model or the text cannot change. The same
command given again finds the run that it left unfinished. tasks/train.py calls all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import charrnn.config as config
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import SETTINGS, DamagedState, RunFolder, format_toml
from charrnn.checkpoint.run_store import find_model, find_run, list_runs
from charrnn.config import LENGTHS, RunConfig, TextConfig, TrainConfig
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.storage import read_note
from charrnn.tasks.finetune import InitialModel, required_vocab, with_model_shape
from charrnn.text.corpus import Corpus
from charrnn.text.vocab import Vocab

_MACHINE = {"device", "precision", "threads", "cuda_graph", "deterministic"}
_CHANGEABLE = {*LENGTHS, *_MACHINE, "patience", "eval_every", "val_file"}
_NOT_KEPT = ("resume", "checkpoints", "on_unfinished", "keep_checkpoints")  # not in a run's file


@dataclass(frozen=True)
class TrainRequest:
    """A run that is about to start: a new one, or one that continues.

    resumed: the folder of a run that continues; last: the state it continues from; damaged: newer
    states that could not be read. initial: the model named by run.init_from, for a new run.
    """

    corpus_paths: list[str]
    text: TextConfig
    train: TrainConfig
    run: RunConfig
    resumed: RunFolder | None = None
    last: ModelFile | None = None
    damaged: tuple[DamagedState, ...] = ()
    initial: ModelFile | None = None

    def resume(self, folder: RunFolder) -> TrainRequest:
        """Return the request to continue a run of the same settings.

        Raises:
            CheckpointError: it has no state to continue from.
        """
        last, damaged = folder.read_state()
        return replace(self, resumed=folder, last=last, damaged=tuple(damaged), initial=None)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of text and training, and the model to start from, as plain values."""
        origin = {} if self.run.init_from is None else {"init_from": self.run.init_from}
        return config.as_dict(self.text) | config.as_dict(self.train) | origin

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

    def initial_model(self, vocab: Vocab) -> InitialModel | None:
        """Return what a new run of vocabulary `vocab` starts from, if that is a model."""
        if self.initial is None or self.run.init_from is None:
            return None
        return InitialModel.of(self.run.init_from, self.initial, vocab)

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
    if unknown := sorted(set(settings) - set().union(*names.values())):
        new_name = config.RENAMED.get(unknown[0])
        hint = f"it is {new_name!r} now" if new_name else "charrnn train --help-all lists them"
        raise ConfigError(f"there is no setting {unknown[0]!r}; {hint}")
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
        raise ConfigError(f"--resume continues {run.resume!r} under its own name; drop --name")
    return find_run(run.resume, Path(run.checkpoints))


def read_request(
    corpus: Sequence[str], settings: Mapping[str, Any], resumed: RunFolder | None = None
) -> TrainRequest:
    """Return what is asked for; for a resumed run, on top of the settings in its file.

    Raises:
        ConfigError: as `split_settings`, or there is no corpus, or a resumed run would change, or
            the model to start from has another shape than is asked for.
        CheckpointError: the run to resume has no state to continue from, or is damaged; there is
            no such model to start from, or it is damaged.
        CorpusError: a file name is not text.
    """
    text, train, run = split_settings(settings)
    for name in (*corpus, text.val_file or "", run.init_from or ""):
        try:
            name.encode()  # a run's files name it in UTF-8
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"the file name {name!r} is not valid UTF-8; rename the file"
            ) from error
    if resumed is not None:
        return _read_resumed(corpus, settings, run, resumed)
    if not corpus:
        raise ConfigError("no corpus is given; name a text file, as in: charrnn train book.txt")
    if "-" in corpus and text.val_file == "-":
        raise ConfigError("corpus and --val-file are both standard input; name a file for one")
    if run.init_from is None:
        return TrainRequest(list(corpus), text, train, run)
    # A new run that starts from a model takes its shape, and its document end unless given one.
    initial = read_model(find_model(run.init_from, Path(run.checkpoints)))
    own_end = initial.summary.get("settings", {}).get("document_end")
    settings = {**settings, "document_end": settings.get("document_end") or own_end}
    text, train, run = split_settings(with_model_shape(initial.config, run.init_from, settings))
    return TrainRequest(list(corpus), text, train, run, initial=initial)


def _read_resumed(
    corpus: Sequence[str], settings: Mapping[str, Any], run: RunConfig, folder: RunFolder
) -> TrainRequest:
    """Return the request to continue the run in `folder`, with what may change changed."""
    last, damaged = folder.read_state()
    before = last.summary.get("settings")
    paths = last.summary.get("corpus", {}).get("paths")
    if not isinstance(before, dict) or not isinstance(paths, list):
        raise CheckpointError(f"{folder.path} does not say how it was trained; start a new run")
    before = config.with_new_names(before)  # of a file that an older version wrote
    # The same value again is no change: a command may repeat all its options.
    given = {key: value for key, value in settings.items() if key not in _NOT_KEPT}
    for key, value in given.items():
        if key not in _CHANGEABLE and value != before.get(key):
            raise ConfigError(
                f"{key} of run {folder.name!r} is {before.get(key)!r} and cannot change; "
                "leave it out, or start a new run"
            )
    if given.keys() & set(LENGTHS):
        before = before | dict.fromkeys(LENGTHS)  # a new length replaces the old one, of any kind
    text, train, _ = split_settings(before | given)
    run = replace(run, init_from=before.get("init_from"))
    paths = list(corpus) or paths
    return TrainRequest(paths, text, train, run, folder, last, tuple(damaged))


@dataclass(frozen=True)
class UnfinishedRun:
    """A run of the same command that can continue, and the step that it was saved after."""

    run: RunFolder
    step: int


def find_unfinished(request: TrainRequest, corpus: Corpus) -> UnfinishedRun | None:
    """Return the newest unfinished run of the same settings and text, or that of the name given.

    None also where the request says which run it is for: a resumed one, or a new one.
    """
    if request.resumed is not None or request.run.on_unfinished == "new":
        return None
    name = request.run.name
    checkpoints = Path(request.run.checkpoints)
    runs = list_runs(checkpoints) if name is None else [RunFolder(checkpoints / name)]
    settings = format_toml(request.config_file)  # byte for byte what such a run wrote
    for run in runs:
        step = _unfinished_step(run, settings, corpus)
        if step is not None:
            return UnfinishedRun(run, step)
    return None


def _unfinished_step(run: RunFolder, settings: str, corpus: Corpus) -> int | None:
    """Return the step that a run was saved after; None if it has ended or is another's."""
    try:
        # The small file first: most runs differ there, and a state may be hundreds of megabytes.
        if read_note(run.path / SETTINGS) != settings.encode():
            return None
        last, _ = run.read_state()
    except (CheckpointError, OSError, ValueError):  # no such run, or one that cannot continue
        return None
    progress = last.progress or {}
    sha256 = last.summary.get("corpus", {}).get("sha256")
    if progress.get("is_finished") or sha256 != corpus.sha256:
        return None
    return int(progress["step"])

"""What a run is asked for: settings by name become a corpus and three frozen settings objects.

A resumed run starts from the settings in its file; those that shape the model or the text cannot
change on the way. A new run may start from a model's weights, and then has that model's shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import DamagedState, RunFolder
from charrnn.checkpoint.run_store import find_model, find_run
from charrnn.config import (
    LENGTHS,
    RENAMED,
    RunConfig,
    TextConfig,
    TrainConfig,
    as_dict,
    with_new_names,
)
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.tasks.finetune import InitialModel, required_vocab, with_document_end, with_model_shape
from charrnn.text.vocab import Vocab

_HELP_HINT = "charrnn train --help-all lists them"
_MACHINE = {"device", "precision", "threads", "cuda_graph", "deterministic"}
_CHANGEABLE = {*LENGTHS, *_MACHINE, "patience", "eval_every", "val_file"}


@dataclass(frozen=True)
class TrainRequest:
    """A run that is about to start: new, or taken up from a file (`last`).

    initial: the model that a new run starts from, which run.init_from names. damaged: states newer
    than `last` that could not be read.
    """

    corpus_paths: list[str]
    text: TextConfig
    train: TrainConfig
    run: RunConfig
    last: ModelFile | None = None
    initial: ModelFile | None = None
    damaged: tuple[DamagedState, ...] = ()

    def taken_up(self, folder: RunFolder) -> TrainRequest:
        """Give the request to go on with a run of the same settings."""
        last, damaged = folder.read_state()
        return replace(self, last=last, initial=None, damaged=tuple(damaged))

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of text and training, and the model started from, as plain values."""
        origin = {} if self.run.init_from is None else {"init_from": self.run.init_from}
        return as_dict(self.text) | as_dict(self.train) | origin

    @property
    def known(self) -> Vocab | None:
        """The tokens that the corpus has besides its own, where a model is started from."""
        if self.initial is not None:
            return self.initial.vocab
        return None if self.last is None else required_vocab(self.last)

    def inherited(self, vocab: Vocab) -> InitialModel | None:
        """Give what a new run on a text of `vocab` starts from, if it is a model."""
        if self.initial is None or self.run.init_from is None:
            return None
        return InitialModel.of(self.run.init_from, self.initial, vocab)

    def origin(self, vocab: Vocab) -> dict[str, Any]:
        """Give what the summary of the run's files says of that model; nothing if there is none."""
        if inherited := self.inherited(vocab):
            return {"init_from": inherited.as_json()}
        before = {} if self.last is None else self.last.summary
        return {key: value for key, value in before.items() if key == "init_from"}


def split_settings(settings: Mapping[str, Any]) -> tuple[TextConfig, TrainConfig, RunConfig]:
    """Sort settings into their classes.

    Raises:
        ConfigError: one is unknown, out of range, or clashes with another.
    """
    classes = (TextConfig, TrainConfig, RunConfig)
    names = {cls: {item.name for item in fields(cls)} for cls in classes}
    if unknown := sorted(set(settings) - set().union(*names.values())):
        hint = f"it is {RENAMED[unknown[0]]!r} now" if unknown[0] in RENAMED else _HELP_HINT
        raise ConfigError(f"there is no setting {unknown[0]!r}; {hint}")
    text, train, run = ({k: settings[k] for k in settings if k in names[c]} for c in classes)
    return TextConfig(**text), TrainConfig(**train), RunConfig(**run)


def find_resumed(settings: Mapping[str, Any]) -> RunFolder | None:
    """Give the folder of the run that the settings ask to go on with, if they do.

    Raises:
        ConfigError: as `split_settings`, or a resumed run is given a name.
        CheckpointError: there is no such run.
    """
    _, _, run = split_settings(settings)
    if run.resume is None:
        return None
    if run.name is not None:
        raise ConfigError(f"--resume goes on with {run.resume!r} under its own name; drop --name")
    return find_run(run.resume, Path(run.checkpoints))


def read_request(
    corpus: Sequence[str], settings: Mapping[str, Any], resumed: RunFolder | None = None
) -> TrainRequest:
    """Give what is asked for; of a run that is resumed, on top of what it was asked for before.

    Raises:
        ConfigError: as `split_settings`, or there is no corpus, or a resumed run would change, or
            the model to start from has another shape than is asked for.
        CheckpointError: the run to resume has nothing to go on from, or is damaged; there is no
            such model to start from, or it is damaged.
        CorpusError: a file name is not text.
    """
    text, train, run = split_settings(settings)
    for name in (*corpus, text.val_file or "", run.init_from or ""):
        _check_spelling(name)
    if resumed is not None:
        return _resume(corpus, settings, run, resumed)
    if not corpus:
        raise ConfigError("no corpus is given; name a text file, as in: charrnn train book.txt")
    if "-" in corpus and text.val_file == "-":
        raise ConfigError("corpus and --val-file are both standard input; name a file for one")
    if run.init_from is None:
        return TrainRequest(list(corpus), text, train, run)
    initial = read_model(find_model(run.init_from, Path(run.checkpoints)))
    settings = with_model_shape(initial.config, run.init_from, with_document_end(initial, settings))
    text, train, run = split_settings(settings)
    return TrainRequest(list(corpus), text, train, run, initial=initial)


def _check_spelling(name: str) -> None:
    """Refuse a file name that could not be written into a run's files."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"the file name {name!r} is not valid UTF-8; rename the file") from error


def _resume(
    corpus: Sequence[str], settings: Mapping[str, Any], run: RunConfig, folder: RunFolder
) -> TrainRequest:
    last, damaged = folder.read_state()
    before, paths = last.summary.get("settings"), last.summary.get("corpus", {}).get("paths")
    if not isinstance(before, dict) or not isinstance(paths, list):
        raise CheckpointError(f"{folder.path} does not say how it was trained; start a new run")
    before = with_new_names(before)
    own = ("resume", "checkpoints", "on_unfinished", "keep_checkpoints")
    asked = {key: value for key, value in settings.items() if key not in own}
    for key, value in asked.items():
        if key not in _CHANGEABLE and value != before.get(key):
            raise ConfigError(
                f"{key} of run {folder.name!r} is {before.get(key)!r} and cannot change on the "
                "way; leave it out, or start a new run"
            )
    if asked.keys() & set(LENGTHS):
        before = before | dict.fromkeys(LENGTHS)
    text, train, _ = split_settings(before | asked)
    run = replace(run, init_from=before.get("init_from"))
    return TrainRequest(list(corpus) or paths, text, train, run, last, damaged=tuple(damaged))

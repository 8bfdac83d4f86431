"""What a run is asked for: settings by name become a corpus and three frozen settings objects.

A resumed run starts from the settings in its file; those that shape the model or the text cannot
change on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from charrnn.checkpoint.format import ModelFile
from charrnn.checkpoint.store import RunFolder, find_run, read_last
from charrnn.config import LENGTHS, LIBRARY_FOLDER, RunConfig, TextConfig, TrainConfig, as_dict
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.text.library import LIBRARY, get_corpus

_CHANGEABLE = {*LENGTHS, "patience", "eval_every", "device", "precision", "threads", "val_file"}


@dataclass(frozen=True)
class Request:
    """A run that is about to start: new, or taken up from a file (`last`)."""

    corpus_paths: list[str]
    text: TextConfig
    train: TrainConfig
    run: RunConfig
    last: ModelFile | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of text and training, as plain values."""
        return as_dict(self.text) | as_dict(self.train)


def split_settings(settings: Mapping[str, Any]) -> tuple[TextConfig, TrainConfig, RunConfig]:
    """Sort settings into their classes.

    Raises:
        ConfigError: one is unknown, out of range, or clashes with another.
    """
    classes = (TextConfig, TrainConfig, RunConfig)
    names = {cls: {item.name for item in fields(cls)} for cls in classes}
    if unknown := sorted(set(settings) - set().union(*names.values())):
        raise ConfigError(f"there is no setting {unknown[0]!r}; charrnn train --help lists them")
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
) -> Request:
    """Give what is asked for; of a run that is resumed, on top of what it was asked for before.

    Raises:
        ConfigError: as `split_settings`, or there is no corpus, or a resumed run would change.
        CheckpointError: the run to resume has nothing to go on from, or is damaged.
        CorpusError: a file name is not text.
    """
    text, train, run = split_settings(settings)
    for name in (*corpus, text.val_file or ""):
        _check_spelling(name)
    if resumed is not None:
        return _resume(corpus, settings, run, resumed)
    if not corpus:
        raise ConfigError("no corpus is given; name a text file, as in: charrnn train book.txt")
    if "-" in corpus and text.val_file == "-":
        raise ConfigError("corpus and --val-file are both standard input; name a file for one")
    return Request(list(corpus), text, train, run)


def _check_spelling(name: str) -> None:
    """Refuse a file name that could not be written into a run's files."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(f"the file name {name!r} is not valid UTF-8; rename the file") from error


def locate_texts(paths: Sequence[str]) -> list[str]:
    """Turn library names into their files, made or fetched if need be; leave anything else.

    Raises:
        CorpusError: a named text cannot be fetched.
    """
    folder = Path(LIBRARY_FOLDER)
    named = {path for path in paths if path in LIBRARY and not Path(path).exists()}
    return [str(get_corpus(path, folder)) if path in named else path for path in paths]


def _resume(
    corpus: Sequence[str], settings: Mapping[str, Any], run: RunConfig, folder: RunFolder
) -> Request:
    last = read_last(folder)
    before, paths = last.summary.get("settings"), last.summary.get("corpus", {}).get("paths")
    if not isinstance(before, dict) or not isinstance(paths, list):
        raise CheckpointError(f"{folder.last} does not say how it was trained; start a new run")
    asked = {k: v for k, v in settings.items() if k not in ("resume", "checkpoints")}
    for key, value in asked.items():
        if key not in _CHANGEABLE and value != before.get(key):
            raise ConfigError(
                f"{key} of run {folder.name!r} is {before.get(key)!r} and cannot change on the "
                "way; leave it out, or start a new run"
            )
    if asked.keys() & set(LENGTHS):
        before = before | dict.fromkeys(LENGTHS)
    text, train, _ = split_settings(before | asked)
    return Request(list(corpus) or paths, text, train, run, last)

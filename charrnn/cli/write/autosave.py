"""The text of a session on the disk: read, saved, and kept as it grows so that no end loses it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from charrnn.cli.inputs import read_text
from charrnn.errors import ConfigError
from charrnn.storage import write_atomically


def with_plain_newlines(text: str) -> str:
    r"""Give the text with \n at the ends of its lines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def find_file(name: str) -> Path:
    """Give the file that was named, ~ being the home folder.

    Raises:
        ConfigError: the name is none.
    """
    if name in ("", "-") or "\0" in name:
        raise ConfigError(f"{name!r} names no file; give one such as draft.txt")
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~ of nobody
        return Path(name)


def read_draft(path: Path) -> str:
    """Give the text of a file.

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    return read_text("the text", str(path), "a file's name")


class Autosave:
    """Where the text of one session lies: where it was saved, else in a file that keeps it.

    That file is a new one of each session, under $XDG_STATE_HOME or ~/.local/state.
    """

    def __init__(self) -> None:
        home = os.environ.get("XDG_STATE_HOME")
        folder = (Path(home) if home else Path.home() / ".local" / "state") / "charrnn"
        name = f"{time.strftime('writing-%Y-%m-%d-%H%M%S')}-{os.getpid()}"
        self.path = folder / f"{name}.txt"
        self._edited = folder / f"{name}-edited.txt"
        self._kept = ""
        self._saved, self._saved_at = "", ""

    def keep(self, text: str) -> None:
        """See that `text` lies in a file.

        Raises:
            StorageError: it cannot be written.
        """
        if text in ("", self._saved):
            with suppress(OSError):
                self.path.unlink()
            self._kept = ""
        elif text != self._kept:
            write_atomically(self.path, text)
            self._kept = text

    def save(self, name: str, text: str, *, may_replace: bool) -> str:
        """Write `text` to the file `name`, or without one where it was saved last; give its path.

        Raises:
            ConfigError: what is there is no file, or that of something else.
            StorageError: it cannot be written.
        """
        path = find_file(name or self._saved_at)
        if path.exists() and not path.is_file():  # a folder; a device, which would be replaced
            raise ConfigError(f"{path} is no plain file; give another name")
        is_known = may_replace or str(path) == self._saved_at
        if not is_known and path.exists():
            raise ConfigError(f"{path} is there already; /save! {path} replaces it")
        write_atomically(path, text)
        self._saved, self._saved_at = text, str(path)
        return self._saved_at

    def edit(self, text: str, open_editor: Callable[[Path], None]) -> str:
        """Give what a person made of `text`, or of what the session could not take last time."""
        if not self._edited.exists():
            write_atomically(self._edited, text)
        open_editor(self._edited)
        edited = read_draft(self._edited)
        return edited if text.endswith("\n") else edited.removesuffix("\n")  # editors add one

    def drop_edited(self) -> None:
        """Forget what was edited: the session has it."""
        self._edited.unlink()

    def describe_edited(self) -> str:
        """Say where it is instead."""
        return f"what you wrote is in {self._edited}, and /edit opens that"

    def describe(self, text: str, model: str) -> str:
        """Say where `text`, which was kept, lies, and how to go on with it."""
        if not text:
            return "nothing was written"
        if text == self._saved:
            return f"the text is in {self._saved_at}"
        path = shlex.quote(str(self.path))
        return f"the text is kept; go on with: charrnn write {model} --prompt-file {path}"

"""The text of a session on the disk: read, saved, and autosaved so that no end of it loses text."""

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
    r"""Return the text with \n at the ends of its lines.

    >>> with_plain_newlines("one\r\ntwo\rthree")
    'one\ntwo\nthree'
    """
    return text.replace("\r\n", "\n").replace("\r", "\n")


def find_file(name: str) -> Path:
    """Return the path of the file that was named; ~ is the home folder.

    Raises:
        ConfigError: the name cannot be a file's.
    """
    if name in ("", "-") or "\0" in name:
        raise ConfigError(f"{name!r} is not a file name; give one such as draft.txt")
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~ of an unknown user
        return Path(name)


def read_draft(name: str) -> str:
    """Return the text of the file that was named.

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    return read_text("the text", str(find_file(name)))


class Autosave:
    """The files of one session: the one that was saved, else the one that is autosaved.

    The latter is new in each session, in $XDG_STATE_HOME/charrnn or ~/.local/state/charrnn.
    """

    def __init__(self) -> None:
        home = os.environ.get("XDG_STATE_HOME")
        folder = (Path(home) if home else Path.home() / ".local" / "state") / "charrnn"
        # The process id, as two sessions may start in the same second.
        name = f"{time.strftime('writing-%Y-%m-%d-%H%M%S')}-{os.getpid()}"
        self.path = folder / f"{name}.txt"
        self.edit_path = folder / f"{name}-edited.txt"
        self._autosaved_text = ""
        self._saved_text = ""
        self._saved_path = ""

    def update(self, text: str) -> None:
        """Make sure that `text` is in a file.

        Raises:
            StorageError: it cannot be written.
        """
        if text in ("", self._saved_text):  # a second copy would only confuse
            with suppress(OSError):
                self.path.unlink()
            self._autosaved_text = ""
        elif text != self._autosaved_text:
            write_atomically(self.path, text)
            self._autosaved_text = text

    def save(self, name: str, text: str, *, may_replace: bool) -> str:
        """Write `text` to the file `name`, or if that is empty to the last one; return its path.

        Raises:
            ConfigError: another file or a folder is there.
            StorageError: it cannot be written.
        """
        path = find_file(name or self._saved_path)
        if path.exists() and not path.is_file():  # a folder, or a device, which would be replaced
            raise ConfigError(f"{path} is no plain file; give another name")
        is_there = path.exists() or path.is_symlink()  # a link that leads nowhere, too
        if is_there and not may_replace and str(path) != self._saved_path:
            raise ConfigError(f"{path} is there already; /save! {path} replaces it")
        write_atomically(path, text)
        self._saved_text = text
        self._saved_path = str(path)
        return self._saved_path

    def edit(self, text: str, open_editor: Callable[[Path], None]) -> str:
        """Return `text` as edited in `edit_path`, or the refused edit that is still there."""
        if not self.edit_path.exists():
            write_atomically(self.edit_path, text)
        open_editor(self.edit_path)
        edited = read_text("the text", str(self.edit_path))
        return edited if text.endswith("\n") else edited.removesuffix("\n")  # editors add one

    def describe(self, text: str, model: str) -> str:
        """Return where `text` is, and the command that continues it."""
        if not text:
            return "nothing was written"
        if text == self._saved_text:
            return f"the text is in {self._saved_path}"
        path = shlex.quote(str(self.path))
        return f"the text is saved; continue with: charrnn write {model} --prompt-file {path}"

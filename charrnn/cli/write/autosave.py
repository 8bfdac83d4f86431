"""The text of a session on disk: read, saved, and saved automatically after every turn."""

import os
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from charrnn.cli.inputs import read_text
from charrnn.errors import ConfigError
from charrnn.storage import write_atomically, write_errors


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


class _KeptText:
    """A text in a file, for as long as nobody else changes, moves or replaces that file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""
        self._stamp: tuple[int, ...] | None = None

    def write(self, text: str) -> None:
        write_atomically(self.path, text)
        self._text = text
        self._stamp = self._read_stamp()

    def is_intact(self) -> bool:
        """Return whether the file is there as it was written."""
        return self._stamp is not None and self._stamp == self._read_stamp()

    def holds(self, text: str) -> bool:
        """Return whether `text` is safe in the file."""
        return text == self._text and self.is_intact()

    def _read_stamp(self) -> tuple[int, ...] | None:
        with suppress(OSError):
            status = self.path.lstat()  # a link in its place is another file
            return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns
        return None


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
        self._autosaved = _KeptText(self.path)
        self._saved: _KeptText | None = None

    def update(self, text: str) -> None:
        """Make sure that `text` is in a file.

        Raises:
            StorageError: it cannot be written.
        """
        if not text or self._is_saved(text):  # a second copy would only confuse
            with suppress(OSError):
                self.path.unlink()
        elif not self._autosaved.holds(text):
            self._autosaved.write(text)

    def save(self, name: str, text: str, *, may_replace: bool) -> str:
        """Write `text` to the file `name`, or if that is empty to the last one; return its path.

        Raises:
            ConfigError: another file or a folder is there, or somebody else changed the last one.
            StorageError: it cannot be written.
        """
        path = find_file(name or (str(self._saved.path) if self._saved else ""))
        with write_errors(path):  # a name may be too long to ask for
            is_there = path.exists() or path.is_symlink()  # a link that leads nowhere, too
            is_file = path.is_file() or not path.exists()
        if not is_file:  # a folder, or a device, which would be replaced
            raise ConfigError(f"{path} is not a regular file; give another name")
        is_last = self._saved is not None and path == self._saved.path
        is_own = self._saved is not None and is_last and self._saved.is_intact()
        if is_there and not may_replace and not is_own:
            what = "has changed since it was saved" if is_last else "already exists"
            raise ConfigError(f"{path} {what}; /save! {path} replaces it")
        saved = _KeptText(path)
        saved.write(text)
        self._saved = saved
        return str(path)

    def _is_saved(self, text: str) -> bool:
        return self._saved is not None and self._saved.holds(text)

    def edit(self, text: str, open_editor: Callable[[Path], None]) -> str:
        """Return `text` as edited in `edit_path`, or the refused edit that is still there."""
        if not self.edit_path.exists():
            write_atomically(self.edit_path, text)
        open_editor(self.edit_path)
        edited = read_text("the text", str(self.edit_path))
        return edited if text.endswith("\n") else edited.removesuffix("\n")  # editors add one

    def forget_edit(self) -> None:
        """Remove what was edited, once it is in the text.

        Raises:
            StorageError: it cannot be removed.
        """
        with write_errors(self.edit_path):
            self.edit_path.unlink(missing_ok=True)

    def describe(self, text: str, model: str) -> str:
        """Return where `text` is, and the command that continues it."""
        if not text:
            return "nothing was written"
        if self._saved is not None and self._is_saved(text):
            return f"the text is in {self._saved.path}"
        path = shlex.quote(str(self.path))
        return f"the text is saved; continue with: charrnn write {model} --prompt-file {path}"

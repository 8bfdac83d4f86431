"""The text of a session on disk: found again, read, saved, and autosaved after every turn.

Texts lie in one visible folder in the home folder, so that a file manager shows them, and so that a
session finds them from whichever folder it is started in. The settings of a text are no text of the
person's: they lie in the state folder, in a file of the text's name.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.cli.inputs import read_text
from charrnn.errors import ConfigError, StorageError
from charrnn.storage import to_bytes, write_atomically, write_errors

TEXTS_FOLDER = "~/charrnn-texts"
# The model's name and when the text was begun, as Autosave names its files. An edit that was
# refused has another name: it is no text yet.
_NAME = re.compile(r"(.+)-\d{4}-\d\d-\d\d-\d{6}(-\d+)*\.txt")


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
    except RuntimeError:  # there is no home folder, or no such user
        return Path(name.removeprefix("~/"))


def read_draft(name: str) -> str:
    """Return the text of the file that was named.

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    return read_text("the text", str(find_file(name)))


@dataclass(frozen=True)
class SavedText:
    """A text of an earlier session. model: its name, as that of the file has it."""

    path: Path
    text: str
    model: str
    written_seconds: float  # since the epoch

    def is_by(self, model: str) -> bool:
        """Return whether it was written with the model of that name."""
        return self.model == _as_file_name(model)


def find_last_text(folder: Path, model: str) -> SavedText | None:
    """Return the text that was saved last, of this model if there is one, else of any."""
    dated = sorted(_iter_saved(folder, _as_file_name(model)), reverse=True)
    for _, written_seconds, path, writer in dated:
        with suppress(ConfigError):  # it cannot be read
            text = read_draft(str(path))
            if text.strip():
                return SavedText(path, text, writer, written_seconds)
    return None


def _iter_saved(folder: Path, model: str) -> Iterator[tuple[bool, float, Path, str]]:
    """Yield saved texts: whether by `model`, when (seconds), path, and the model's name."""
    for place in (folder, _state_folder()):  # where older versions saved them
        with suppress(OSError):
            for path in place.iterdir():
                if (match := _NAME.fullmatch(path.name)) and path.is_file():
                    yield match[1] == model, path.stat().st_mtime, path, match[1]


def is_autosaved(path: Path, folder: Path) -> bool:
    """Return whether a file is one that sessions in `folder` save."""
    is_inside = path.absolute().parent == folder.absolute()
    return is_inside and _NAME.fullmatch(path.name) is not None


def _as_file_name(model: str) -> str:
    return re.sub(r"[^\w-]+", "-", model)[:80]


def _state_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else find_file("~/.local/state")) / "charrnn"


def _settings_path(path: Path) -> Path:
    return _state_folder() / f"{path.stem}.json"


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a text was written with; none where they are lost."""
    with suppress(OSError, ValueError, RecursionError):
        values = json.loads(_settings_path(path).read_text("utf-8"))
        return values if isinstance(values, dict) else {}
    return {}


class _KeptText:
    """A text in a file, for as long as nobody else changes, moves or replaces that file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""
        self._stamp: tuple[int, ...] | None = None

    def write(self, text: str) -> None:
        write_atomically(self.path, text)
        self.note(text)

    def note(self, text: str) -> None:
        """Take note that the file has this text."""
        self._text = text
        self._stamp = self._read_stamp()

    def is_intact(self) -> bool:
        """Return whether the file is there as it was written."""
        return self._stamp is not None and self._stamp == self._read_stamp()

    def is_changed(self) -> bool:
        """Return whether the file is there with another text."""
        with suppress(OSError):
            is_other = not self.is_intact() and not self.path.is_symlink()
            return is_other and self.path.read_bytes() != to_bytes(self._text)
        return False

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

    The latter is `path`: that of the text which is continued, else a new one in `folder`.
    """

    def __init__(
        self, folder: Path, model: str, text: str = "", continued: Path | None = None
    ) -> None:
        """Begin with `text`; continued: its file, if it is one of ours."""
        self._folder = folder
        self._model = _as_file_name(model)
        self._autosaved = _KeptText(continued or self._new_path())
        self._is_continued = continued is not None
        self._start = text  # a text that only repeats another file needs no file
        if continued:
            self._start = ""
            self._autosaved.note(text)
        self._saved: _KeptText | None = None
        self._settings = read_settings(self.path)

    @property
    def path(self) -> Path:
        """Where the text is saved after every turn."""
        return self._autosaved.path

    @property
    def edit_path(self) -> Path:
        """Where the text is edited."""
        return self.path.with_name(f"{self.path.stem}-edited.txt")

    def update(self, text: str, settings: dict[str, Any] | None = None) -> bool:
        """Make sure that `text` is in a file; return whether that became another one.

        settings: those to continue it with.

        Raises:
            StorageError: it cannot be written.
        """
        if text in ("", self._start):
            if not self._is_continued and self._autosaved.is_intact():
                for path in (self.path, _settings_path(self.path)):
                    with suppress(OSError):
                        path.unlink()
            return False
        # The folder is there for everybody: what another program wrote stays as it is.
        is_moved = self._autosaved.is_changed()
        if is_moved:
            self._begin_file()
        if not self._autosaved.holds(text):
            try:
                self._autosaved.write(text)
            except StorageError:
                if not self._is_saved(text):  # else it is safe there
                    raise
                return False
        if settings is not None and settings != self._settings:
            with suppress(StorageError):  # without them the text can be continued as well
                write_atomically(_settings_path(self.path), json.dumps(settings))
                self._settings = settings
        return is_moved

    def leave_file(self) -> bool:
        """Leave the file, if there is one, to the text that it has; return whether there is one."""
        is_there = self._autosaved.is_intact()
        if is_there:
            self._begin_file()
        return is_there

    def _begin_file(self) -> None:
        """Autosave in a new file from here on."""
        self._autosaved = _KeptText(self._new_path())
        self._is_continued = False
        self._settings = {}

    def _new_path(self) -> Path:
        """Return the path of a file that is not there."""
        stem = f"{self._model}-{time.strftime('%Y-%m-%d-%H%M%S')}"
        names = (f"{stem}{suffix}.txt" for suffix in ("", *(f"-{i}" for i in range(2, 100))))
        paths = [self._folder / name for name in names]
        return next((path for path in paths if not path.exists()), paths[-1])

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
        is_new = not self.edit_path.exists()
        if is_new:
            write_atomically(self.edit_path, text)
        try:
            open_editor(self.edit_path)
        except BaseException:  # nothing was edited: the next time has a newer text to open
            if is_new:
                self.forget_edit()
            raise
        edited = read_text("the text", str(self.edit_path))
        return edited if text.endswith("\n") else edited.removesuffix("\n")  # editors add one

    def forget_edit(self) -> None:
        """Remove what was edited, once it is in the text or nobody could edit it.

        Raises:
            StorageError: it cannot be removed.
        """
        with write_errors(self.edit_path):
            self.edit_path.unlink(missing_ok=True)

    def find(self, text: str) -> Path | None:
        """Return the file that holds `text`, if it is worth one."""
        if self._saved is not None and self._is_saved(text):
            return self._saved.path
        return self.path if text not in ("", self._start) else None

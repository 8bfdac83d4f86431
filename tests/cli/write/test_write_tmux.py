"""A whole session of charrnn write in a real terminal: wide characters, Ctrl-C, paste, hang-up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.text.vocab import Vocab

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.02
LONG = 3_000_000  # characters; far more than are written before the test stops them

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Terminal:
    """A window of tmux, 80 × 24."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        own = {"LC_ALL": "C.UTF-8", "HOME": str(folder)}
        self._environment = os.environ | own | {"OPENBLAS_NUM_THREADS": "1"}
        self._tmux = ["tmux", "-u", "-L", f"charrnn-{os.getpid()}", "-f", os.devnull]
        size = ("-x", "80", "-y", "24")
        self.do("new-session", "-d", *size, "-c", str(folder), *command)

    def do(self, *arguments: str, stdin: str = "") -> str:
        """Run a command of tmux; return what it writes."""
        done = subprocess.run(
            [*self._tmux, *arguments],
            input=stdin.encode(),
            env=self._environment,
            capture_output=True,
            check=False,
        )
        return done.stdout.decode()

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names for them; anything else is typed."""
        self.do("send-keys", *keys)

    def rows(self) -> list[str]:
        """Return the rows of the screen down to the last that is not empty."""
        return self.do("capture-pane", "-p").rstrip().splitlines()

    def wait_for(self, is_there: Callable[[list[str]], bool]) -> list[str]:
        """Return the rows once they are as asked for."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            rows = self.rows()
            if is_there(rows):
                return rows
            time.sleep(POLL_SECONDS)
        raise AssertionError("\n".join(rows))

    def wait_for_prompt(self, *, below: str = "") -> list[str]:
        """Return the rows once a line can be typed, and what is waited for stands above it."""
        return self.wait_for(lambda rows: rows[-1:] == [">"] and below in "\n".join(rows))


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., ModelFile]
) -> Iterator[Terminal]:
    """Return a terminal in which a session begins; its model knows newline, space, 一二三."""
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("checkpoints/tiny")).save_best(replace(make_model(), vocab=Vocab("\n 一三二")))
    program = [sys.executable, "-m", "charrnn", "write", "tiny", "--seed", "1", "--length", "99"]
    terminal = Terminal(tmp_path, program)
    yield terminal
    terminal.do("kill-server")


def wait_until_autosaved(text: str) -> None:
    """Wait until a session has autosaved a text."""
    end, saved = time.monotonic() + PATIENCE_SECONDS, None
    while saved != text:
        assert time.monotonic() < end, saved
        time.sleep(POLL_SECONDS)
        saved = read_autosaved()


def wait_until_gone(process: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    end = time.monotonic() + PATIENCE_SECONDS
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(process, 0)
            time.sleep(POLL_SECONDS)
        raise AssertionError(process)


def read_autosaved() -> str | None:
    saved = Path("charrnn-texts").glob("tiny-*.txt")
    return next((path.read_text("utf-8") for path in saved), None)


def test_a_session_from_the_first_line_to_the_hang_up(terminal: Terminal) -> None:
    model = charrnn.load("tiny")
    terminal.wait_for_prompt(below="/h helps, /q quits.")

    # A turn of each, in characters of two columns.
    terminal.press("一二三", "Enter")
    terminal.wait_for(lambda rows: rows[-2:] == ["> 一二三", ">"])
    terminal.press("Enter")
    text = "一二三" + "".join(model.generate("一二三", seed=1, length=99))
    rows = terminal.wait_for(lambda rows: rows[-1] == ">" and len(rows) > 6)
    shown = "".join(rows[rows.index("> 一二三") + 2 : -1])
    assert shown.replace(" ", "") == "".join(text.split())

    # Tab ends a command, and a narrower terminal is written on as well.
    terminal.do("resize-window", "-x", "40")
    terminal.press("/und", "Tab")
    terminal.wait_for(lambda rows: rows[-1] == "> /undo")
    terminal.press("Enter")
    terminal.wait_for_prompt(below="3 characters so far, ending:\n一二三")
    wait_until_autosaved("一二三")

    # Ctrl-C clears a line, and stops the model but not the session.
    terminal.press("三三")
    terminal.wait_for(lambda rows: rows[-1] == "> 三三")
    terminal.press("C-c")
    terminal.wait_for_prompt(below="> 三三")
    terminal.press(f"/more {LONG}", "Enter")
    terminal.wait_for(lambda rows: len(rows) == 24 and ">" not in "".join(rows[:-1]))
    terminal.press("C-c")
    terminal.wait_for_prompt()
    assert all("^C" not in row for row in terminal.rows())
    text = read_autosaved() or ""
    assert 3 < len(text) < LONG
    assert text == "一二三" + "".join(
        model.generate("一二三", seed=1, index=1, length=len(text) - 3)
    )

    # What is pasted is one line, and the text outlives the terminal.
    terminal.do("load-buffer", "-", stdin="二\n 二")
    terminal.do("paste-buffer", "-p")
    terminal.press("一", "Enter")
    wait_until_autosaved(text + "二\n 二一")
    process = int(terminal.do("list-panes", "-F", "#{pane_pid}"))
    terminal.do("kill-server")
    wait_until_gone(process)
    assert read_autosaved() == text + "二\n 二一"


def test_a_session_that_is_killed_saves_the_line_that_was_begun(terminal: Terminal) -> None:
    terminal.wait_for_prompt()
    terminal.press("一\\", "Enter", "二 二")
    terminal.wait_for(lambda rows: rows[-1] == "> 二 二")
    process = int(terminal.do("list-panes", "-F", "#{pane_pid}"))
    os.kill(process, signal.SIGTERM)

    wait_until_gone(process)
    assert read_autosaved() == "一\n二 二"

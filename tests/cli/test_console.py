"""What counts as a screen, how wide stdout is, what a closed pipe ends in, and progress bars."""

from __future__ import annotations

import io
import os
import sys

import pytest

from charrnn.cli import console
from charrnn.cli.console import Output, is_screen, make_stdout, progress_bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "expected"),
    [
        (Terminal, {"TERM": "xterm"}, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, True),
        (Terminal, {"TERM": "dumb"}, False),
        (Terminal, {"TERM": "dumb", "TTY_COMPATIBLE": "0"}, False),
        (io.StringIO, {"TERM": "xterm"}, False),
        (io.StringIO, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (io.StringIO, {"TERM": "xterm", "TTY_COMPATIBLE": "1"}, False),
    ],
)
def test_a_screen_is_a_terminal_that_can_be_drawn_on(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    variables: dict[str, str],
    expected: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert is_screen(Output(file=stream())) == expected


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("30", 50)])
def test_stdout_is_as_wide_as_its_terminal_and_wide_enough(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())

    assert make_stdout(50).width == width


def test_a_pipe_takes_lines_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", stream := io.StringIO())

    make_stdout(50).print("x" * 5000)

    assert stream.getvalue() == "x" * 5000 + "\n"


def test_a_pipe_that_nobody_reads_is_left_to_whoever_writes() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError), os.fdopen(writer, "w") as pipe:
        Output(file=pipe).print("text")


def bar_on(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, patience_seconds: float, **kind: bool
) -> str:
    """Return what a bar writes for work that has just begun, to a stderr of this kind."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours make no terminal of a file
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(console, "_PATIENCE_SECONDS", patience_seconds)
    with progress_bar("first[red]\x1b", **kind) as show:
        show(500, None)
        show(500, 1000, "then[red]\x1b")
    return stream.getvalue()


@pytest.mark.parametrize(("patience_seconds", "is_long"), [(-1.0, True), (60.0, False)])
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
@pytest.mark.parametrize("is_bytes", [True, False])
def test_progress_is_shown_on_a_terminal_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    patience_seconds: float,
    is_long: bool,
    is_bytes: bool,
) -> None:
    shown = bar_on(monkeypatch, stream(), patience_seconds, is_bytes=is_bytes)

    is_shown = is_long and stream is Terminal
    assert bool(shown) == is_shown
    assert ("then[red]␛" in shown) == is_shown
    assert ("1.0 kB" in shown) == (is_shown and is_bytes)

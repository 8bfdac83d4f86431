"""A text with its copies marked: all of it is shown, and none of it controls the terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.copies import CopyReport, Span
from charrnn.cli.sample.output import describe_copies, show_copies

TEXT = "to be or\tnot to be"
FOUND = CopyReport(TEXT, 5, (Span(0, 5), Span(3, 8), Span(13, 18)), "to be", 1234)
NOTHING = CopyReport(TEXT, 20, (), "", None)

Show = Callable[..., str]


class Terminal(io.TextIOWrapper):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return a function that shows a text and returns the bytes, decoded."""

    def show(
        copied: CopyReport,
        prompt: str = "",
        *,
        to: type[io.TextIOWrapper] = io.TextIOWrapper,
        encoding: str = "utf-8",
        raw: bool = False,
        **variables: str,
    ) -> str:
        for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdout", to(io.BytesIO(), encoding=encoding))
        show_copies(copied, prompt, raw=raw)
        written = sys.stdout.buffer.getvalue()
        return written.decode(encoding if to is Terminal else "utf-8")

    return show


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# ── the text ──


def test_in_a_pipe_brackets_mark_and_overlapping_spans_are_one(shown: Show) -> None:
    assert shown(FOUND) == "⟦to be or⟧\tnot ⟦to be⟧\n"


def test_on_a_terminal_colours_mark(shown: Show) -> None:
    written = shown(FOUND, to=Terminal, TERM="xterm", COLUMNS="5")

    assert re.findall(r"\x1b\[[0-9;]*m([^\x1b]+)\x1b\[0m", written) == ["to be or", "to be"]
    assert without_colours(written) == TEXT + "\n"


@pytest.mark.parametrize("variables", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_on_a_terminal_without_colours_brackets_mark(shown: Show, variables) -> None:
    assert shown(FOUND, to=Terminal, **variables) == "⟦to be or⟧\tnot ⟦to be⟧\n"


def test_a_prompt_is_shown_first_and_never_marked(shown: Show) -> None:
    assert shown(FOUND, "to be ") == "to be ⟦to be or⟧\tnot ⟦to be⟧\n"


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [("", "a\n", "a\n"), ("a\n", "", "a\n"), ("", "", "\n"), ("a", "\n", "a\n")],
)
def test_a_text_ends_with_one_newline(shown: Show, prompt, text, expected) -> None:
    assert shown(CopyReport(text, 20, (), "", None), prompt) == expected


def test_the_text_controls_the_terminal_only_with_raw(shown: Show) -> None:
    hostile = CopyReport("\x1b[2Jx\x9b2J\u202e", 2, (Span(0, 5),), "\x1b[2Jx", 1)

    written = shown(hostile, "\x07", to=Terminal, TERM="xterm")
    untouched = shown(hostile, "\x07", to=Terminal, TERM="xterm", raw=True)

    assert without_colours(written) == "␇␛[2Jx<9B>2J<202E>\n"
    assert "\x1b[2Jx" in untouched
    assert untouched.startswith("\x07")


def test_a_pipe_gets_every_character_as_it_is(shown: Show) -> None:
    text = "\x1b\x07\x0b\x0c\r\x00[bold]é月"

    assert shown(CopyReport(text, 20, (), "", None), encoding="ascii") == text + "\n"


def test_a_terminal_gets_its_own_encoding(shown: Show) -> None:
    text = CopyReport("é月", 20, (), "", None)

    assert shown(text, to=Terminal, encoding="latin-1", TERM="xterm") == "é?\n"


# ── the summary ──


def test_the_summary_says_how_much_and_where_the_longest_is_from() -> None:
    assert describe_copies(FOUND) == (
        "copied: 72.2% of 18 characters, in 3 spans of 5 or more; the longest (5) is from line "
        "1,234 of the training text: “to be”"
    )


def test_one_span_is_one() -> None:
    named = replace(FOUND, file="poems/\x1b.txt")
    assert "(5) is from line 1,234 of poems/␛.txt: “to be”" in describe_copies(named)
    assert "in 1 span of 2 or more" in describe_copies(CopyReport("ab", 2, (Span(0, 2),), "ab", 1))


def test_where_nothing_is_copied_the_summary_says_so() -> None:
    assert describe_copies(NOTHING) == (
        "nothing copied: no run of 20 characters is in the training text"
    )


def test_a_longest_span_of_a_thousand_characters_is_cut() -> None:
    text = "ab\n\x1b" * 250

    line = describe_copies(CopyReport(text, 20, (Span(0, 1000),), text, 1))

    assert "the longest (1,000) is from line 1 " in line
    assert line.endswith("“" + "ab␤␛" * 25 + "…”")


@given(st.text(max_size=30))
def test_a_summary_is_one_line_that_controls_no_terminal(text: str) -> None:
    line = describe_copies(CopyReport(text, 1, (Span(0, len(text)),), text, 1))

    assert not set(line) & set(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x202E]))

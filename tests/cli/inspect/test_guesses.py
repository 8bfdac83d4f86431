"""View `guesses` on a terminal: columns below each character that fit its width."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from rich.cells import cell_len
from rich.text import Text

from charrnn.cli.inspect.guesses import show_guesses
from charrnn.interpret.guesses import GuessesReport
from tests.cli.inspect.screen import lines_of


def make_report(text: str, *guesses: str) -> GuessesReport:
    """Return a report in which each place has these two guesses of 70 and 20 percent."""
    count = len(text)
    ranks = [pair.find(char) + 1 or 9 for char, pair in zip(text, guesses, strict=True)]
    return GuessesReport(
        symbols=[*text],
        guesses=[[*pair] for pair in guesses],
        probabilities=np.float32([[0.75, 0.2]] * count),
        true_probabilities=np.full(count, 0.5, np.float32),
        ranks=np.array(ranks),
        surprise_bits=np.float32([0.4, 2.5, 12, 3][:count]),
        entropy_bits=np.float32([1, 1, 1, 1][:count]),
        at=count - 1,
    )


shown = partial(lines_of, show_guesses)


@pytest.fixture(autouse=True)
def _colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_without_colours_a_star_marks_what_came_and_digits_are_tenths() -> None:
    lines = shown({"book": make_report("ab中", "ax", "xb", "中 ")})

    assert lines[3:9] == [
        "text  a  b  中",
        "   1 *a7 x7*中7",
        "   2  x2*b2 ␣ 2",
        "bits     2  +",
        "more     1  +",
        "",
    ]


def test_places_of_most_surprise_beyond_the_uncertainty_come_first() -> None:
    lines = shown({"book": make_report("ab中d", "ax", "xb", "中 ", "cd")})

    assert [line.split() for line in lines[-2:]] == [
        ["2", "ab", "中", "12.0", "1.0", "中", "75%"],
        ["3", "ab中", "d", "3.0", "1.0", "c", "75%"],
    ]


def test_each_model_has_its_name_and_its_rows() -> None:
    report = make_report("a", "ab")

    lines = shown({"first": report, "second": report})

    assert lines[4] == "text  a"
    assert [lines[5], lines[10]] == ["first", "second"]
    assert lines[6:10] == lines[11:15]


def test_with_colours_columns_are_as_wide_as_the_text_and_what_came_is_underlined() -> None:
    lines = shown({"book": make_report("ab", "ax", "xb")}, color="truecolor")

    first = next(line for line in lines if line.startswith("\x1b[2m   1"))
    assert "\x1b[1;4;" in first.split("a")[0]
    assert first.count("48;2;") == 2


@pytest.mark.parametrize("color", [None, "truecolor"])
def test_no_row_is_wider_than_the_terminal(color: str | None) -> None:
    lines = shown({"book": make_report("中b中d", *["中x"] * 4)}, width=17, color=color)

    plain = [Text.from_ansi(line).plain for line in lines]
    rows = plain[plain.index("") : plain.index("Where the surprise exceeds the uncertainty most:")]
    assert sum(row.count("中") for row in rows) > 4
    assert max(map(cell_len, rows)) <= 17


def test_nothing_of_the_text_commands_the_terminal() -> None:
    lines = shown({"\x1b[2J": make_report("\x1b\u202e\n", "\x1b\x9b", "\u202ea", "\n\u0301")})

    assert not set("".join(lines)) & set("\x1b\x9b\u202e")

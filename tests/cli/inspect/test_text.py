"""View `text` on a terminal: colours, digits and bars, each below its character."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from charrnn.cli.inspect.text import show_text
from charrnn.interpret.text import TextReport
from tests.cli.inspect.screen import lines_of
from tests.interpret.test_text import make_report


def shown(
    reports: dict[str, TextReport], width: int = 80, *, color: str | None = None
) -> list[str]:
    """Return the lines after the heading and the legend."""
    return lines_of(show_text, reports, width, color=color)[len(reports) + 2 :]


@pytest.fixture(autouse=True)
def _colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_digits_below_say_the_tenths_and_the_sign() -> None:
    report = make_report("abcdef", [0.05, -0.31, 1, -1, float("nan"), 0.99])

    assert shown({"book": report}) == ["abcdef", " 399 9", " − −"]


def test_bars_of_further_units_stand_below_their_characters() -> None:
    report = make_report("a中b", [0, 0, 0], [-1, 1, 0.2], [0, 0.5, 1], lows=[-1, -1, 0])

    assert shown({"book": report}) == ["h1.0 a中b", "h1.1 ▁██▅", "h1.2 ▁▅▅█", ""]


def test_a_mark_has_the_value_after_it() -> None:
    assert shown({"book": make_report("e\u0301a", [0.1, 0.9, 0.3])}) == ["e\u0301a", "93"]


def test_models_stand_below_each_other_with_their_names() -> None:
    report = make_report("ab", [0.5, 0.5])

    assert shown({"first": report, "second": report}) == [
        "first h1.0  ab",
        "            55",
        "second h1.0 ab",
        "            55",
        "",
    ]


def test_no_row_is_wider_than_the_terminal() -> None:
    report = make_report("中" * 30, [0.5] * 30, [0.5] * 30)

    rows = shown({"book": report}, width=20)

    assert max(map(cell_len, rows)) <= 20
    assert sum(row.count("中") for row in rows) == 30


def test_colours_have_a_line_that_says_the_sign() -> None:
    row = shown({"book": make_report("abc", [0.9, -0.9, 0.1])}, color="truecolor")[0]

    above, below, weak = row.split("\x1b[0m")[:3]
    assert above.startswith("\x1b[4;")
    assert below.startswith("\x1b[53;")
    assert weak.split(";")[0] == "\x1b[38"


def test_a_colored_space_at_the_end_stays() -> None:
    assert " \x1b[0m" in shown({"book": make_report("a ", [0.9, -0.9])}, color="truecolor")[0]


def test_nothing_of_the_text_commands_the_terminal() -> None:
    lines = shown({"\x1b[2J": make_report("\x1b\u202e\x9b\n", [0.1, 0.2, 0.3, 0.4])})

    assert not set("".join(lines)) & set("\x1b\x9b\u202e")

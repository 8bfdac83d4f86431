"""View `memory` on a terminal: what fades, how long it lasts, and the controls beside it."""

from __future__ import annotations

from functools import partial

import pytest
from rich.cells import cell_len

from charrnn.cli.formatting import format_character
from charrnn.cli.inspect.memory import show_memory
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.memory import MemoryReport, inspect_memory
from tests.cli.inspect.screen import lines_of
from tests.interpret.test_memory import make_memory_subject

shown = partial(lines_of, show_memory)


@pytest.fixture(autouse=True)
def _colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(scope="module")
def reports() -> dict[str, MemoryReport]:
    return {
        cell: inspect_memory(make_memory_subject(cell=cell), InspectConfig())
        for cell in ("lstm", "rnn")
    }


def test_digits_below_the_text_say_how_much_is_left(reports: dict[str, MemoryReport]) -> None:
    lines = shown({"book": reports["lstm"]}, 1_000)

    text = "".join(map(format_character, reports["lstm"].symbols))
    row = max(i for i, line in enumerate(lines) if line and text.endswith(line))
    assert lines[row + 1].endswith("6")  # of the last character
    assert len(lines[row + 1]) == len(lines[row])


def test_colours_stand_in_place_of_digits(reports: dict[str, MemoryReport]) -> None:
    lines = shown({"book": reports["lstm"]}, color="truecolor")

    text = "\n".join(lines)
    assert "48;2;23;96;63m" in text  # the darkest green
    assert "digits below" not in text


def test_an_rnn_says_that_it_has_no_ledger(reports: dict[str, MemoryReport]) -> None:
    lines = shown({"book": reports["rnn"]})

    assert any(line.startswith("no ledger in an rnn: how far other words") for line in lines)
    assert not any("from the last" in line for line in lines)


def test_the_table_has_the_controls(reports: dict[str, MemoryReport]) -> None:
    decoding = reports["lstm"].decoding
    assert decoding
    lines = shown({"book": reports["lstm"]})

    first = next(line.split() for line in lines if line.startswith("    0 "))
    assert first[1:3] == [
        f"{decoding.information_bits[0]:.3f}",
        f"{decoding.untrained_information_bits[0]:.3f}",
    ]
    floor = next(line.split() for line in lines if "floor " in line)
    assert f"{decoding.misaligned_accuracy:.1%}" in floor


@pytest.mark.parametrize("width", [20, 80, 200])
def test_no_line_but_of_tables_is_wider_than_the_terminal(
    reports: dict[str, MemoryReport], width: int
) -> None:
    lines = shown({"first": reports["lstm"], "second": reports["rnn"]}, width)

    longest = max(cell_len(line) for line in lines)
    assert longest <= max(width, 90)
    beside = [line for line in lines if line.count("┤") == 2]
    assert bool(beside) == (width == 200)


def test_a_short_text_says_what_is_missing() -> None:
    report = inspect_memory(make_memory_subject(cell="lstm", count=30), InspectConfig())

    assert "book: the held-out text is too short to measure it" in shown({"book": report})

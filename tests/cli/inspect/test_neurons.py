"""Views `neurons` and `neuron` on a terminal: whole at 80 columns, plain in a pipe."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.cli.inspect.neuron import show_neuron
from charrnn.cli.inspect.neurons import show_neurons
from charrnn.interpret.neuron import NeuronReport
from charrnn.interpret.neurons import NeuronsReport
from tests.interpret.planted import planted_neuron, planted_neurons


@pytest.fixture(scope="module", name="reports")
def reports_of_planted() -> tuple[NeuronsReport, NeuronReport]:
    return planted_neurons(), planted_neuron("c1.0")


def make_console(width: int, *, has_colors: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        color_system="truecolor" if has_colors else None,
        force_terminal=has_colors,
        no_color=not has_colors,
        legacy_windows=False,
        _environ={},
    )


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_each_feature_has_one_row_with_unit_and_verdict(
    reports: tuple[NeuronsReport, NeuronReport], width: int
) -> None:
    console = make_console(width)

    show_neurons({"book": reports[0]}, console)

    row = next(line for line in written(console) if line.startswith("inside ( )"))
    assert all(words in row for words in ("1.0", "1.000", "memory"))
    assert cell_len(row) <= width


def test_a_wide_terminal_has_both_controls_of_characters(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    narrow, wide = make_console(80), make_console(200)
    for console in (narrow, wide):
        show_neurons({"book": reports[0]}, console)

    assert not any("last 3" in line for line in written(narrow)[:5])
    assert any("last 3" in line and "localised" in line for line in written(wide)[:5])


def test_each_memory_neuron_has_a_sentence(reports: tuple[NeuronsReport, NeuronReport]) -> None:
    console = make_console(80)
    show_neurons({"book": reports[0]}, console)

    assert any("is high between round brackets: AUC 1.000" in line for line in written(console))


def test_no_memory_neuron_is_said(reports: tuple[NeuronsReport, NeuronReport]) -> None:
    console = make_console(80)
    findings = tuple(replace(each, verdict="not there") for each in reports[0].findings)
    show_neurons({"book": replace(reports[0], findings=findings)}, console)

    assert any("no memory neuron was found" in line for line in written(console))


def test_a_card_fits_and_has_signs_without_colours(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    console = make_console(80)
    show_neuron({"book": reports[1]}, console)
    lines = written(console)

    assert lines[0].startswith("book  c1.0  memory neuron")
    assert any(line.startswith("highest 0.76") for line in lines)
    assert any("7777" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_a_card_has_colours_on_a_terminal(reports: tuple[NeuronsReport, NeuronReport]) -> None:
    console = make_console(80, has_colors=True)
    show_neuron({"book": reports[1]}, console)

    assert any("\x1b[" in line for line in written(console))


def test_control_characters_of_names_are_shown(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    console = make_console(200)
    finding = replace(reports[0].findings[0], feature="a\x1b[31mb")
    show_neurons({"book": replace(reports[0], findings=(finding,))}, console)

    assert any("a␛[31mb" in line for line in written(console))

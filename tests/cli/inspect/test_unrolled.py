"""The unrolled network in a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.cli.inspect.unrolled import show_unrolled
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.unrolled import UnrolledReport, inspect_unrolled
from tests.interpret.networks import make_ids, make_network, make_subject
from tests.interpret.test_unrolled_picture import golden_report


def make_report(**shape: Any) -> UnrolledReport:
    subject = make_subject(make_network(**shape), make_ids(30))
    return inspect_unrolled(subject, InspectConfig(at=20))


def shown(report: UnrolledReport, width: int, color_system: Any = None) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, color_system=color_system, force_terminal=bool(color_system)
    )
    show_unrolled({"book": report}, console)
    return file.getvalue()


@pytest.mark.parametrize("width", [24, 80, 200])
def test_as_many_columns_as_fit_and_the_place_is_one_of_them(width: int) -> None:
    text = shown(make_report(num_layers=2), width)
    drawing = [line for line in text.splitlines() if line[:9].strip() or "┌" in line]
    boxes = max(line.count("│") for line in drawing) // 2

    assert boxes == min((width - 9) // 6, 12)
    assert "20" in next(line for line in drawing if line.startswith("place")).split()
    for line in drawing:
        if "│" in line or "┌" in line:
            assert cell_len(line) <= width


def test_a_row_for_each_layer_and_names_of_its_matrices() -> None:
    text = shown(make_report(num_layers=3, cell="gru"), 80)

    for layer in (1, 2, 3):
        assert f"\nh{layer}, W{layer}" in text
        assert f"\nU{layer}" in text
        assert f"\n∂ℓ/∂h{layer}" in text


def test_characters_that_are_no_letters_are_safe_to_look_at() -> None:
    text = shown(golden_report(), 80)
    reads = next(line for line in text.splitlines() if line.startswith("reads"))

    assert reads.split()[1:] == ["a", "<", "␤"]
    assert "┊" in text


def test_colours_are_left_out_of_a_pipe() -> None:
    assert "\x1b[" not in shown(make_report(), 80)
    assert "\x1b[" in shown(make_report(), 80, "truecolor")

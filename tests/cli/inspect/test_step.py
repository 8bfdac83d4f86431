"""One step in a terminal."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.cli.inspect.step import show_step
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.step import inspect_step
from tests.interpret.networks import CELLS, make_ids, make_network, make_subject


def shown(width: int, *, train: bool = False, **shape: Any) -> str:
    subject = make_subject(make_network(**shape), make_ids(14))
    report = inspect_step(subject, InspectConfig(at=9, train=train))
    file = io.StringIO()
    show_step({"book": report}, Console(file=file, width=width, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_numbers_stand_below_their_symbols_within_the_width(
    cell: str, nonlinearity: str, width: int
) -> None:
    lines = shown(width, cell=cell, nonlinearity=nonlinearity).splitlines()
    equations = [
        (above, below)
        for above, below in pairwise(lines)
        if above.startswith("  ")
        and above.lstrip().startswith(("h[", "(U", "(W"))
        and " = " in above
    ]

    assert equations
    for above, below in equations:
        assert above.index(" = ") == below.index(" = ")
        assert max(cell_len(above), cell_len(below)) <= width


def test_training_and_the_whole_small_layer_are_shown_when_there_is_something_to_show() -> None:
    with_training = shown(80, train=True)

    assert "factor = min(1, G / ‖g‖)" in with_training
    assert "Muon" in with_training
    assert "The whole layer" in with_training
    assert "Training" not in shown(80)
    assert "The whole layer" not in shown(80, hidden_size=11)


def test_a_line_of_code_that_serves_several_equations_is_shown_once() -> None:
    lines = shown(200).splitlines()
    code = [line for line in lines if line.startswith("  charrnn/")]

    assert all(first != second for first, second in pairwise(code))

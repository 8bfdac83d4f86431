"""View `gates` on a terminal: scatters side by side, and the units that remember longest."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from charrnn.cli.inspect.gates import show_gates
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.gates import GatesReport, inspect_gates
from tests.interpret.networks import make_ids, make_network, make_subject


def make_report(**shape: Any) -> GatesReport:
    return inspect_gates(make_subject(make_network(**shape), make_ids(50)), InspectConfig())


def shown(report: GatesReport, width: int) -> list[str]:
    stream = io.StringIO()
    show_gates({"\x1b[2Jbook": report}, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(("width", "beside"), [(80, 3), (60, 2), (40, 1), (200, 3)])
def test_as_many_scatters_stand_side_by_side_as_there_is_room_for(width: int, beside: int) -> None:
    lines = shown(make_report(cell="lstm"), width)

    assert max(line.count("┤") for line in lines) == beside
    assert max(len(line) for line in lines if "┤" in line) <= width
    assert sum(line.count("mostly above") for line in lines) == 3
    assert "\x1b" not in "".join(lines)


def test_the_five_longest_time_constants_stand_below() -> None:
    report = make_report(cell="gru")

    rows = [line.split() for line in shown(report, 80) if line.startswith("z1.")]

    longest = np.argsort(-report.time_constants[0].tau)[:5]
    assert [row[0] for row in rows] == [f"z1.{unit}" for unit in longest]
    assert rows[0][1] == f"{report.time_constants[0].tau.max():.1f}"


def test_an_rnn_shows_its_states() -> None:
    relu = shown(make_report(cell="rnn", nonlinearity="relu"), 80)

    assert sum("always 0" in line for line in relu) == 1
    assert not any("Time constants" in line for line in relu)
    assert any("below −0.9" in line for line in shown(make_report(cell="rnn"), 80))

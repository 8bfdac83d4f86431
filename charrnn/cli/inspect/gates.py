"""View `gates` on a terminal: a scatter for each gate, three numbers, and who remembers long."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line
from charrnn.cli.formatting import format_count, one_line
from charrnn.cli.inspect.braille import BrailleChart
from charrnn.interpret.gates import GatesReport, Saturation, TimeConstants
from charrnn.interpret.svg import Axis

_MIN_COLUMNS, _MAX_COLUMNS = 26, 44  # of a scatter
_ROWS = 9
_LONGEST = 5  # units with the longest time constants
_SHARES = [(0.0, "0"), (0.5, "½"), (1.0, "1")]


def show_gates(reports: Mapping[str, GatesReport], console: Console) -> None:
    """Print the gates of one or several models, layer by layer."""
    print_line(
        console,
        "A dot is a unit: → share of time above 0.9, ↑ share of time below 0.1; near 0 it mixes.",
        "dim",
    )
    for name, report in reports.items():
        heading = Text(one_line(name), "bold")
        print_line(console, heading.append(f"  {report.tokens:,} held-out tokens", "not bold"))
        for layer in dict.fromkeys(each.layer for each in report.saturations):
            gates = [each for each in report.saturations if each.layer == layer]
            _print_scatters(console, gates)
        for constants in report.time_constants:
            _print_time_constants(console, constants, report)


def _print_scatters(console: Console, gates: Sequence[Saturation]) -> None:
    """Print the scatters of a layer side by side, as many as there is room for."""
    across = max(min(console.width // _MIN_COLUMNS, len(gates)), 1)
    columns = min(console.width // across, _MAX_COLUMNS)
    for start in range(0, len(gates), across):
        blocks = [_scatter(gate, columns) for gate in gates[start : start + across]]
        for lines in zip(*blocks, strict=True):
            row = Text()
            for line in lines:
                row.append_text(line)
                row.append(" " * (columns - cell_len(line.plain)))
            row.rstrip()
            print_line(console, row)
        print_line(console, "")


def _scatter(gate: Saturation, columns: int) -> list[Text]:
    """Return the lines of a scatter and its numbers."""
    axis = Axis("", 0, 1, ticks=_SHARES)
    chart = BrailleChart(axis, axis, columns=columns - 2, rows=_ROWS)
    steps = np.linspace(0, 1, 9)
    chart.dots(zip(steps, 1 - steps, strict=True), "dim")
    chart.dots(zip(gate.right.tolist(), gate.left.tolist(), strict=True), "bold")
    return [
        Text.assemble((gate.name, "bold"), f" ↑ {gate.left_means}"),
        *chart.lines()[:-1],
        Text(f"   → {gate.right_means}"),
        *(Text(f"   {words}") for words in gate.figures),
    ]


def _print_time_constants(console: Console, constants: TimeConstants, report: GatesReport) -> None:
    """Print the units of a layer that remember longest."""
    gate = constants.gate
    medians = [float(np.median(tau)) for tau in (constants.tau, constants.untrained)]
    print_line(
        console,
        f"Time constants of layer {constants.layer}, τ = −1 / mean ln {gate}: median "
        f"{_tokens(medians[0])} tokens, before training {_tokens(medians[1])}. The longest:",
    )
    own = next(
        each for each in report.saturations if (each.gate, each.layer) == (gate, constants.layer)
    )
    table = make_table("unit", ">τ tokens", f">time {gate} > 0.9", f">time {gate} < 0.1")
    for unit in np.argsort(-constants.tau, kind="stable")[:_LONGEST].tolist():
        table.add_row(
            f"{own.name}.{unit}",
            _tokens(float(constants.tau[unit])),
            f"{own.right[unit]:.0%}",
            f"{own.left[unit]:.0%}",
        )
    console.print(table, crop=False)
    print_line(console, "")


def _tokens(tau: float) -> str:
    """Return a time constant as a person reads it."""
    if not math.isfinite(tau):
        return "∞"
    return f"{tau:.1f}" if tau < 100 else format_count(tau)

"""What charrnn inspect says in the terminal beside the page: a line or two about each view."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from charrnn.cli.console import print_line
from charrnn.cli.formatting import one_line
from charrnn.errors import counted
from charrnn.interpret.neurons import MEMORY
from charrnn.tasks.inspect import Inspection

_MAX_NEURONS = 5


def show_summary(inspection: Inspection, console: Console) -> None:
    """Print the main figures of each model, and the command that shows more of each."""
    for subject in inspection.subjects:
        print_line(console, one_line(subject.name), "bold")
        for view, reports in inspection.reports.items():
            if subject.name in reports:
                for line in _LINES.get(view, _nothing)(reports[subject.name]):
                    print_line(console, f"  {view:<10} {line}")
    for view, reason in inspection.left_out.items():
        print_line(console, f"  {view:<10} left out: {reason}", "dim")
    print_line(console, "more of each: charrnn inspect VIEW, such as charrnn inspect neurons")


def _nothing(report: Any) -> Iterator[str]:
    yield from ()


def _guesses(report: Any) -> Iterator[str]:
    right = float((report.ranks == 1).mean())
    bits = float(report.surprise_bits.mean())
    yield (
        f"the first guess is right at {right:.0%} of {len(report.ranks):,} places; "
        f"{bits:.2f} bits of surprise each"
    )


def _gates(report: Any) -> Iterator[str]:
    for each in report.time_constants:
        longest = float(each.tau.max())
        unit = f"{each.gate}{each.layer}.{int(each.tau.argmax())}"
        yield f"layer {each.layer}: the slowest unit, {unit}, keeps for {longest:,.0f} characters"


def _memory(report: Any) -> Iterator[str]:
    if report.ledger:
        reach = {share: value for share, value in report.ledger.mean_reach.items() if value}
        parts = (f"{share} by the last {value:,}" for share, value in reach.items())
        yield f"written into {report.ledger.kind}{report.layer}: {', '.join(parts)} characters"
    if report.context:
        yield f"{report.context.whole_bits:.2f} bits a character after the whole text"


def _gradients(report: Any) -> Iterator[str]:
    for each in report.reaches:
        if math.isfinite(each.half_life_chars):
            how = f"halves every {each.half_life_chars:.1f} characters back"
        else:
            how = "does not halve"
        yield f"by {each.array} the gradient {how}"


def _neurons(report: Any) -> Iterator[str]:
    found = [each for each in report.findings if each.verdict == MEMORY]
    searched = counted(len(report.findings), "feature")
    yield f"{counted(len(found), 'memory neuron')} of {searched} that were searched for"
    yield from (each.sentence for each in found[:_MAX_NEURONS])


def _errors(report: Any) -> Iterator[str]:
    yield f"{report.error_share:.0%} of the characters get less than a probability of 0.5"


_LINES: dict[str, Callable[[Any], Iterator[str]]] = {
    "guesses": _guesses,
    "gates": _gates,
    "memory": _memory,
    "gradients": _gradients,
    "neurons": _neurons,
    "errors": _errors,
}

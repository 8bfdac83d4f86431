"""View `neurons` on a terminal: a row for each feature, its best unit beside all controls."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from charrnn.cli.console import make_table, print_line
from charrnn.cli.formatting import one_line
from charrnn.interpret.neurons import MEMORY, NOT_THERE, SPREAD, Finding, NeuronsReport

_WIDE = 110  # columns, from which a row has everything
_STYLES = {MEMORY: "bold", SPREAD: "", NOT_THERE: "dim"}


def show_neurons(reports: Mapping[str, NeuronsReport], console: Console) -> None:
    """Print the findings of one or several models, one table below the other."""
    for name, report in reports.items():
        print_line(console, one_line(name), "bold")
        print_line(
            console,
            f"{report.units:,} units, {report.places:,} held-out characters; scores are of the "
            "half that did not choose the unit",
            "dim",
        )
        print_line(console, "")
        console.print(_table(report, is_wide=console.width >= _WIDE), crop=False)
        print_line(console, "")
        for finding in report.findings:
            if finding.verdict in (MEMORY, SPREAD):
                print_line(console, finding.sentence)
        if not any(finding.verdict == MEMORY for finding in report.findings):
            print_line(console, "No unit beats every control: no memory neuron was found.")
        if report.left_out:
            names = ", ".join(each for each, _ in report.left_out)
            print_line(console, f"Not enough of it in this text: {names}.", "dim")
    _show_reading(reports, console)


def _table(report: NeuronsReport, *, is_wide: bool) -> Table:
    """Return the findings as a table; narrow: the larger of the last characters, short verdicts."""
    last = [">last 1", ">last 3"] if is_wide else [">last"]
    head = ["feature", "by", "unit", ">search", ">held", ">shifted", *last, ">untrained", ">probe"]
    if is_wide:
        head += [">its probe", ">localised", ">F1", ">share"]
    table = make_table(*head, "verdict", padding=1 if is_wide else 0)
    for each in report.findings:
        table.add_row(*_row(each, is_wide), style=_STYLES.get(each.verdict, ""))
    return table


def _row(each: Finding, is_wide: bool) -> list[Text]:
    """Return the cells of a finding."""
    last = [each.last_1, each.last_3] if is_wide else [max(each.last_1, each.last_3)]
    figures = [each.best.search, each.best.held, each.shifted, *last, each.untrained, each.probe]
    cells = [each.feature, "AUC" if each.is_yes_no else "ρ", each.best.unit]
    cells += [f"{figure:.3f}" for figure in figures]
    if is_wide:
        cells += [f"{each.untrained_probe:.3f}", f"{each.localised:.2f}"]
        cells += ["-" if each.f1 is None else f"{each.f1:.2f}", f"{each.share:.1%}"]
    verdict = each.verdict if is_wide else each.verdict.removesuffix(" neuron")
    return [Text(one_line(cell)) for cell in [*cells, verdict]]


def _show_reading(reports: Mapping[str, NeuronsReport], console: Console) -> None:
    """Print what the columns mean."""
    first = next(iter(reports.values()))
    half = first.margin / 2
    for line in (
        "AUC: how often the unit is higher inside than outside, or lower if it was so in the "
        "search half; chance is 0.5. ρ: rank correlation; chance is 0.",
        f"shifted: the best of all units for labels moved round, best of {first.shifts}. last: "
        "what the last 1 or 3 characters tell. untrained: the best unit of "
        f"{first.untrained} untrained networks. probe: all units together"
        + ("; its probe: those of the untrained networks." if console.width >= _WIDE else "."),
        f"A memory neuron beats shifted, last and untrained by {half:g} of AUC or {first.margin:g} "
        "of ρ. A character neuron beats shifted alone: last tells as much or stands too high to be "
        "beaten by so much, and then no memory is shown; or untrained does, and then no learning.",
    ):
        print_line(console, line, "dim")

"""The view `errors` on a terminal: tables of causes, and of bits saved over a 5-gram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line, print_whole_table
from charrnn.cli.formatting import one_line
from charrnn.interpret.errors import ErrorsReport, Saving

_BAR_COLUMNS = 30  # of all errors


def show_errors(reports: Mapping[str, ErrorsReport], console: Console) -> None:
    """Print what one or several models still get wrong."""
    for name, report in reports.items():
        words = f" {report.error_share:.1%} of {report.chars:,} characters have less than half of "
        words += f"the probability: {report.bits_per_char:.3f} bits a character"
        if report.ngram_bits_per_char is not None:
            words += f", the 5-gram {report.ngram_bits_per_char:.3f}"
        print_line(console, Text(one_line(name), "bold").append(words, "not bold"))
    console.print()
    _show_causes(reports, console)
    for title, kind in (
        ("position in a word", "by_position"),
        ("closing bracket or quote, by characters since it was opened", "by_distance"),
    ):
        savings = {name: getattr(report, kind) for name, report in reports.items()}
        if any(not math.isnan(each.saved_bits) for all in savings.values() for each in all):
            _show_savings(title, savings, console)
    for name, report in reports.items():
        for note in report.notes:
            print_line(console, f"{name}: {note}")


def _show_causes(reports: Mapping[str, ErrorsReport], console: Console) -> None:
    """Print the share of errors that each cause explains, after the causes above it."""
    print_line(console, "Errors by the first cause that explains them", "bold")
    is_alone = len(reports) == 1
    names = [f">{one_line(name)}" for name in reports]
    table = make_table("cause", *names, *([""] if is_alone else []), "", padding=0)
    for number, each in enumerate(next(iter(reports.values())).oracles):
        shares = [report.oracles[number].share_of_errors for report in reports.values()]
        bar = ["█" * round(_BAR_COLUMNS * shares[0])] if is_alone else []
        cells = [each.oracle, *(f"{share:.1%}" for share in shares), *bar]
        table.add_row(*cells, Text(each.meaning, "dim"))
    print_whole_table(console, table)


def _show_savings(title: str, savings: Mapping[str, Sequence[Saving]], console: Console) -> None:
    """Print how many bits a character are saved at each group of places."""
    console.print()
    print_line(console, f"Bits saved over the 5-gram: {title}", "bold")
    table = make_table("", ">places", *(f">{one_line(name)}" for name in savings), padding=0)
    for same in zip(*savings.values(), strict=True):
        if all(math.isnan(each.saved_bits) for each in same):
            continue
        bits = ["-" if math.isnan(each.saved_bits) else f"{each.saved_bits:+.3f}" for each in same]
        table.add_row(same[0].group, f"{same[0].places:,}", *bits)
    print_whole_table(console, table)

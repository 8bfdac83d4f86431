"""How several runs of one command are shown: each as a run alone, with a line before it.

At the end seeds have a mean and a spread, and cells a table; the run of teachers has its own end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from rich.console import Console

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.console import Output, make_table, print_line
from charrnn.cli.formatting import (
    describe_scores,
    format_count,
    format_duration,
    format_parameters,
)
from charrnn.cli.inputs import name_for_shell
from charrnn.cli.train.display import Display, Silent
from charrnn.cli.train.summary import show_line
from charrnn.errors import counted
from charrnn.tasks.distill import StudentStarted, TeacherStarted
from charrnn.tasks.fit import CellsFinished, CellStarted, SeedsFinished, SeedStarted
from charrnn.tasks.train import RunReport

RunStarted = SeedStarted | CellStarted | TeacherStarted
RunsReport = RunStarted | StudentStarted | SeedsFinished | CellsFinished

_WHY = (
    "networks err in different places: several together predict better than one, and a network "
    "that learns from them keeps much of that; --teachers 0 trains one alone"
)


class RunsDisplay(Silent):
    """Shows the reports of one run or several, each on a display of its own."""

    def __init__(self, make: Callable[[], Display], quiet: bool, as_json: bool) -> None:
        self._make = make
        self._as_json = as_json
        self._display = make()
        self._console = None if quiet or as_json else Output(stderr=True)

    def show(self, report: RunReport | RunsReport) -> None:
        """Show one report."""
        if not isinstance(report, RunsReport):
            self._display.show(report)
            return
        self.close()
        if self._as_json:
            sys.stdout.write(json.dumps(_make_record(report)) + "\n")
            sys.stdout.flush()
        elif self._console is None:
            pass
        elif isinstance(report, RunStarted):
            if isinstance(report, TeacherStarted) and report.number == 1:
                show_line(self._console, _describe_teachers(report))
                show_line(self._console, _WHY)
            show_line(self._console, _describe_start(report))
        elif isinstance(report, StudentStarted):
            show_line(self._console, _describe_student(report))
        elif isinstance(report, CellsFinished):
            _show_cells(self._console, report)
        else:
            _show_summary(self._console, report)
        self._display = self._make()

    def close(self) -> None:
        """Leave the screen in order."""
        self._display.close()


def _describe_teachers(report: TeacherStarted) -> str:
    """Return the line that comes before the first teacher: what is trained."""
    seconds = report.budget_seconds
    each = "" if seconds is None else f", {format_duration(seconds)} each"
    teachers = counted(report.total, "teacher")
    return f"first {teachers}{each}, then the run that learns from what they write and the text"


def _describe_student(report: StudentStarted) -> str:
    """Return the line that comes before the run that learns from teachers."""
    seconds = report.budget_seconds
    time = "" if seconds is None else f", for {format_duration(seconds)}"
    names = ", ".join(each.run for each in report.teachers)
    return f"now the run that learns from {names} and the text{time}"


def _describe_start(report: RunStarted) -> str:
    """Return the line that comes before a run."""
    if isinstance(report, TeacherStarted):
        line = f"teacher {report.number} of {report.total} (seed {report.seed})"
    else:
        what = f"seed {report.seed}" if isinstance(report, SeedStarted) else f"cell {report.cell}"
        line = f"{what} ({report.number} of {report.total})"
    if report.done is not None:
        score = "" if report.done.bpc is None else f": {report.done.bpc:.3f} bits per character"
        if report.done.scores:
            score = f": {describe_scores(report.done.scores)}"
        return f"{line} is trained already, as {report.done.run!r}{score}"
    if not report.sizes:
        return line
    sizes = ", ".join(f"{name} {json.dumps(value)}" for name, value in report.sizes.items())
    return f"{line}, with what the first run chose: {sizes}"


def _show_summary(console: Console, report: SeedsFinished) -> None:
    """Write the figures of all runs, and the command that scores them as one model."""
    if report.scores:
        means = describe_scores({name: mean for name, (mean, _) in report.scores.items()})
        spread = ", ".join(f"{sd:.4f}" for _, sd in report.scores.values())
        show_line(console, f"{len(report.seeds)} seeds: {means} on texts they never saw")
        show_line(console, f"standard deviation (n − 1), in the same order: {spread}")
        name = name_for_shell(RunFolder(report.results[0].path))
        print_line(console, f"next:  charrnn eval {name}{' --split test' * report.has_test}")
        return
    if report.mean_bpc is None:
        show_line(console, f"{len(report.seeds)} seeds are trained; nothing was held out")
    else:
        part = "text they never saw"
        if report.has_test:
            part = "the validation part, which chose the models"
        values = ", ".join(f"{each.bpc:.3f}" for each in report.results)
        show_line(
            console,
            f"{len(report.seeds)} seeds: {report.mean_bpc:.3f} ± {report.sd_bpc:.3f} bits per "
            f"character on {part} (mean ± standard deviation, n − 1): {values}",
        )
    names = " ".join(name_for_shell(RunFolder(each.path)) for each in report.results)
    print_line(console, f"next:  charrnn eval {names}{' --split test' * report.has_test}")


def _show_cells(console: Console, report: CellsFinished) -> None:
    """Write a table of all runs, and the command that looks into them side by side."""
    table = make_table("cell", "parameters", *_headings(report), "steps", "chars/s", "time")
    for cell, each in zip(report.cells, report.results, strict=True):
        scores = [f"{value:.3f}" for value in each.scores.values()]
        if not scores:
            scores = ["" if each.bpc is None else f"{each.bpc:.3f}"]
        speed = format_count(each.chars_per_second)
        length = (f"{each.steps:,}", speed, format_duration(each.seconds))
        parameters = format_parameters(each.parameters, each.ngram_parameters, noun="")
        table.add_row(cell, parameters, *scores, *length)
    console.print(table)
    names = " ".join(name_for_shell(RunFolder(each.path)) for each in report.results)
    is_text = not report.results[0].scores
    command = f"inspect {names}" if is_text else f"eval {names}{' --split test' * report.has_test}"
    print_line(console, f"next:  charrnn {command}")


def _headings(report: CellsFinished) -> list[str]:
    """Return what the figures of the runs are called."""
    return list(report.results[0].scores) or ["bits per character"]


def _make_record(report: RunsReport) -> dict[str, object]:
    """Return a report as JSON has it (docs/file-format.md)."""
    if isinstance(report, TeacherStarted):
        run = report.done and str(report.done.path)
        return {"event": "teacher", **vars(report), "done": run}
    if isinstance(report, StudentStarted):
        teachers = report.teachers
        return {
            "event": "student",
            "teachers": [str(each.path) for each in teachers],
            "bpc": [each.bpc for each in teachers],
            "budget_seconds": report.budget_seconds,
        }
    if isinstance(report, CellStarted):
        run = report.done and str(report.done.path)
        return {"event": "cell", "cell": report.cell, "sizes": report.sizes, "done": run}
    if isinstance(report, CellsFinished):
        results = report.results
        return {
            "event": "summary",
            "cells": list(report.cells),
            "runs": [str(each.path) for each in results],
            "parameters": [each.parameters for each in results],
            "bpc": [each.bpc for each in results],
            "chars_per_second": [each.chars_per_second for each in results],
            **({"scores": [each.scores for each in results]} if results[0].scores else {}),
        }
    if isinstance(report, SeedStarted):
        run = report.done and str(report.done.path)
        return {"event": "seed", "seed": report.seed, "sizes": report.sizes, "done": run}
    scores = {name: {"mean": mean, "sd": sd} for name, (mean, sd) in report.scores.items()}
    return {
        "event": "summary",
        "seeds": list(report.seeds),
        "runs": [str(each.path) for each in report.results],
        "bpc": [each.bpc for each in report.results],
        "mean_bpc": report.mean_bpc,
        "sd_bpc": report.sd_bpc,
        **({"scores": scores} if scores else {}),
    }

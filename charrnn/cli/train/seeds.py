"""How the runs of --seeds are shown: each as a run alone, and at the end their mean and spread."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from rich.console import Console

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.console import Output, print_line
from charrnn.cli.formatting import describe_scores
from charrnn.cli.inputs import name_for_shell
from charrnn.cli.train.display import Display, Silent
from charrnn.cli.train.summary import show_line
from charrnn.tasks.fit import Report, SeedsFinished, SeedStarted


class SeedsDisplay(Silent):
    """Shows the reports of several runs, each on a display of its own."""

    def __init__(self, make: Callable[[], Display], quiet: bool, as_json: bool) -> None:
        self._make = make
        self._as_json = as_json
        self._display = make()
        self._console = None if quiet or as_json else Output(stderr=True)

    def show(self, report: Report) -> None:
        """Show one report."""
        if not isinstance(report, SeedStarted | SeedsFinished):
            self._display.show(report)
            return
        self.close()
        if self._as_json:
            sys.stdout.write(json.dumps(_make_record(report)) + "\n")
            sys.stdout.flush()
        elif self._console is None:
            pass
        elif isinstance(report, SeedStarted):
            show_line(self._console, _describe_start(report))
        else:
            _show_summary(self._console, report)
        self._display = self._make()

    def close(self) -> None:
        """Leave the screen in order."""
        self._display.close()


def _describe_start(report: SeedStarted) -> str:
    """Return the line that comes before a run."""
    line = f"seed {report.seed} ({report.number} of {report.total})"
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


def _make_record(report: SeedStarted | SeedsFinished) -> dict[str, object]:
    """Return a report as JSON has it (docs/file-format.md)."""
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

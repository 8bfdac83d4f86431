"""charrnn inspect lesson: train a small network on a text with a secret, then look where it is."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass, replace
from urllib.parse import quote

from rich.table import Table

from charrnn.checkpoint.run_folder import PAGE
from charrnn.cli.console import make_stdout, print_line, print_note, progress_bar
from charrnn.cli.formatting import one_line
from charrnn.cli.inspect.views import show_view
from charrnn.config.inspect import InspectConfig, InspectText
from charrnn.errors import ConfigError
from charrnn.storage import write_atomically
from charrnn.tasks.inspect import VIEWS, Inspection, inspect, open_subjects
from charrnn.tasks.lessons import LESSONS, LessonResult, find_lesson, run_lesson
from charrnn.training.reports import Progress

_DEFAULT_SEED = 1


def show_lessons() -> None:
    """Print all lessons, and how to begin one."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for lesson in LESSONS.values():
        table.add_row(lesson.name, one_line(lesson.title))
    console = make_stdout()
    console.print(table)
    print_line(console, "to begin one: charrnn inspect lesson quotes")


@dataclass(frozen=True)
class LessonRequest:
    """A lesson that is asked for.

    seed: None is the lesson's own. is_live: the network runs in the page. command: as it was typed,
    without --answer and --open.
    """

    name: str
    checkpoints: str
    seed: int | None
    has_answer: bool
    is_live: bool
    is_opened: bool
    command: str


def teach(request: LessonRequest, config: InspectConfig) -> None:
    """Train a lesson's network, show where the secret is, and ask the question.

    The answer needs no training where the lesson has been trained.

    Raises:
        ConfigError: there is no lesson of that name.
    """
    lesson = find_lesson(request.name)
    result = _train(request)
    config = replace(config, at=result.at, neurons=(result.unit,))
    text = InspectText(text=result.text, measured=result.measured_text)
    found = open_subjects([result.path.name], text, config, checkpoints=request.checkpoints)
    with progress_bar("looking") as show:
        inspection = inspect(
            found.subjects,
            config,
            command=request.command,
            on_progress=lambda done, view: show(done, len(VIEWS), f"looking at {view}"),
        )
    _show(result, inspection)
    page = result.path / PAGE
    write_atomically(page, inspection.page(has_weights=request.is_live))
    place = f"#view={result.view}&t={result.at}&n={quote(result.unit)}&m=0"
    print_note(f"wrote {page}; it opens at the unit as {page.resolve().as_uri()}{place}")
    console = make_stdout()
    print_line(console, f"{lesson.look}")
    print_line(console, f"Question: {lesson.question}", "bold")
    if request.has_answer:
        print_line(console, f"Answer: {lesson.answer}")
    else:
        print_line(console, f"the answer: {request.command} --answer", "dim")
    if request.is_opened:
        webbrowser.open(f"{page.resolve().as_uri()}{place}")


def _train(request: LessonRequest) -> LessonResult:
    """Return what to look at, once the lesson's network is trained."""
    seed = _DEFAULT_SEED if request.seed is None else request.seed
    with progress_bar(f"training lesson {request.name}") as show:

        def watch(report: object) -> None:
            if isinstance(report, Progress):
                show(report.step, report.total_steps)

        return run_lesson(
            request.name,
            checkpoints=request.checkpoints,
            seed=seed,
            is_reused=request.has_answer,
            on_report=watch,
        )


def _show(result: LessonResult, inspection: Inspection) -> None:
    """Print what was learnt, and the lesson's view."""
    console = make_stdout()
    lesson = result.lesson
    print_line(console, one_line(lesson.title), "bold")
    print_line(
        console,
        f"The text's secret is {lesson.secret}. The unit that follows it best is {result.unit}: "
        f"correlation {result.correlation:.2f}.",
    )
    print_line(
        console,
        f"Loss on new text {result.loss_nats:.3f} nats a character; a reader that knows all rules "
        f"needs {result.best_nats:.3f}.",
    )
    if result.view in inspection.left_out:
        raise ConfigError(inspection.left_out[result.view])
    show_view(result.view, inspection.reports[result.view], console)

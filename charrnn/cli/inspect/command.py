"""charrnn inspect: every picture of a recurrent network, from the user's own model."""

from __future__ import annotations

import csv
import io
import json
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from charrnn.checkpoint.model_file import read_model, read_model_header
from charrnn.checkpoint.run_folder import PAGE
from charrnn.checkpoint.run_store import find_model
from charrnn.cli.console import make_stdout, print_note, progress_bar
from charrnn.cli.inputs import checkpoints_option, complete_run, label_option, refuse_target
from charrnn.cli.inspect.views import show_view
from charrnn.cli.options import (
    Choice,
    Command,
    errors_option,
    given_settings,
    settings_from_options,
    settings_options,
    typed_command,
)
from charrnn.config import UNKNOWN
from charrnn.config.inspect import InspectConfig, InspectText
from charrnn.errors import ConfigError, missing_extra
from charrnn.interpret.report import as_json
from charrnn.storage import write_atomically
from charrnn.tasks.inspect import (
    TASK_VIEWS,
    VIEWS,
    Inspection,
    draw_view,
    inspect,
    open_subjects,
)

_EXAMPLES = """
charrnn inspect                       all views of the newest model, as a page
charrnn inspect text --text "He said no."   what a unit follows
charrnn inspect lesson quotes         train on a planted text, then look
charrnn inspect neurons book          what each neuron learnt, with controls
charrnn inspect gradients rnn lstm    how far back each of them can learn
"""
_COMMON = (
    *("files", "text", "at", "layer", "neurons", "html", "is_opened", "svg", "is_json", "is_csv"),
    *("answer", "checkpoints"),
)
_COMMANDLINE = click.core.ParameterSource.COMMANDLINE
_MAX_PAGE_BYTES = 64 * 2**20
_NOT_OF_LESSONS = (
    *("files", "text", "at", "layer", "neurons", "html", "is_large", "svg", "png", "is_json"),
    *("is_csv", "encoding", "errors", "unknown", "labels"),
)
_ALL_VIEWS = (*VIEWS, *TASK_VIEWS.values())


@click.command("inspect", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("names", nargs=-1, metavar="[VIEW] [MODEL]...", shell_complete=complete_run)
@click.option("--file", "files", multiple=True, metavar="FILE", help="look at this text")
@click.option("--text", help="look at this literal text")
@settings_options(InspectConfig, skipped=("top",))
@click.option(
    "--top",
    type=click.IntRange(min=1, max=100),
    default=InspectConfig().top,
    show_default=True,
    help="likeliest characters, or best units, to show",
)
@click.option("--html", type=click.Path(), help="write the page to this file")
@click.option(
    "--live/--no-live", default=True, show_default=True, help="put the model itself into the page"
)
@click.option(
    "--large", "is_large", is_flag=True, help="write the page even if it has more than 64 MiB"
)
@click.option("--open", "is_opened", is_flag=True, help="open the page in a browser")
@click.option("--svg", type=click.Path(), metavar="FOLDER", help="write pictures as SVG there")
@click.option(
    "--png", type=click.Path(), metavar="FOLDER", help="write pictures as PNG there, by resvg-py"
)
@click.option("--json", "is_json", is_flag=True, help="print the figures as one JSON object")
@click.option("--csv", "is_csv", is_flag=True, help="print the figures of one view as a table")
@click.option("--answer", is_flag=True, help="lesson: also print the answer")
@click.option("--encoding", show_default="utf-8", help="text encoding of FILE, such as utf-8")
@errors_option
@click.option(
    "--unknown",
    type=Choice(UNKNOWN),
    default="map",
    show_default=True,
    help="characters that the model never saw: refuse them, leave them out, or put the nearest "
    "that it knows in their place",
)
@label_option("label of the text, of a model trained with labels: speaker=ROMEO; can be repeated")
@checkpoints_option
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], **given: Any) -> None:
    """Show what happens inside a model.

    VIEW is one of text, guesses, gates, memory, gradients, links, neurons, neuron, step, unrolled,
    training, errors; of a model that classifies decision, that tags directions, of an
    encoder–decoder attention. Without one, all go into the page inspect.html, in which the model
    runs; lesson NAME teaches one.

    text: what a unit follows. guesses: what comes next. gates: open or closed. memory: what is
    still there of each character. gradients: how far back it can learn. links: what a guess rests
    on. neurons: what each unit has learnt; neuron: one of them. step: every number of one step.
    unrolled: the network in time. training: how it got there. errors: what is still wrong.
    decision, directions and attention show what a model of another task looks at in --text.

    The page is written into the model's folder. It needs no network and no other file; the terminal
    shows a summary.

    MODEL is a run's name, a run's folder or a model file; without one the newest is taken. Several
    are shown side by side, on one scale; their vocabularies must be equal. Without --file and
    --text, the text is the beginning of what was held out in training. Figures are measured on
    --chars characters of the held-out text, or of FILE.

    charrnn inspect lesson lists lessons. Each trains a small model on a planted text for a few
    seconds and shows the unit that has learnt its rule, with a question to answer.

    With --json the object has view and models (the report of each by its name; docs/inspect.md says
    what they hold). Without a VIEW it has views (those objects by view) and left_out (why a view
    has nothing to show).
    """
    config = settings_from_options(ctx, InspectConfig)
    if names[:1] == ("lesson",):
        _teach(ctx, names[1:], config, given)
        return
    if given["answer"]:
        raise ConfigError("--answer is of a lesson; name one, as in charrnn inspect lesson quotes")
    view = names[0] if names and names[0] in _ALL_VIEWS else None
    models = names[1:] if view else names
    if given["files"] and given["text"] is not None:
        raise ConfigError("--file and --text both name the text to look at; keep one")
    paths = [find_model(name, Path(given["checkpoints"])) for name in models or (None,)]
    task = read_model_header(paths[0]).config.task
    _check_outputs(view, task, given)
    if task != "text" or view in TASK_VIEWS.values():
        _inspect_task(paths, view, task, config.top, given)
        return
    text = InspectText(
        given["files"],
        given["text"],
        encoding=given["encoding"],
        errors=given["errors"],
        unknown=given["unknown"],
    )
    found = open_subjects(
        models or (None,), text, config, labels=given["labels"], checkpoints=given["checkpoints"]
    )
    with progress_bar("looking") as show:
        views = (view,) if view else VIEWS
        inspection = inspect(
            found.subjects,
            config,
            views,
            command=typed_command(ctx),
            on_progress=lambda done, name: show(done, len(views), f"looking at {name}"),
        )
    for note in found.notes:
        print_note(note)
    if view and view in inspection.left_out:
        if view not in inspection.reports:
            raise ConfigError(inspection.left_out[view])
        print_note(f"left out: {inspection.left_out[view]}")
    if given["svg"] or given["png"]:
        _write_pictures(inspection.pictures, given)
    if given["is_json"]:
        _print_json(inspection, view)
    elif given["is_csv"]:
        _print_csv(inspection.reports[str(view)])
    elif view:
        show_view(view, inspection.reports[view], make_stdout())
    else:
        target = Path(given["html"] or found.folder / PAGE)
        _write_page(inspection, target, given)


def _teach(
    ctx: click.Context, names: Sequence[str], config: InspectConfig, given: Mapping[str, Any]
) -> None:
    """Show all lessons, or teach one.

    Raises:
        ConfigError: there is no such lesson, or an option is not for lessons.
    """
    from charrnn.cli.inspect.lesson import LessonRequest, show_lessons, teach  # torch, as it trains

    for param in ctx.command.params:
        if param.name in _NOT_OF_LESSONS and ctx.get_parameter_source(param.name) is _COMMANDLINE:
            raise ConfigError(
                f"{max(param.opts, key=len)} is not for a lesson, which has its own text and page"
            )
    if not names:
        show_lessons()
        return
    if len(names) > 1:
        raise ConfigError("a lesson is one word, as in charrnn inspect lesson quotes")
    request = LessonRequest(
        names[0],
        given["checkpoints"],
        seed=given_settings(ctx).get("seed"),
        has_answer=given["answer"],
        is_live=given["live"],
        is_opened=given["is_opened"],
        command=typed_command(ctx, ("answer", "is_opened")),
    )
    teach(request, config)


def _check_outputs(view: str | None, task: str, given: Mapping[str, Any]) -> None:
    """Refuse outputs that clash, before anything is measured."""
    if given["is_json"] and given["is_csv"]:
        raise ConfigError("--json and --csv both say what to print; keep one")
    if given["is_csv"] and view is None and task == "text":
        raise ConfigError(f"--csv is the table of one view; name one of {', '.join(VIEWS)}")
    asked = {
        "--html": given["html"],
        "--open": given["is_opened"],
        "--large": given["is_large"],
        "--no-live": not given["live"],
    }
    for option in (option for option, is_given in asked.items() if is_given):
        if task != "text":
            raise ConfigError(
                f"{option} is for the page of a model of text, and this one is for {task}; leave "
                "it out, or write the picture by --svg FOLDER"
            )
        if view:
            raise ConfigError(f"{option} is for the page of all views; leave {view} out")
    if given["html"]:
        refuse_target(given["html"], "--html", given["files"])


def _inspect_task(
    paths: Sequence[Path], view: str | None, task: str, top: int, given: Mapping[str, Any]
) -> None:
    """Show what a model of another task looks at.

    Raises:
        ConfigError: the view is of another task, or the text is not given by --text.
    """
    from charrnn.tasks.inspect_task import inspect_task

    own = TASK_VIEWS.get(task)
    if own is None or view not in (None, own):
        raise ConfigError(
            f"{view} is not a view of a model for {task}; take "
            f"{own or 'one of ' + ', '.join(VIEWS)}"
        )
    if len(paths) > 1:
        raise ConfigError(f"{own} shows one model; name one")
    if given["text"] is None:
        raise ConfigError(f"{own} shows what the model looks at in one text; give it by --text")
    name = paths[0].parent.name
    reports = {name: inspect_task(read_model(paths[0]), given["text"], top)}
    _write_pictures({own: draw_view(own, reports)}, given)
    if given["is_json"]:
        _print({"view": own, "models": as_json(reports)})
    elif given["is_csv"]:
        _print_csv(reports)
    else:
        show_view(own, reports, make_stdout())


def _print_json(inspection: Inspection, view: str | None) -> None:
    """Print the reports of one view, or of all."""
    if view:
        _print({"view": view, "models": as_json(inspection.reports[view])})
    else:
        _print({"views": as_json(inspection.reports), "left_out": dict(inspection.left_out)})


def _print(record: Mapping[str, Any]) -> None:
    click.echo(json.dumps(record, allow_nan=False))


def _print_csv(reports: Mapping[str, Any]) -> None:
    """Print the tables of all models as one, whose first column is the model."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    for number, (name, report) in enumerate(reports.items()):
        columns, rows = report.table()
        if not number:
            writer.writerow(["model", *columns])
        writer.writerows([name, *row] for row in rows)
    click.echo(out.getvalue(), nl=False)


def _write_pictures(pictures: Mapping[str, str], given: Mapping[str, Any]) -> None:
    """Write each view's picture into the folders that are asked for."""
    for option, make in (("svg", str.encode), ("png", _as_png)):
        if given[option] is None:
            continue
        folder = Path(given[option])
        for view, svg in pictures.items():
            target = folder / f"{view}.{option}"
            write_atomically(target, make(svg))
            print_note(f"wrote {target}")


def _as_png(svg: str) -> bytes:
    """Return a picture as PNG.

    Raises:
        ConfigError: the library that draws it is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        missing = missing_extra("--png", "resvg-py", "png")
        raise ConfigError(f"{missing.message}, or give --svg") from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg))


def _write_page(inspection: Inspection, target: Path, given: Mapping[str, Any]) -> None:
    """Write the page, and say in the terminal what is in it."""
    from charrnn.cli.inspect.summary import show_summary

    page = inspection.page(has_weights=given["live"]).encode()
    size = f"{len(page) / 1e6:.1f} MB"
    if len(page) > _MAX_PAGE_BYTES and not given["is_large"]:
        raise ConfigError(
            f"the page has {size}, more than 64 MiB, and browsers open it slowly; look at fewer "
            "models or a shorter text, leave the model out by --no-live, or write it by --large"
        )
    print_note(f"writing {size} to {target}")
    write_atomically(target, page)
    show_summary(inspection, make_stdout())
    print_note(f"wrote {target}; open it in a browser")
    if given["is_opened"]:
        webbrowser.open(target.resolve().as_uri())

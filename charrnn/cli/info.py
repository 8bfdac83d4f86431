"""charrnn info, list and remove: describe a model; list runs; remove some."""

import json
import math
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from charrnn.checkpoint.hub import Origin, describe_origin, read_origin
from charrnn.checkpoint.model_file import describe_model, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import (
    find_model,
    list_runs,
    read_last_state,
    summarise_run,
)
from charrnn.cli import console
from charrnn.cli.console import format_cell
from charrnn.cli.formatting import (
    UNITS,
    describe_classification,
    describe_loss,
    describe_scores,
    describe_sources,
    format_date,
    format_duration,
    format_loss,
    format_parameters,
    one_line,
)
from charrnn.cli.inputs import checkpoints_option, complete_run, name_for_shell, optional_model
from charrnn.cli.options import Choice, Command
from charrnn.config import CELLS, TASKS
from charrnn.errors import ConfigError, counted
from charrnn.generation.labels import label_states as states_of
from charrnn.generation.text_format import describe_record
from charrnn.metrics import bits_per_char
from charrnn.storage import format_bytes
from charrnn.tasks.remove import Removable, find_removable

_INFO_EXAMPLES = """
charrnn info                                  the newest run's best model
charrnn info tiny-shakespeare --json | jq .val_bpc
charrnn info checkpoints/tiny-shakespeare/best.safetensors --all
"""
_LIST_EXAMPLES = """
charrnn list "book-*" --sort bpc              runs whose names begin so
charrnn list --unfinished --sort size         runs that can be continued
charrnn list --json | jq -r .name
"""
_REMOVE_EXAMPLES = """
charrnn remove book-small                     asks first
charrnn remove try-1 try-2 --yes
charrnn remove book-sweep                     with its trials
"""
_SHOWN_CHARACTERS = 200  # of an alphabet, which may have thousands
_SHOWN_LABELS = 20  # of a column
_SAVED_COLUMNS = 80  # of a terminal from which on date and time share a line of a list
_STEPS_COLUMNS = 60  # and the steps that were made, and of how many
_ANY_COLUMNS = 10_000  # to measure a table that no terminal cuts
_CHOSEN = {
    "learning_rate": "learning rate",
    "batch_size": "lanes",
    "seq_len": "window",
    "dropout": "dropout",
}
"""The settings in force that are shown, and what they are called."""


@click.command("info", cls=Command, examples=_INFO_EXAMPLES)
@optional_model
@click.option("--all", "is_all", is_flag=True, help="show every field of the file")
@click.option("--json", "as_json", is_flag=True, help="print every field as one JSON object")
@click.option(
    "--label-states",
    is_flag=True,
    help="with --json: the state from which texts of each label begin, layer by layer",
)
@checkpoints_option
def info(
    model: str | None, is_all: bool, as_json: bool, label_states: bool, checkpoints: str
) -> None:
    """Describe a model.

    Shows the shape, text, training and scores of MODEL: a run's name, a run's folder or a model
    file.
    """
    if label_states and not as_json:
        raise ConfigError("--label-states is written as JSON; give --json too, or leave it out")
    path = find_model(model, Path(checkpoints))
    file = read_model(path)
    description = describe_model(file) | describe_record(file.summary, has_end=file.config.has_end)
    if origin := read_origin(path):
        description["hub"] = asdict(origin)
    if label_states:
        description["label_states"] = states_of(file)
    if as_json:
        click.echo(json.dumps({"path": str(path)} | description))
    elif is_all:
        show_model(str(path), description)
    else:
        console.print_values(_describe(path, description))


def _describe(path: Path, model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a person wants to know of a model, line by line, each with its name.

    A model that another program made may lack what training writes.
    """
    network = counted(model["num_layers"], "layer") + f" of {counted(model['hidden_size'], 'unit')}"
    kind = "bidirectional " * bool(model["bidirectional"]) + model["cell"]
    in_ngrams = model["ngram_rows"] * model["embedding_size"]
    parameters = format_parameters(model["parameters"], in_ngrams, is_short=True)
    parameters += f" up to {model['ngram_order']}" * (in_ngrams > 0)
    yield "model", f"{kind}, {network}, {parameters}"
    is_text = model["task"] == "text"
    if not is_text:
        yield "task", model["task"]
    yield from _describe_training(model)
    nats = model.get("val_nats")
    if nats is not None and not is_text:
        scores = describe_scores(model.get("scores", {}))
        loss = f"{UNITS[model['task']].of(nats):.3f} {UNITS[model['task']].name}"
        yield "score", ", ".join(filter(None, (scores, loss))) + " on texts it never saw"
    elif nats is not None:
        yield "score", f"{bits_per_char(nats):.3f} bits per character on text it never saw"
        yield "", format_loss(nats, model.get("val_bits_per_byte"))
        yield "", describe_loss(nats, model["alphabet"])
    if by_source := model.get("val_by_source_nats"):
        yield "by text", describe_sources(by_source)
    for column, figures in model.get("classification", {}).items():
        yield "", describe_classification(column, figures, is_bayes=is_text)
    if baselines := model.get("baselines_bpc"):
        yield "to beat", f"{format_cell(baselines).plain} bits per character"
    when = f", saved {format_date(model['created'])}" if "created" in model else ""
    if origin := model.get("hub"):
        yield "from", describe_origin(Origin(**origin))
    yield "file", f"{path} ({format_bytes(path.stat().st_size)}{when})"
    yield "to continue", _describe_end(path)


def _describe_training(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a model was trained on, for how long, and by which settings."""
    corpus = model.get("corpus", {})
    train_chars = corpus.get("train_chars")
    if "name" in corpus:
        sizes = f": {counted(train_chars, 'character')}" if train_chars else ""
        sizes += f", {val_chars:,} more held out" if (val_chars := corpus.get("val_chars")) else ""
        yield "text", corpus["name"] + sizes
    rest = ", any other as its bytes" if model.get("has_bytes") and model["alphabet"] else ""
    clusters = len(model.get("clusters", ()))
    more = f" and {counted(clusters, 'grapheme')} of several" if clusters else ""
    yield "alphabet", _count_tokens(model) + more + rest
    if "target" in model:
        yield "target", _count_tokens(model["target"])
    if "record" in model:
        yield "record", model["record"]
    for column, counts in model["labels"].items():
        yield f"label {column}", _describe_labels(counts)
    if initial := model.get("init_from"):
        yield "started from", format_cell(initial).plain
    taught = (model.get("settings") or {}).get("distill_from")
    if taught:
        yield "learned from", format_cell(", ".join(taught)).plain
    if "step" in model:
        seconds = model.get("elapsed_seconds")
        time = f" in {format_duration(seconds)}" if seconds is not None else ""
        # Of other tasks chars_seen counts classes or target tokens, which are fewer.
        # With teachers it counts what they write too.
        has_epochs = train_chars and model.get("task") in (None, "text", "tagging") and not taught
        reads = f", {model.get('chars_seen', 0) / train_chars:.1f} epochs" if has_epochs else ""
        yield "trained", counted(model["step"], "step") + time + reads
    resolved = model.get("resolved")
    if isinstance(resolved, dict):
        named = [f"{_CHOSEN[key]} {_format_setting(resolved.get(key))}" for key in _CHOSEN]
        yield "settings", ", ".join(named)


def _count_tokens(vocab: Mapping[str, Any]) -> str:
    """Return how many characters, tokens between spaces or bytes a vocabulary has."""
    if "tokens" in vocab:
        return counted(len(vocab["tokens"]), "token")
    if vocab.get("has_bytes") and not vocab["alphabet"]:
        return "the 256 bytes"
    return counted(len(vocab["alphabet"]), "character")


def _describe_labels(counts: Mapping[str, int]) -> str:
    """Return the labels of a column with their counts, the most frequent first."""
    falling = sorted(counts.items(), key=lambda each: -each[1])
    named = ", ".join(f"{name} ({count:,})" for name, count in falling[:_SHOWN_LABELS])
    more = len(falling) - _SHOWN_LABELS
    return named + (f" and {more:,} more" if more > 0 else "")


def _describe_end(path: Path) -> str:
    """Return the command that continues the run of a model file, and how far the run came."""
    run = RunFolder(path.parent)
    last = read_last_state(run)
    progress = (last and last.progress) or {}
    if "step" not in progress:
        return f"no training state; charrnn train TEXT --init-from {shlex.quote(str(path))}"
    total = progress.get("plan", {}).get("total_steps")
    steps = f"{progress['step']:,}" + (f" of {total:,}" if total else "")
    command = f"charrnn train --resume {name_for_shell(run)}"
    if progress.get("is_finished"):
        return f"finished; {command} with a longer --budget, --steps or --epochs"
    return f"{command} ({steps} steps made)"


def show_model(path: str, description: dict[str, Any]) -> None:
    """Print all of a model's description, one line a field."""
    shown = {"path": path} | description
    alphabet = description.get("alphabet", "")
    if (rest := len(alphabet) - _SHOWN_CHARACTERS) > 0:
        shown["alphabet"] = f"{alphabet[:_SHOWN_CHARACTERS]} … and {rest:,} more"
    corpus = shown.pop("corpus", {})
    settings = shown.pop("settings", {})
    # Settings of the model's shape are shown as fields already.
    shown |= {f"corpus.{key}": value for key, value in corpus.items()} | {
        f"settings.{key}": _format_setting(value)
        for key, value in settings.items()
        if key not in shown
    }
    console.print_values(shown.items())


def _format_setting(value: Any) -> str:
    # :g, as four decimals lose 2e-5
    return f"{value:g}" if isinstance(value, float) else format_cell(value).plain


@click.command("list", cls=Command, examples=_LIST_EXAMPLES)
@click.argument("names", nargs=-1, shell_complete=complete_run, metavar="[NAME]...")
@click.option("--task", type=Choice(TASKS), help="only runs of this task")
@click.option("--cell", type=Choice(CELLS), help="only runs of this cell")
@click.option("--corpus", metavar="NAME", help="only runs on this text, as the list names it")
@click.option("--unfinished", is_flag=True, help="only runs that have not made all their steps")
@click.option(
    "--sort",
    type=Choice(("newest", "bpc", "size")),
    default="newest",
    show_default=True,
    help="which run comes first: the newest, that of the lowest bits per character, or that of the "
    "largest files",
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object per run")
@checkpoints_option
def list_all(
    names: tuple[str, ...],
    task: str | None,
    cell: str | None,
    corpus: str | None,
    unfinished: bool,
    sort: str,
    as_json: bool,
    checkpoints: str,
) -> None:
    """List all runs.

    NAME, where it is given, is a run's name, or a pattern in which * stands for any characters.
    Each run is shown with its model, held-out bits per character, the steps that it made and of how
    many, the time they took, the disk that its files take and when they were saved. Files are not
    verified, as `info` does it.
    """
    runs = list_runs(Path(checkpoints))
    every = [summarise_run(run) for run in runs if not names or _is_named(run.name, names)]
    wanted = {"task": task, "cell": cell, "corpus": corpus}
    rows = [
        row
        for row in every
        if all(value is None or row.get(key) == value for key, value in wanted.items())
        and not (unfinished and ("error" in row or row["is_finished"]))
    ]
    if sort == "bpc":
        rows.sort(key=lambda row: math.inf if row.get("val_bpc") is None else row["val_bpc"])
    elif sort == "size":
        rows.sort(key=lambda row: -int(row.get("disk_bytes", 0)))
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        show_runs(rows)
        if console.is_screen(console.make_stdout()):  # a pipe takes the rows alone
            total = format_bytes(sum(row.get("disk_bytes", 0) for row in rows))
            console.print_note(f"{counted(len(rows), 'run')}, {total} in {Path(checkpoints)}")
    elif runs:
        console.print_note(
            f"none of {counted(len(runs), 'run')} in {Path(checkpoints).absolute()} fits; "
            "charrnn list alone shows all"
        )
    else:
        console.print_note(
            f"no runs in {Path(checkpoints).absolute()}. Runs are kept in the folder where you ran "
            "train: cd there, or pass --checkpoints FOLDER. To make one: charrnn train corpus.txt"
        )


def _is_named(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a run's name fits one of the patterns."""
    forms = (unicodedata.normalize("NFC", pattern) for pattern in patterns)
    return any(fnmatchcase(name, form) for form in forms)


@click.command("remove", cls=Command, examples=_REMOVE_EXAMPLES)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_run, metavar="RUN...")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@checkpoints_option
def remove(names: tuple[str, ...], yes: bool, checkpoints: str) -> None:
    """Remove runs: their models, training states and logs.

    Says what each run is and asks; without a terminal, --yes is needed. The corpus stays. A run
    that is being trained stays too, and a folder with files that no run writes. With the name of a
    sweep its trials go too; the run of --then-train stays.
    """
    found = [find_removable(name, Path(checkpoints)) for name in names]
    sweeps = {each.sweep.path: each for each in found if each.sweep}
    runs = {run.path: run for each in found for run in each.runs}
    if not yes:
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigError("remove asks before it removes, and nobody can answer; give --yes")
        for run in runs.values():
            row = summarise_run(run)
            # A damaged run may be removed too.
            what = "damaged" if "error" in row else f"{row['model']}, {_format_steps(row)} steps"
            size = format_bytes(run.disk_bytes)
            console.print_note(f"{name_for_shell(run)}: {what}, {size} in {run.path}")
        for path, sweep in sweeps.items():
            console.print_note(f"{path}: a sweep of {counted(len(sweep.runs), 'trial')} above")
        click.confirm(f"Remove {counted(len(runs), 'run')}?", abort=True, err=True)
    in_sweeps = {run.path for sweep in sweeps.values() for run in sweep.runs}
    alone = (Removable([run]) for path, run in runs.items() if path not in in_sweeps)
    for each in (*sweeps.values(), *alone):
        folders = [*each.runs, *([each.sweep] if each.sweep else [])]
        sizes = [format_bytes(folder.disk_bytes) for folder in folders]
        each.remove()
        for folder, size in zip(folders, sizes, strict=True):
            console.print_note(f"removed {folder.path} ({size})")


def show_runs(rows: list[dict[str, Any]]) -> None:
    """Print one line for each run."""
    whole = [row for row in rows if "error" not in row]
    # A run is named after its corpus, unless it is given a name: the column takes room.
    has_corpus = any(not row["name"].startswith(row["corpus"]) for row in whole)
    corpus = ["corpus"] * has_corpus
    headings = ["run", *corpus, "model", ">bpc", "steps", ">time", ">size", "saved"]
    output = console.make_stdout()
    table = _make_table(whole, headings, output.width)
    any_width = output.options.update(width=_ANY_COLUMNS)
    for heading in ("corpus", ">size", ">time"):  # that breaks no name within a word
        if heading in headings and output.measure(table, options=any_width).maximum > output.width:
            headings.remove(heading)
            table = _make_table(whole, headings, output.width)
    if whole:
        console.print_table(table)
    for row in rows:
        if "error" in row:  # a damaged run does not hide the others
            line = Text(one_line(f"{row['name']}: {row['error']}"), style="red")
            console.print_line(console.make_stdout(), line)


def _make_table(rows: list[dict[str, Any]], headings: list[str], width: int) -> Table:
    """Return a table of runs with these columns, for a terminal of `width`."""
    table = console.make_table(*headings)
    # On a narrow terminal these two are broken between words, and in no figure.
    columns = dict(zip(headings, table.columns, strict=True))
    made, saved = columns["steps"], columns["saved"]
    words = ["steps", *" ".join(map(_format_steps, rows)).split()]
    made.width = max(map(len, words)) if width < _STEPS_COLUMNS else None
    saved.width = len("2031-02-03") if width < _SAVED_COLUMNS else None
    made.no_wrap = made.width is None
    saved.no_wrap = saved.width is None
    for row in rows:
        seconds = row["elapsed_seconds"]
        cells = {
            "run": row["name"],
            "corpus": row["corpus"],
            "model": row["model"],
            ">bpc": _format_score(row),
            "steps": _format_steps(row),
            ">time": "" if seconds is None else format_duration(seconds),
            ">size": format_bytes(row["disk_bytes"]),
            "saved": format_date(str(row["saved"] or row["created"])),
        }
        table.add_row(*(format_cell(cells[heading]) for heading in headings))
    return table


def _format_score(row: Mapping[str, Any]) -> str:
    """Return the bits per character; of another task than text, its first figure."""
    if row["val_bpc"] is not None:
        return f"{row['val_bpc']:.3f}"
    return describe_scores(dict(list(row["scores"].items())[:1]))


def _format_steps(row: Mapping[str, Any]) -> str:
    """Return how far a run came; "" where no state of it is left."""
    step = row["last_step"]
    total = row["total_steps"]
    if step is None:
        return ""
    if row["is_finished"]:
        return f"all {step:,}"
    return f"{step:,} of {total:,}" if total else f"{step:,} of ?"

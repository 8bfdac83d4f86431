"""charrnn info and charrnn list: describe a model; list all runs."""

import json
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from charrnn.checkpoint.model_file import describe_model, read_model
from charrnn.checkpoint.run_store import find_model, list_runs, summarise_run
from charrnn.cli import console
from charrnn.cli.formatting import format_count, one_line
from charrnn.cli.inputs import checkpoints_option, optional_model
from charrnn.cli.options import Command

_INFO_EXAMPLES = """
charrnn info                                  the newest run's best model
charrnn info tiny-shakespeare --json | jq .val_bpc
charrnn info checkpoints/tiny-shakespeare/best.safetensors
"""
_LIST_EXAMPLES = "charrnn list\ncharrnn list --json | jq -r .name"
_SHOWN_CHARACTERS = 200  # of an alphabet, which may have thousands


@click.command("info", cls=Command, examples=_INFO_EXAMPLES)
@optional_model
@click.option("--json", "as_json", is_flag=True, help="print the description as one JSON object")
@checkpoints_option
def info(model: str | None, as_json: bool, checkpoints: str) -> None:
    """Describe a model.

    Shows the shape, vocabulary, training and scores of MODEL: a run's name, a run's folder or a
    model file.
    """
    path = find_model(model, Path(checkpoints))
    description = describe_model(read_model(path))
    if as_json:
        click.echo(json.dumps({"path": str(path)} | description))
    else:
        show_model(str(path), description)


def show_model(path: str, description: dict[str, Any]) -> None:
    """Print a model's description, one line a field."""
    shown = {"path": path} | description
    alphabet = description["alphabet"]
    if (rest := len(alphabet) - _SHOWN_CHARACTERS) > 0:
        shown["alphabet"] = f"{alphabet[:_SHOWN_CHARACTERS]} … and {rest:,} more"
    corpus = shown.pop("corpus", {})
    settings = shown.pop("settings", {})
    # Settings of the model's shape are shown as fields already. :g, as four decimals lose 2e-5.
    shown |= {f"corpus.{key}": value for key, value in corpus.items()} | {
        f"settings.{key}": f"{value:g}" if isinstance(value, float) else value
        for key, value in settings.items()
        if key not in shown
    }
    console.print_values(shown.items())


@click.command("list", cls=Command, examples=_LIST_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object per run")
@checkpoints_option
def list_all(as_json: bool, checkpoints: str) -> None:
    """List all runs.

    The newest run comes first. Each is shown with its corpus, size and held-out bits per character.
    """
    rows = [summarise_run(run) for run in list_runs(Path(checkpoints))]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        show_runs(rows)
    else:
        console.print_note(
            f"no runs in {Path(checkpoints).absolute()}. Runs are kept in the folder where you ran "
            "train: cd there, or pass --checkpoints FOLDER. To make one: charrnn train corpus.txt"
        )


def show_runs(rows: list[dict[str, Any]]) -> None:
    """Print one line for each run."""
    headings = ("run", "corpus", "model", ">weights", ">step", ">val\nbpc", ">written")
    table = console.make_table(*headings)
    for row in rows:
        if "error" in row:  # a damaged run does not hide the others
            error = Text(one_line(row["error"]), style="red")
            table.add_row(console.format_cell(row["name"]), error)
            continue
        bpc = "" if row["val_bpc"] is None else f"{row['val_bpc']:.3f}"
        weights = format_count(row["parameters"])
        date = str(row["created"])[:10]  # of an ISO 8601 time
        cells = (row["name"], row["corpus"], row["model"], weights, row["step"], bpc, date)
        table.add_row(*map(console.format_cell, cells))
    console.print_table(table)

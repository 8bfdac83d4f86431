"""charrnn info: everything that a model file says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.inputs import checkpoints_option, optional_model
from charrnn.cli.options import Command

_INFO_EXAMPLES = """
charrnn info                       the newest run's best model
charrnn info shakespeare --json | jq .val_bpc
charrnn info checkpoints/shakespeare/best.safetensors
"""


@click.command("info", cls=Command, examples=_INFO_EXAMPLES)
@optional_model
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@checkpoints_option
def info_command(model: str | None, as_json: bool, checkpoints: str) -> None:
    """Show shape, vocabulary, training and figures of MODEL."""
    from charrnn.checkpoint.model_file import describe_model, read_model
    from charrnn.checkpoint.run_store import find_model

    path = find_model(model, Path(checkpoints))
    description = describe_model(read_model(path))
    if as_json:
        click.echo(json.dumps({"path": str(path)} | description, ensure_ascii=True))
        return
    from charrnn.cli.tables import show_model

    show_model(str(path), description)


_LIST_EXAMPLES = """
charrnn list
charrnn list --json | jq -r .name
"""


@click.command("list", cls=Command, examples=_LIST_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="one JSON object a run")
@checkpoints_option
def list_command(as_json: bool, checkpoints: str) -> None:
    """List the runs, the newest first, with corpus, size and held-out loss."""
    from charrnn.checkpoint.run_store import list_runs, summarise_run

    rows = [summarise_run(run) for run in list_runs(Path(checkpoints))]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    from charrnn.cli.tables import show_runs

    show_runs(rows, checkpoints)

"""charrnn list: the runs there are."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.models import checkpoints_option
from charrnn.cli.options import Command

_EXAMPLES = """
charrnn list
charrnn list --json | jq -r .name
"""


@click.command("list", cls=Command, examples=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="one JSON object a run")
@checkpoints_option
def command(as_json: bool, checkpoints: str) -> None:
    """List the runs, the newest first, with corpus, size and held-out loss."""
    from charrnn.checkpoint.store import list_runs, summarise_run

    rows = [summarise_run(run) for run in list_runs(Path(checkpoints))]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    from charrnn.console.tables import show_runs

    show_runs(rows, checkpoints)

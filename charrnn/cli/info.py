"""charrnn info: everything that a model file says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.models import checkpoints_option, optional_model
from charrnn.cli.options import Command

_EXAMPLES = """
charrnn info                       the newest run's best model
charrnn info shakespeare --json | jq .val_bpc
charrnn info checkpoints/shakespeare/best.safetensors
"""


@click.command("info", cls=Command, examples=_EXAMPLES)
@optional_model
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@checkpoints_option
def command(model: str | None, as_json: bool, checkpoints: str) -> None:
    """Show shape, vocabulary, training and figures of MODEL."""
    from charrnn.checkpoint.format import describe_model, read_model
    from charrnn.checkpoint.store import find_model

    path = find_model(model, Path(checkpoints))
    description = describe_model(read_model(path))
    if as_json:
        click.echo(json.dumps({"path": str(path)} | description, ensure_ascii=True))
        return
    from charrnn.console.tables import show_model

    show_model(str(path), description)

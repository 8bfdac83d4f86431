"""charrnn corpus: texts to train on, and what is in a text."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.options import Command

_FOLDER = "corpora"


@click.group("corpus")
def command() -> None:
    """List, build, fetch and measure texts."""


@command.command("list", cls=Command, examples="charrnn corpus list")
@click.option("--dir", "folder", default=_FOLDER, show_default=True, help="where texts are kept")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a corpus")
def list_corpora(folder: str, as_json: bool) -> None:
    """List the texts that have a name here."""
    from charrnn.text.library import LIBRARY, find_corpus

    rows = [(corpus, find_corpus(name, Path(folder))) for name, corpus in LIBRARY.items()]
    if as_json:
        for corpus, path in rows:
            click.echo(json.dumps({**vars(corpus), "path": None if path is None else str(path)}))
        return
    from charrnn.console.tables import show_library

    show_library(rows)

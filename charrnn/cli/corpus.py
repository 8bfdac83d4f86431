"""charrnn corpus: texts to train on, and what is in a text."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.options import Command, settings_options
from charrnn.config import LIBRARY_FOLDER, TextConfig

_RAREST = 12

_folder_option = click.option(
    "--dir", "folder", default=LIBRARY_FOLDER, show_default=True, help="where texts are kept"
)


@click.group("corpus")
def command() -> None:
    """List, build, fetch and measure texts."""


@command.command("list", cls=Command, examples="charrnn corpus list")
@_folder_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object a corpus")
def list_corpora(folder: str, as_json: bool) -> None:
    """List the texts that have a name here."""
    from charrnn.corpora.library import LIBRARY, find_corpus

    rows = [(corpus, find_corpus(name, Path(folder))) for name, corpus in LIBRARY.items()]
    if as_json:
        for corpus, path in rows:
            click.echo(json.dumps({**vars(corpus), "path": None if path is None else str(path)}))
        return
    from charrnn.cli.tables import show_library

    show_library(rows)


@command.command("build", cls=Command, examples="charrnn corpus build python-docs")
@click.argument("name")
@_folder_option
def build(name: str, folder: str) -> None:
    """Make the text NAME from what came with Python; no network is used.

    It replaces a file of that name in the folder.
    """
    from charrnn.corpora.library import build_corpus

    _tell(name, build_corpus(name, Path(folder)))


@command.command("get", cls=Command, examples="charrnn corpus get tiny-shakespeare --dir texts")
@click.argument("name")
@_folder_option
def get(name: str, folder: str) -> None:
    """Fetch the text NAME, going on with a download that was cut off, and check it."""
    from charrnn.cli.console import show_transfer
    from charrnn.corpora.library import get_corpus

    with show_transfer(name) as on_progress:
        path = get_corpus(name, Path(folder), on_progress)
    _tell(name, path)


def _tell(name: str, path: Path) -> None:
    """Give the file's name on stdout, and what is known of it on stderr."""
    from charrnn.corpora.library import describe_check

    click.echo(describe_check(name, path), err=True)
    click.echo(one_line(str(path)) if sys.stdout.isatty() else os.fsencode(path))


@command.command(
    "stats",
    cls=Command,
    examples="charrnn corpus stats book.txt\ncharrnn corpus stats poems/ --encoding gb18030",
)
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@settings_options(TextConfig, section="Text", skipped=("val_file",))
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def stats(paths: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    """Measure the text in PATHS: size, alphabet, lines, trouble, entropy, and what train would do.

    PATHS are files, folders, globs, - for stdin, or names of `corpus list`. A model has to beat
    gzip, xz and a 5-gram on the part that train holds out: their figures are given too.
    """
    from charrnn.tasks.corpus_stats import summarise_corpus

    survey = summarise_corpus(paths, TextConfig(**settings))
    if as_json:
        click.echo(json.dumps(survey.as_json()))
        return
    from charrnn.cli.tables import show_corpus_summary

    show_corpus_summary(survey, _RAREST)

"""charrnn eval: how well a model knows a text."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from charrnn.cli.models import checkpoints_option, required_model
from charrnn.cli.options import Command
from charrnn.config import TextConfig

_EXAMPLES = """
charrnn eval shakespeare other-play.txt            all of a text
charrnn eval shakespeare plays.txt --split val     only the part that training held out
"""


@click.command("eval", cls=Command, examples=_EXAMPLES)
@required_model
@click.argument("corpus", nargs=-1, required=True, type=click.Path())
@click.option(
    "--split",
    type=click.Choice(["all", "train", "val"]),
    default="all",
    show_default=True,
    help="which part of the text, cut as training cut it",
)
@click.option("--encoding", default=TextConfig().encoding, show_default=True, help="of CORPUS")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@checkpoints_option
def command(
    model: str, corpus: tuple[str, ...], split: str, encoding: str, as_json: bool, checkpoints: str
) -> None:
    """Score the text CORPUS with MODEL: nats, bits per character and perplexity.

    Two protocols: the state carried through the whole text, and windows of 256 characters that
    each start from the initial state.
    """
    from charrnn.checkpoint.store import find_model
    from charrnn.runs.assess import assess_model

    result = assess_model(find_model(model, Path(checkpoints)), corpus, split, encoding)
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    from charrnn.console.tables import show_assessment

    show_assessment(result)

"""charrnn eval: how well models know a text."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from charrnn.cli.inputs import checkpoints_option, some_models
from charrnn.cli.options import Command, settings_options
from charrnn.config import DynamicConfig
from charrnn.errors import ConfigError
from charrnn.metrics import without_nan

_EXAMPLES = """
charrnn eval shakespeare                         the part of its text that training held out
charrnn eval shakespeare --on other-play.txt     all of another text
charrnn eval big small gru                       each one, and the average of their predictions
charrnn eval shakespeare --dynamic               learning from the text while it is scored
"""


@click.command("eval", cls=Command, examples=_EXAMPLES)
@some_models
@click.option(
    "--on",
    "texts",
    metavar="TEXT",
    multiple=True,
    help="score this instead of the models' own text: a file, a folder, a glob, - for stdin, or a "
    "name of `corpus list`; may be given again",
)
@click.option(
    "--split",
    type=click.Choice(["all", "train", "val"]),
    show_default="val; with --on all",
    help="which part of the text, cut as training cut it",
)
@click.option("--encoding", show_default="utf-8", help="of TEXT")
@click.option(
    "--dynamic", is_flag=True, help="score once more with weights that learn from what was scored"
)
@settings_options(DynamicConfig)
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    texts: tuple[str, ...],
    split: str | None,
    encoding: str | None,
    dynamic: bool,
    dynamic_rate: float,
    as_json: bool,
    checkpoints: str,
) -> None:
    """Score a text with each MODEL: nats, bits per character and perplexity.

    Two protocols: the state carried through the whole text, and windows of 256 characters that
    each start from the initial state. With --dynamic a third: the state carried, and after every
    20 characters the weights learn from them; the model file stays as it is. Several models must
    share their vocabulary; the average of the probabilities they give is scored too.

    The JSON object has texts, split, chars, models (a list) and average (null for one model). Each
    model, and the average, has model (its name), carried, windowed and dynamic (null without
    --dynamic), and each of those nats, bpc and perplexity.
    """
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.console import show_scoring
    from charrnn.cli.tables import show_eval_result
    from charrnn.tasks.eval_text import EvalTextRequest
    from charrnn.tasks.evaluate import evaluate_models

    if ctx.get_parameter_source("dynamic_rate") is _BY_FLAG and not dynamic:
        raise ConfigError("--dynamic-rate says how fast --dynamic learns; give --dynamic too")
    paths = [(name, find_model(name, Path(checkpoints))) for name in models]
    config = DynamicConfig(dynamic_rate=dynamic_rate) if dynamic else None
    with show_scoring() as watch:
        result = evaluate_models(paths, EvalTextRequest(texts, split, encoding), config, watch)
    if as_json:
        click.echo(json.dumps(asdict(result, dict_factory=lambda items: without_nan(dict(items)))))
        return
    show_eval_result(result)


_BY_FLAG = click.core.ParameterSource.COMMANDLINE

"""charrnn fill: what a model puts into the blanks of a text."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from charrnn.cli.console import Output, make_stdout
from charrnn.cli.formatting import one_line
from charrnn.cli.inputs import checkpoints_option, complete_run, read_text
from charrnn.cli.options import Command, given_settings, settings_options
from charrnn.config import FillConfig
from charrnn.errors import ConfigError, OutOfMemoryError
from charrnn.generation.infill.fill import Completion, Filling

if TYPE_CHECKING:
    from charrnn.generation.infill.fill import Filling


_EXAMPLES = """
charrnn fill shakespeare "The q___k brown f_x"   the likeliest letters, all at once
charrnn fill "Enter *, with a sword"             * is any number of characters
charrnn fill names "*bella" --line --sample -n 9 draw names that end so
charrnn fill "2 + _ = 5" --only digits --json
charrnn fill "snake?case" --blank "?"            where _ is meant as it is
charrnn fill - --beam 5000 < letter.txt
"""


@click.command("fill", cls=Command, examples=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[MODEL] TEXT", shell_complete=complete_run)
@settings_options(FillConfig)
@click.option("--json", "as_json", is_flag=True, help="one JSON object a completion")
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context, /, names: tuple[str, ...], as_json: bool, checkpoints: str, **_: Any
) -> None:
    """Fill the blanks of TEXT with what MODEL, a run's name, folder or file, finds likeliest.

    In TEXT _ is one unknown character and * any number of them; - reads it from stdin. It begins a
    line. What follows a blank counts as what stands before it: texts compare by the probability of
    the whole, so that of two gaps the shorter is favoured. A blank is filled with a character of
    the model's alphabet, never with one that it would write as bytes.

    Whether the likeliest are proven is said on stderr. --sample draws by p(text | TEXT): exactly
    where the beam holds all that fits, else by as many weighted beginnings (particles) as it holds.

    A JSON object has index, text, filled (what each blank took), bits (of the whole text), bpc,
    share (p(text | TEXT), or more where not all that fits was found), exact (the likeliest are
    proven, or the draws are from all that fits) and, with --sample, seed.
    """
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.console import show_packing
    from charrnn.generation.model import Model

    config = _choose_settings(ctx)
    text = _read_text(names)
    model = Model.from_file(find_model(names[0] if len(names) > 1 else None, Path(checkpoints)))
    with show_packing("filling") as watch:
        try:
            filling = model.fill(text, config, watch=watch)
        except MemoryError as error:
            raise OutOfMemoryError(
                f"no memory to keep {config.beam_width:,} beginnings; lower --beam or --max-gap"
            ) from error
    if as_json:
        _write_json(filling, {"seed": config.seed} if config.sample else {})
    else:
        show_filling(filling, config.sample)


def _choose_settings(ctx: click.Context) -> FillConfig:
    """Give the settings; a draw gets a seed.

    Raises:
        ConfigError: one is out of range, or only counts for draws where none was asked for.
    """
    known = {item.name for item in fields(FillConfig)}
    given = {name: value for name, value in given_settings(ctx).items() if name in known}
    config = FillConfig(**given)
    if config.sample:
        return config if config.seed is not None else replace(config, seed=secrets.randbits(32))
    for name, option in (("temperature", "--temp"), ("seed", "--seed")):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise ConfigError(f"{option} is for draws; give --sample with it, or leave it out")
    return config


def _read_text(names: Sequence[str]) -> str:
    """Give the text that is named last, from stdin where that is -.

    Raises:
        ConfigError: there are too many names or none, or stdin is closed, too long or not UTF-8.
    """
    if not 1 <= len(names) <= 2:
        raise ConfigError(f"{len(names)} names were given; give a model and a text, or a text")
    if names[-1] != "-":
        return names[-1]
    return read_text("the text", "-", "an argument")


def _write_json(filling: Filling, more: dict[str, Any]) -> None:
    for index, each in enumerate(filling.completions):
        record = {
            "index": index,
            "text": each.text,
            "filled": [each.text[start:end] for start, end in each.filled],
            "bits": each.bits,
            "bpc": each.bpc,
            "share": each.share,
            "exact": filling.is_exact,
        }
        click.echo(json.dumps(record | more, allow_nan=False))


_LEAST_COLUMNS = 40
_FILLED = "bold underline"


def show_filling(filling: Filling, is_sample: bool) -> None:
    """Write the completions to stdout, and to stderr what is known of them."""
    console = make_stdout(_LEAST_COLUMNS)
    heading = Text(f"{'share':>7} {'bits':>9} {'bpc':>7}  text", style="bold")
    console.print(heading, soft_wrap=True)
    for each in filling.completions:
        row = Text(f"{100 * each.share:>6.2f}% {each.bits:>9.3f} {each.bpc:>7.3f}  ")
        console.print(row + _mark_filled(each), soft_wrap=True)
    notes = Output(stderr=True)
    notes.print(describe_filling(filling, is_sample), style="dim", soft_wrap=True, highlight=False)


def describe_filling(filling: Filling, is_sample: bool) -> str:
    """Say whether these are surely the likeliest, or drawn from all that there are."""
    if is_sample:
        if filling.is_exact:
            return f"drawn from all {filling.found:,} completions that there are"
        return (
            f"drawn from {filling.found:,} completions that stand for all there are; "
            "a wider --beam comes closer"
        )
    shares = f"shares are of {filling.found:,} completions found"
    if filling.is_exact:
        return f"proven: no other completion is likelier; {shares}"
    return f"not proven: a likelier one may be among those dropped, try a wider --beam; {shares}"


def _mark_filled(completion: Completion) -> Text:
    """Give the text on one line, what was filled in underlined."""
    marked, shown = Text(), 0
    for start, end in completion.filled:
        marked.append(one_line(completion.text[shown:start]))
        marked.append(one_line(completion.text[start:end]), style=_FILLED)
        shown = end
    return marked.append(one_line(completion.text[shown:]))

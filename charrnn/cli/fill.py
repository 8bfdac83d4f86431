"""charrnn fill: fill in the blanks of a text with a model."""

import json
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from charrnn.checkpoint.run_store import find_model
from charrnn.cli.console import make_stdout, print_line, print_note, progress_bar
from charrnn.cli.formatting import one_line
from charrnn.cli.inputs import (
    checkpoints_option,
    complete_run,
    label_option,
    out_option,
    read_text,
    refuse_target,
    written_to,
)
from charrnn.cli.options import Command, settings_from_options, settings_options
from charrnn.config import FillConfig, with_seed
from charrnn.config.fields import refuse_escapes
from charrnn.errors import ConfigError, OutOfMemoryError, counted
from charrnn.generation.infill.fill import Completion, Filling
from charrnn.tasks.model import Model
from charrnn.text.substitutions import describe_changes

_EXAMPLES = """
charrnn fill "The q___k brown f_x"           the most likely characters
charrnn fill "Enter *, with a sword"         * is any number of characters
charrnn fill names "*bella" --line --sample  random names that end in bella
charrnn fill "2 + _ = 5" --only digits --json
charrnn fill "snake?case" --blank "?"        when _ is a literal underscore
charrnn fill - --beam 5000 < letter.txt
"""
_COMMON = ("count", "line", "only", "ban", "beam_width", "sample", "temperature", "seed", "as_json")
_WIDEST_BEAM = 20_000  # that FillConfig allows
_COMMANDLINE = click.core.ParameterSource.COMMANDLINE


@click.command("fill", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("names", nargs=-1, metavar="[MODEL] TEXT", shell_complete=complete_run)
@settings_options(FillConfig)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object per completion")
@label_option(
    help="label of the text, of a model trained with labels: speaker=ROMEO; can be repeated"
)
@out_option
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    as_json: bool,
    labels: tuple[str, ...],
    out: str | None,
    checkpoints: str,
    **_: Any,
) -> None:
    """Fill in the blanks of a text.

    In TEXT, _ is one unknown character and * any number of them; - reads TEXT from stdin. MODEL, a
    run's name, a run's folder or a model file, finds the most probable characters, using the text
    on both sides of each blank. Without MODEL the newest model is used.

    TEXT starts at the beginning of a line; for a model of records it is a whole record, the end of
    which counts too. Completions are ranked by the probability of the whole
    text, so a shorter fill of a gap is favoured. A blank takes characters of the model's alphabet,
    never one encoded as bytes. A message on stderr says whether the results are guaranteed to be
    the best. --sample draws completions in proportion to their probability: exactly if the beam
    holds all completions that match, else by a particle filter with --beam particles.

    A JSON object has index, text, filled (the characters of each blank), bits (of the whole text),
    bpc, share (its probability among the completions found), exact (guaranteed to be the best, or
    drawn from all that match) and, with --sample, seed.
    """
    config = settings_from_options(ctx, FillConfig)
    if config.sample:
        config = with_seed(config)  # --json shows it, to repeat the sample
    for name, option in (("temperature", "--temp"), ("seed", "--seed")):
        # In the environment they may be meant for `charrnn sample`.
        if not config.sample and ctx.get_parameter_source(name) is _COMMANDLINE:
            raise ConfigError(f"{option} needs --sample; add --sample, or remove {option}")
    if not 1 <= len(names) <= 2:
        raise ConfigError(f"got {len(names)} arguments; give a model and a text, or only a text")
    if out not in (None, "-"):
        refuse_target(str(out))
    text = names[-1] if names[-1] != "-" else read_text("the text", "-")
    path = find_model(names[0] if len(names) > 1 else None, Path(checkpoints))
    model = Model.from_file(path, labels)
    if names[-1] != "-":
        refuse_escapes("TEXT", text, model.vocab.alphabet)
    with progress_bar("filling") as show:
        try:
            filling = model.fill(text, config, on_progress=show)
        except MemoryError as error:
            raise OutOfMemoryError(
                f"no memory to keep {config.beam_width:,} partial texts; lower --beam or --max-gap"
            ) from error
    if filling.changes:
        print_note(describe_changes(dict(filling.changes)))
    with written_to(out):
        if as_json:
            _write_json(filling, {"seed": config.seed} if config.sample else {})
        else:
            show_filling(filling, config)


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


def show_filling(filling: Filling, config: FillConfig) -> None:
    """Print the completions on stdout, and on stderr what is known of them."""
    console = make_stdout()
    # Not a table: its last column would fold a long text, which then could not be copied.
    print_line(console, f"{'share':>7} {'bits':>9} {'bpc':>7}  text", "bold")
    for each in filling.completions:
        row = Text(f"{100 * each.share:>6.2f}% {each.bits:>9.3f} {each.bpc:>7.3f}  ")
        print_line(console, row + _mark_filled(each))
    print_note(_describe_filling(filling, config), "dim")


def _describe_filling(filling: Filling, config: FillConfig) -> str:
    """Return whether these are guaranteed to be the best, or sampled from all that fit."""
    found = counted(filling.found, "completion")
    wider = min(10 * config.beam_width, _WIDEST_BEAM)
    advice = f"; --beam {wider} searches further" if wider > config.beam_width else ""
    if config.sample and filling.is_exact:
        return f"sampled from all {found} that fit"
    if config.sample:
        return f"sampled from {found} that represent all that fit{advice}"
    if filling.is_exact:  # nothing that was dropped from the beam could be more probable
        return f"no other completion is more probable; shares are of {found} found"
    return f"these may not be the very best{advice}; shares are of {found} found"


def _mark_filled(completion: Completion) -> Text:
    """Return the text on one line, with what was filled in underlined."""
    marked = Text()
    shown = 0  # characters of the text so far
    for start, end in completion.filled:
        marked.append(one_line(completion.text[shown:start]))
        marked.append(one_line(completion.text[start:end]), style="bold underline")
        shown = end
    return marked.append(one_line(completion.text[shown:]))

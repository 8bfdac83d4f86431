"""charrnn sample: let a model write."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from charrnn.cli.inputs import (
    checkpoints_option,
    complete_run,
    optional_model,
    read_choices,
    read_prompt,
)
from charrnn.cli.options import Choice, Command, Option, given_settings, settings_options
from charrnn.config import PRESETS, SampleConfig
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.cli.sample.request import SampleRequest

_Function = TypeVar("_Function", bound=Callable[..., Any])

_EXAMPLES = """
charrnn sample                                 the newest run's best model
charrnn sample shakespeare --temp 0.5 --prompt "ROMEO:"
charrnn sample names -n 1000 --lines 1 --unique --skip-known-lines
charrnn sample --preset careful --sentences 2   presets: careful, plain, wild
charrnn sample --ban digits --bias e=-2 --min-p 0.05 --print-sampler
charrnn sample --regex "[A-Z][a-z]+( [a-z]+){2,5}[.]"
charrnn sample --template "Name: {}, aged {[1-9][0-9]?}"
charrnn sample -m shakespeare:0.7 -m tang:0.3  two models as one
charrnn sample --max-copy 20 --mark-copies             what is copied from the corpus, marked
charrnn sample --prompt-file draft.txt --stop "." --no-prompt
charrnn sample -n 20 --sort --json --logprobs 3 | head -1
"""

_PRESETS = "; ".join(
    f"{preset}: "
    + ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in values.items())
    for preset, values in PRESETS.items()
)


def _option(section: str) -> Callable[..., Callable[[_Function], _Function]]:
    return partial(click.option, cls=Option, section=section)


_many, _origin, _models = map(_option, ("Many texts", "Originality", "Models"))


@click.command("sample", cls=Command, examples=_EXAMPLES)
@optional_model
@click.option("--prompt", help="text to go on from; - reads it from stdin")
@click.option("--prompt-file", type=click.Path(), help="file with the text to go on from (UTF-8)")
@click.option(
    "--preset",
    type=Choice(tuple(PRESETS)),
    help=f"settings that go together ({_PRESETS}); those given go before them",
)
@click.option("--no-prompt", is_flag=True, help="leave the prompt out of what is written")
@click.option("--print-sampler", is_flag=True, help="print the steps of drawing and stop")
@click.option("--raw", is_flag=True, help="write control characters as they are to a terminal too")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a sample")
@click.option(
    "--logprobs",
    type=click.IntRange(min=0, max=1000),
    help="with --json, ln p of each character, and of so many of the likeliest in its place",
)
@_models(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="NAME[:WEIGHT]",
    shell_complete=complete_run,
    help="blend this model, instead of MODEL; given again for each",
)
@_models("--blend-log", is_flag=True, help="blend log-probabilities: what all find likely")
@_models(
    "--negative-model",
    metavar="NAME[:STRENGTH]",
    help="push away from what this model finds likely",
)
@_models("--save-state", type=click.Path(), help="keep the state after the text in this file")
@_models("--load-state", type=click.Path(), help="go on from the state in this file")
@_many(
    "-n",
    "--samples",
    "count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="how many texts to write",
)
@_many(
    "--best-of",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="draw so many for each text, and give the likeliest by the character",
)
@_many(
    "--device",
    type=Choice(("cpu", "cuda")),
    help="write with torch there, thousands of texts at once; without most penalties, filters and "
    "constraints",
)
@_many("--unique", is_flag=True, help="write no text twice")
@_many("--sort", is_flag=True, help="the likeliest by the character first")
@_origin("--skip-known-lines", is_flag=True, help="leave out lines that stand in the corpus")
@_origin("--mark-copies", is_flag=True, help="mark what stands in the corpus word for word")
@_origin(
    "--min-copy",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="characters in a row that make a copy",
)
@_option("Constraint")(
    "--choices", "choices_file", type=click.Path(), help="write one of the lines of this file"
)
@settings_options(SampleConfig, skipped=("choices",))
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    preset: str | None,
    print_sampler: bool,
    models: tuple[str, ...],
    blend_log: bool,
    negative_model: str | None,
    save_state: str | None,
    load_state: str | None,
    choices_file: str | None,
    checkpoints: str,
    **others: Any,
) -> None:
    """Write text with MODEL: a run's name, its folder, or a model file.

    Characters are drawn in the order repetition, presence, frequency and loop penalty, bias, only
    and ban, constraint, novel, temperature, top-n-sigma, top-k, typical, top-p, min-p, XTC,
    mirostat. At temperature 0 the likeliest that may come is taken instead. Without a prompt the
    text begins as a line begins; with --documents, as a document does.

    Sample i of a seed is the same however many are written. Under a constraint the text matches in
    full; it ends where the model would write what cannot match. --beam draws nothing: bias, only
    and ban alone shape its probabilities. --device draws by the random numbers of the ordinary
    texts, so one differs from them from where rounding decides, if it does.

    A JSON object has index, prompt, text, stopped_by, bpc (in the model, before anything shaped
    it), temperature and seed; with --logprobs also logprobs, with --mark-copies also copied.
    """
    from charrnn.cli.sample.request import SampleRequest, write_samples_to_stdout
    from charrnn.generation.chain import describe_chain
    from charrnn.tasks.open_models import open_models

    wanted = SampleRequest(**{item.name: others[item.name] for item in fields(SampleRequest)})
    config = _choose_settings(ctx, preset, choices_file)
    _check(wanted, config, save_state)
    if print_sampler:
        click.echo("\n".join(describe_chain(config)))
        return
    text = read_prompt(prompt, prompt_file)
    bench = open_models(model, models, negative_model, blend_log=blend_log, checkpoints=checkpoints)
    if wanted.skip_known_lines or wanted.mark_copies or config.max_copy is not None:
        bench = bench.with_own_text()
    if load_state:
        bench = bench.with_state(load_state)
    written = write_samples_to_stdout(bench, text, config, wanted)
    if save_state:
        opening = "" if text or load_state else bench.writer.opening(config)
        bench.save_state(save_state, opening + text + written)


def _choose_settings(
    ctx: click.Context, preset: str | None, choices_file: str | None
) -> SampleConfig:
    """Let what is given go before the preset, and that before the defaults; draw a seed."""
    names = {item.name for item in fields(SampleConfig)}
    given = {name: value for name, value in given_settings(ctx).items() if name in names}
    if choices_file is not None:
        given["choices"] = read_choices(choices_file)
    config = SampleConfig.from_preset(preset, **given) if preset else SampleConfig(**given)
    return config if config.seed is not None else replace(config, seed=secrets.randbits(32))


def _check(wanted: SampleRequest, config: SampleConfig, save_state: str | None) -> None:
    """Refuse options that do not go together.

    Raises:
        ConfigError: names them.
    """
    if wanted.logprobs is not None and not wanted.as_json:
        raise ConfigError("--logprobs is written as JSON; give --json with it, or leave it out")
    if save_state and wanted.count > 1:
        raise ConfigError("--save-state keeps the state of one text; leave -n out")
    if config.beam and (wanted.best_of > 1 or wanted.logprobs is not None or wanted.unique):
        raise ConfigError(
            "--beam finds the likeliest texts, each once; leave --best-of, --unique and --logprobs "
            "out"
        )

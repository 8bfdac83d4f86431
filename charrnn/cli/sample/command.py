"""charrnn sample: options in, texts on stdout.

`tasks/sample.py` makes the texts and `output.py` shows them; both are imported once the options are
known to be good, so that help and mistakes cost little.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from charrnn.cli import inputs
from charrnn.cli.formatting import one_line
from charrnn.cli.options import Choice, Command, Option, settings_from_options, settings_options
from charrnn.config import PRESETS, SampleConfig, with_seed
from charrnn.config.fields import refuse_escapes
from charrnn.errors import ConfigError, located

_EXAMPLES = """
charrnn sample                                 the newest run's best model
charrnn sample tiny-shakespeare --temp 0.5 --prompt "ROMEO:"
charrnn sample names -n 1000 --unique --skip-known-lines
charrnn sample --preset careful --sentences 2  presets: careful, plain, wild
charrnn sample --ban digits --bias e=-2 --min-p 0.05 --print-sampler
charrnn sample --regex "[A-Z][a-z]+( [a-z]+){2,5}[.]"
charrnn sample --template "Name: {}, aged {[1-9][0-9]?}"
charrnn sample -m book:0.7 -m letters:0.3      two models blended
charrnn sample play --label speaker=ROMEO      a speech of one speaker
charrnn sample --max-copy 20 --mark-copies     mark what the corpus has too
charrnn sample --prompt-file draft.txt --stop "." --no-prompt
charrnn sample --prompts openings.txt -n 3 --json -o texts.jsonl
charrnn sample -n 20 --sort --json --logprobs 3 | head -1
"""
_COMMON = (  # what --help shows; --help-all shows every option
    *("prompts", "prompt_file", "temperature", "length", "count", "lines", "stop"),
    *("preset", "top_k", "top_p", "seed", "checkpoints"),
)
_PRESETS = "; ".join(
    f"{preset}: " + ", ".join(f"{key.replace('_', '-')} {value:g}" for key, value in values.items())
    for preset, values in PRESETS.items()
)

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]  # partial hides it from mypy
_many: Callable[..., _Decorator] = partial(click.option, cls=Option, section="Many texts")
_origin: Callable[..., _Decorator] = partial(click.option, cls=Option, section="Originality")
_models: Callable[..., _Decorator] = partial(click.option, cls=Option, section="Models")
_positive = {"type": click.IntRange(min=1), "metavar": "N", "show_default": True}


@click.command("sample", cls=Command, examples=_EXAMPLES, common=_COMMON)
@inputs.optional_model
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="text to continue; - reads it from stdin; can be repeated, for a text each",
)
@click.option("--prompt-file", type=click.Path(), help="UTF-8 file with the text to continue")
@click.option(
    "--prompts",
    "prompts_file",
    type=click.Path(),
    help="file with a prompt in each line, or a JSON object such as "
    '{"prompt": "It was", "temperature": 0.5, "seed": 1}; - for stdin',
)
@click.option(
    "--preset",
    type=Choice(tuple(PRESETS)),
    help=f"group of settings ({_PRESETS}); options that you give override them",
)
@click.option("--no-prompt", is_flag=True, help="leave the prompt out of the output")
@click.option("--print-sampler", is_flag=True, help="print the sampling steps and exit")
@inputs.out_option
@click.option(
    "--separator",
    metavar="TEXT",
    show_default="an empty line; none where each is one line",
    help="line between two texts; empty for none",
)
@click.option("-q", "--quiet", is_flag=True, help="no notes on stderr, such as the seed in use")
@click.option("--raw", is_flag=True, help="write control characters to a terminal unchanged")
@click.option("--json", "as_json", is_flag=True, help="print each text as one JSON object")
@click.option(
    "--logprobs",
    type=click.IntRange(min=0, max=1000),
    metavar="N",
    help="with --json: ln p of each character, and of the N most likely ones at its position",
)
@_models(
    "-m",
    "--model",
    "names",
    multiple=True,
    metavar="NAME[:WEIGHT]",
    shell_complete=inputs.complete_run,
    help="blend models, each given by -m instead of MODEL; WEIGHT is relative to the others: above "
    "0, at most 1000, 1 if left out",
)
@_models(
    "--blend-log",
    is_flag=True,
    help="with -m: average log-probabilities instead of probabilities, so that a character must be "
    "likely in every model",
)
@_models(
    "--negative-model",
    metavar="NAME[:STRENGTH]",
    help="make less likely what this model finds likely; STRENGTH says how much: above 0, at most "
    "1000, 0.5 if left out",
)
@inputs.label_option(
    cls=Option,
    section="Models",
    help="label of the text, of a model trained with labels: speaker=ROMEO, or ROMEO where one "
    "column has it; ROMEO:0.7 is a part of a mixture; can be repeated",
)
@_models(
    "--label-strength",
    type=click.FloatRange(min=0, min_open=True, max=1000),
    default=1.0,
    show_default=True,
    metavar="X",
    help="with --label: above 1 the label counts more than in training, below 1 less",
)
@_models(
    "--save-state", type=click.Path(), help="save the model's state after the text to this file"
)
@_models("--load-state", type=click.Path(), help="continue from the state saved in this file")
@_many("-n", "--samples", "count", default=1, help="how many texts to write", **_positive)
@_many(
    "--best-of",
    default=1,
    help="for each text, write N and keep the one with the highest mean log-probability per "
    "character",
    **_positive,
)
@_many(
    "--device",
    type=Choice(("cpu", "cuda")),
    help="sample thousands of texts at once with torch on this device; most penalties, filters and "
    "constraints are not available",
)
@_many("--unique", is_flag=True, help="write no text twice")
@_many(
    "--sort",
    is_flag=True,
    help="write the texts with the highest mean log-probability per character first",
)
@_origin(
    "--skip-known-lines", is_flag=True, help="leave out lines, or records, of the training text"
)
@_origin("--mark-copies", is_flag=True, help="mark what is copied from the training text")
@_origin("--min-copy", default=20, help="characters in a row that count as a copy", **_positive)
@click.option(
    "--choices",
    "choices_file",
    cls=Option,
    section="Constraint",
    type=click.Path(),
    help="write one of the lines of this file",
)
@settings_options(SampleConfig, skipped=("choices",))
@inputs.checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    prompts: tuple[str, ...],
    prompt_file: str | None,
    prompts_file: str | None,
    out: str | None,
    print_sampler: bool,
    names: tuple[str, ...],
    blend_log: bool,
    negative_model: str | None,
    labels: tuple[str, ...],
    label_strength: float,
    save_state: str | None,
    load_state: str | None,
    choices_file: str | None,
    checkpoints: str,
    **others: Any,
) -> None:
    """Generate text with a model.

    MODEL is a run's name, a run's folder or a model file. The text continues --prompt for --length
    characters. --temp sets how varied the text is: 0.5 is cautious, 1 is as varied as the training
    text. Without a prompt the text starts at the beginning of a line, or, with a model that was
    trained on records, at that of a record; there it ends by itself.

    For each character the settings are applied in this order: repetition, presence, frequency and
    DRY penalties, bias, only and ban, constraint or max-copy, temperature, top-n-sigma, top-k,
    typical, top-p, min-p, XTC, mirostat. --print-sampler shows the steps of your options. At
    temperature 0 the most likely allowed character is taken. With --documents a text without a
    prompt starts at the beginning of a document.

    Sample i depends only on the seed and i, not on how many samples you ask for. With a constraint
    (--regex, --template or --choices) the whole text matches it. Once it does, the text ends when
    the model picks a character that cannot extend the match. --beam searches instead of sampling:
    only --bias, --only and --ban change its probabilities. With --device the same seed gives the
    same text as without it, unless rounding changes which character is picked.

    Each prompt of --prompts, and each --prompt, has -n texts, in the order given. The first prompt
    has the texts that it would have alone; prompts with the same settings are sampled together.
    With --lines or --unique a blank text does not count. Without --seed, stderr names the seed that
    was chosen.

    A model of records ends each text where it would end a record, or at --length. --documents N
    writes N records, and so does --lines N where each line is one. --prompt begins a record.

    A JSON object has index, prompt, text, stopped_by, bpc (of the model, before any option changes
    its probabilities), temperature and seed (--beam has neither); --label adds labels, --logprobs
    logprobs, with <end> for the end of a record, and --mark-copies copied.
    """
    if others["logprobs"] is not None and not others["as_json"]:
        raise ConfigError("--logprobs is written as JSON; give --json with it, or leave it out")
    is_given = ctx.get_parameter_source("min_copy") is click.core.ParameterSource.COMMANDLINE
    if is_given and not others["mark_copies"]:
        raise ConfigError("--min-copy works only with --mark-copies; add that, or leave it out")
    if save_state and others["count"] > 1:
        raise ConfigError("--save-state keeps the state of one text; leave -n out")
    if others["separator"] is not None:
        if others["as_json"]:
            raise ConfigError("--json has an object a line; leave --separator out, or --json")
        refuse_escapes("--separator", others["separator"])
    if out not in (None, "-"):
        read = [each for each in (prompt_file, prompts_file, choices_file, load_state) if each]
        inputs.refuse_target(str(out), read=[*read, *([save_state] if save_state else [])])
    choices = () if choices_file is None else inputs.read_choices(choices_file)
    config = settings_from_options(ctx, SampleConfig, choices=choices)
    has_seed = config.seed is not None
    config = with_seed(config)  # JSON names it
    from charrnn.tasks.sample import Prompt, SampleRequest

    request = settings_from_options(ctx, SampleRequest)
    request.check(config)
    if print_sampler:  # without opening a model
        from charrnn.generation.chain import describe_chain

        click.echo("\n".join(describe_chain(config)))
        return

    def tell(note: str) -> None:
        if not others["quiet"]:
            click.echo(f"charrnn: {one_line(note)}", err=True)

    from charrnn.cli.sample.output import OutputOptions, write_samples  # these load numpy
    from charrnn.tasks.open_models import open_models
    from charrnn.text.substitutions import describe_changes

    models = open_models(
        model,
        names,
        negative_model,
        blend_log=blend_log,
        labels=labels,
        label_strength=label_strength,
        checkpoints=checkpoints,
    )
    is_binary = models.generator.vocab.is_binary
    asked = inputs.read_prompts(prompts, prompt_file, prompts_file, config, is_binary=is_binary)
    if save_state and len(asked) > 1:
        raise ConfigError("--save-state keeps the state of one text; give one prompt")
    if save_state:
        models.one_file("--save-state")  # fails before the text is written
    if load_state:
        models = models.with_state(load_state)
    for text in prompts:
        refuse_escapes("--prompt", text, models.generator.vocab.alphabet)
    known = []
    changes = Counter[str]()
    for text, own, place in asked:
        with located(place):
            fitted = models.generator.fit(text, own.unknown)
        known.append(Prompt(fitted.text, own, place))
        changes += fitted.changes
    if changes:
        tell(describe_changes(changes))
    shown = settings_from_options(ctx, OutputOptions)
    # A person who likes a text can have it again; the objects of --json name its seed.
    is_chance = any(own.seed == config.seed and own.temperature for _, own, _ in asked)
    is_news = is_chance and not (has_seed or config.beam or others["as_json"])
    seed_note = f"--seed {config.seed} writes the same again"
    try:
        with inputs.written_to(out):
            written = write_samples(models, known, request, shown)
    except KeyboardInterrupt:  # of a long text that has said enough
        if is_news:
            tell(seed_note)
        raise
    if save_state:
        models.save_state(save_state, known[0].text, written, config)
    if is_news:
        tell(seed_note)

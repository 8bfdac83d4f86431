"""charrnn eval: how well models predict a text."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.cli import console
from charrnn.cli.formatting import describe_end, describe_unseen, one_line
from charrnn.cli.inputs import checkpoints_option, some_models
from charrnn.cli.options import Choice, Command, errors_option, settings_options, unknown_option
from charrnn.config import DynamicConfig
from charrnn.data.draw import PARTS
from charrnn.errors import ConfigError, counted
from charrnn.metrics import without_nan
from charrnn.tasks.eval_task import evaluate_task
from charrnn.tasks.task_result import TaskEvalResult
from charrnn.text.substitutions import describe_changes

if TYPE_CHECKING:
    from charrnn.tasks.eval_text import EvalTextRequest
    from charrnn.tasks.evaluate import EvalResult

_EXAMPLES = """
charrnn eval book                  the held-out part of its own text
charrnn eval book book-2           each model, their ensemble, mean ± sd
charrnn eval kinds --file new.tsv  how well a classifier decides
"""
_PROTOCOLS = {
    "carried": "state carried",
    "windowed": "windows of 256",
    "unlabelled": "labels unknown",
    "dynamic": "dynamic, state carried",
}  # in the order in which they are measured
_SHOWN_TEXTS = 3
_SHOWN_CONFUSED = 10
_COMMANDLINE = click.core.ParameterSource.COMMANDLINE


@click.command("eval", cls=Command, examples=_EXAMPLES)
@some_models  # no default here: an ensemble must be of models that were named
@click.option(
    "--file",
    "files",
    metavar="FILE",
    multiple=True,
    help="score this instead of the models' own text: a file, a folder, a glob, - for stdin, or a "
    "name from `charrnn corpus list`; can be repeated",
)
@click.option("--text", help="score this text, given as an argument")
@click.option(
    "--split",
    type=Choice(["all", *PARTS]),
    show_default="val; all with --file or --text",
    help="part of the text to score, split as in training: val chose the best model, test (of "
    "train --test-fraction) chose nothing, so a figure to publish comes from test. With --file, "
    "the models' own text is known again wherever it is now",
)
@unknown_option
@errors_option
@click.option(
    "--encoding", show_default="utf-8", help="text encoding of FILE, such as utf-8 or gb18030"
)
@click.option(
    "--dynamic",
    is_flag=True,
    help="also score with weights that learn from each part of the text once it is scored",
)
@settings_options(DynamicConfig)
@click.option("--json", "as_json", is_flag=True, help="print the figures as one JSON object")
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    dynamic: bool,
    dynamic_rate: float,
    as_json: bool,
    checkpoints: str,
    **request: Any,
) -> None:
    """Score a text: bits per character and perplexity.

    Each MODEL, a run's name, a run's folder or a model file, scores the text by two protocols: with
    the state carried through the whole text, and in windows of 256 tokens that each start from the
    initial state. --dynamic adds a third: the state is carried, and the weights learn from every 20
    tokens after these are scored; the model file does not change. The first character is given and
    not counted. Characters that the models never saw are counted apart, as charrnn score does.
    Records are read whole, each from its initial state, and not in windows; the end of each counts
    as one character. Where they have labels, they are also scored as if no label were known.

    A model of another task than text is scored by how it decides on the records of FILE, read as in
    training: accuracy and the like with 95% intervals (bootstrap), then by class and by length, and
    what is taken for what. No torch is needed.

    Several models must have the same vocabulary. Their ensemble, one prediction that is the average
    of their probabilities, is scored too. Apart from it stands mean ± sd: of the single models'
    figures, as of several seeds, with the sample standard deviation (n − 1).

    The JSON object has texts, split, chars, utf8_bytes, unseen_chars, mapped (what --unknown
    changed, and how often each), models (a list of objects), and ensemble, mean and sd (objects of
    the same kind, null for one model). Each of these objects has model (the name given), path (its
    file), unseen_bits, end_bits (of the end of a record), carried, windowed (null for records),
    unlabelled (null without labels) and dynamic (null without --dynamic). Each of the last four has
    nats, bpc, perplexity, bpc_with_unseen and bits_per_byte (of UTF-8).

    Of a model of another task the JSON object has model, texts, split, records, figures (by name,
    each an object with value, low and high), classes, lengths, confused (right, found, records; all
    that occur), wrong (source, found, right; some of them), unlabelled, changes and notes.
    """
    from charrnn.tasks.eval_text import EvalTextRequest

    # In the environment it may be meant for another command.
    if ctx.get_parameter_source("dynamic_rate") is _COMMANDLINE and not dynamic:
        raise ConfigError("--dynamic-rate is the learning rate of --dynamic; give --dynamic too")
    paths = [(name, find_model(name, Path(checkpoints))) for name in models]
    if len(paths) == 1:
        file = read_model(paths[0][1])
        if file.config.task != "text":
            if dynamic:
                raise ConfigError(
                    f"--dynamic is for text, and this model is for {file.config.task}"
                )
            _evaluate_task(models[0], file, EvalTextRequest(**request), as_json=as_json)
            return
    from charrnn.tasks.evaluate import evaluate_models  # torch

    config = DynamicConfig(dynamic_rate=dynamic_rate) if dynamic else None
    scored: Counter[str] = Counter()  # tokens by protocol
    with console.progress_bar("scoring") as show:

        def watch(protocol: str, tokens: int, total: int) -> None:
            scored[protocol] += tokens
            show(scored[protocol], total, _PROTOCOLS[protocol])

        result = evaluate_models(paths, EvalTextRequest(**request), config, watch)
    for note in result.notes:
        console.print_note(note)
    if result.mapped:
        console.print_note(describe_changes(result.mapped))
    if as_json:
        click.echo(json.dumps(asdict(result, dict_factory=lambda items: without_nan(dict(items)))))
    else:
        show_eval_result(result)


def _evaluate_task(name: str, file: ModelFile, request: EvalTextRequest, *, as_json: bool) -> None:
    """Score records, and print how well they are decided on."""
    result = evaluate_task(name, file, request)
    for note in result.notes:
        console.print_note(note)
    if result.changes:
        console.print_note(describe_changes(Counter(result.changes)))
    if as_json:
        record = asdict(result)
        record["figures"] = {key: each._asdict() for key, each in result.figures.items()}
        click.echo(json.dumps(without_nan(record)))
    else:
        show_task_result(result)


def show_task_result(result: TaskEvalResult) -> None:
    """Print the figures of a task with their intervals, then those of classes and lengths."""
    table = console.make_table("figure", ">value", ">95% interval")
    for key, each in result.figures.items():
        name = key.replace("_nats", " (nats)").replace("_", " ")
        table.add_row(name, f"{each.value:.4f}", f"{each.low:.4f} – {each.high:.4f}")
    console.print_table(table)
    if result.classes:
        click.echo()
        is_tags = "log_loss_nats" not in result.figures
        names = ("tag", ">characters") if is_tags else ("class", ">records")
        table = console.make_table(*names, ">precision", ">recall", ">F1")
        for row in result.classes:
            cells = [f"{value:.3f}" for value in (row.precision, row.recall, row.f1)]
            table.add_row(console.format_cell(row.name), f"{row.records:,}", *cells)
        console.print_table(table)
    if len(result.lengths) > 1:
        click.echo()
        table = console.make_table("length", ">records", ">right")
        for length in result.lengths:
            least = f"{length.least:,}–{length.most:,}"
            table.add_row(least, f"{length.records:,}", f"{length.accuracy:.1%}")
        console.print_table(table)
    if result.wrong:
        click.echo()
        table = console.make_table("some that are wrong", "found", "right")
        for mistake in result.wrong:
            table.add_row(*map(console.format_cell, mistake))
        console.print_table(table)
    if result.confused:
        click.echo()
        table = console.make_table("most confused: right", "found", ">records")
        for right, found, count in result.confused[:_SHOWN_CONFUSED]:
            table.add_row(console.format_cell(right), console.format_cell(found), f"{count:,}")
        console.print_table(table)
    click.echo()
    part = "all" if result.split == "all" else f"the {result.split} part"
    texts = one_line(", ".join(result.texts[:_SHOWN_TEXTS]))
    if (more := len(result.texts) - _SHOWN_TEXTS) > 0:
        texts += f" and {more:,} more"
    left = f"; {result.unlabelled:,} more have no label that the model knows" * bool(
        result.unlabelled
    )
    over = Text(f"over {counted(result.records, 'record')}, {part} of {texts}{left}")
    console.print_line(console.make_stdout(), over)


def show_eval_result(result: EvalResult) -> None:
    """Print the scores of each model and of their ensemble by each protocol, then mean ± sd."""
    units = {"nats": "nats", "bpc": "bits per\ncharacter"}
    if result.utf8_bytes != result.chars:
        units["bits_per_byte"] = "bits\nper\nbyte"
    units["perplexity"] = "perplexity"
    if result.unseen_chars:
        units["bpc_with_unseen"] = "with\nthose\nnever\nseen"
    headings = [f">{unit}" for unit in units.values()]
    padding = 1 if len(units) < 5 else 0  # all five fit into 50 columns
    table = console.make_table("protocol", "model", *headings, padding=padding)
    # One block of rows for each protocol, whose name is in the first row.
    protocols = {key: label for key, label in _PROTOCOLS.items() if getattr(result.models[0], key)}
    if result.models[0].windowed is None:
        protocols["carried"] = "whole records"
    rows = [*result.models, *([result.ensemble] if result.ensemble else [])]
    for protocol, label in protocols.items():
        for row in rows:
            metrics = getattr(row, protocol)
            cells = [f"{getattr(metrics, unit):.4f}" for unit in units]
            name = label if row is rows[0] else ""
            table.add_row(name, console.format_cell(row.model), *cells)
    console.print_table(table)
    if result.mean and result.sd:
        click.echo()
        table = console.make_table(
            f"mean ± sd of {len(result.models)}", *(f">{label}" for label in protocols.values())
        )
        for unit, label in units.items():
            pairs = [(getattr(result.mean, each), getattr(result.sd, each)) for each in protocols]
            cells = [f"{getattr(mean, unit):.4f} ± {getattr(sd, unit):.4f}" for mean, sd in pairs]
            table.add_row(label.replace("\n", " "), *cells)
        console.print_table(table)
        what = "of the single models' figures; sd with n − 1"
        console.print_line(console.make_stdout(), Text(what))
    click.echo()
    ends = [row.end_bits for row in rows if row.end_bits is not None]
    if ends:
        console.print_line(console.make_stdout(), Text(describe_end(ends, digits=4)))
    part = "all" if result.split == "all" else f"the {result.split} part"
    texts = one_line(", ".join(result.texts))
    over = Text(f"over {counted(result.chars, 'character')}, {part} of {texts}")
    console.print_line(console.make_stdout(), over)
    if result.unseen_chars:
        bits = [row.unseen_bits for row in rows]
        console.print_line(console.make_stdout(), describe_unseen(result.unseen_chars, bits))

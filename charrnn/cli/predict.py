"""charrnn predict: what each text is or becomes, a line in and a line out."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.cli.console import print_note
from charrnn.cli.formatting import one_line, sanitize
from charrnn.cli.inputs import checkpoints_option, complete_run
from charrnn.cli.options import (
    Choice,
    Command,
    errors_option,
    settings_from_options,
    settings_options,
)
from charrnn.config import TextConfig
from charrnn.config.text import FORMATS
from charrnn.errors import ConfigError
from charrnn.generation.text_format import text_format_of
from charrnn.tasks.predict import make_predictor
from charrnn.tasks.predictions import Prediction, PredictRequest, iter_blocks
from charrnn.tasks.read_texts import TextReader
from charrnn.text.substitutions import describe_changes

_EXAMPLES = """
charrnn predict languages names.txt            a label for each line
echo Yamamoto | charrnn predict languages --top 3
charrnn predict reviews new.csv --text-column text --json | jq -r .label
charrnn predict authors letters/*.txt --files  each file is one text
charrnn predict phones words.txt --beam 10     what each line becomes
charrnn predict accents old.txt --confidence 0.9 > new.txt
"""
_COMMON = ("top", "threshold", "beam", "confidence", "files", "text_column", "as_json", "as_csv")
_READING = ("files", "text_column", "format", "header", "skip_bad")  # fields of TextConfig


@click.command("predict", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("model", shell_complete=complete_run)
@click.argument("names", nargs=-1, metavar="[FILE]...", type=click.Path())
@settings_options(PredictRequest, skipped=("is_whole",))
@click.option(
    "--unfinished",
    is_flag=True,
    help="texts are only the beginnings of records: that they end says nothing",
)
@click.option("--files", is_flag=True, help="each FILE is one text, not its lines")
@click.option("--text-column", metavar="NAME", help="FILE is a table: the column of the texts")
@click.option(
    "--format",
    type=Choice(FORMATS),
    default=TextConfig().format,
    show_default=True,
    help="how a table is laid out; auto goes by the name of FILE",
)
@click.option(
    "--header/--no-header",
    default=None,
    show_default="on for CSV, off for TSV",
    help="the first row of a table names its columns",
)
@click.option("--skip-bad", is_flag=True, help="leave out rows that cannot be read, and count them")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object for each text")
@click.option("--csv", "as_csv", is_flag=True, help="print a table: text, label, probability, …")
@click.option(
    "--encoding",
    default=TextConfig().encoding,
    show_default=True,
    metavar="NAME",
    help="text encoding of FILE, such as utf-8 or gb18030",
)
@errors_option
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    names: tuple[str, ...],
    unfinished: bool,
    as_json: bool,
    as_csv: bool,
    encoding: str,
    errors: str | None,
    checkpoints: str,
    **options: Any,
) -> None:
    """Say what a text is or becomes: its label, tags or target.

    MODEL, a run's name, a run's folder or a model file, was trained on records with labels, or for
    another task than text. FILE is a file, a folder, a glob, or - for stdin, which is also read
    without FILE. Each line of it is a text and gives one line, blank lines too.

    Of a model with labels, the line is the label, a tab and the label's probability. With --top 3
    there are three such pairs, separated by tabs. With --threshold 0.8 the place of a label that is
    less likely than that stays empty. A model for classification decides by its own network; one of
    text does so by Bayes: a label is as likely as it makes the text, times its share of the
    training records. The probabilities are corrected by what the end of training found on held-out
    records: charrnn info shows how often the labels were right, and the calibration error. A blank
    text says nothing: its labels are as likely as they are beforehand.

    Of a model for seq2seq, the line is the target, found by a beam search; with --top 3 three, each
    with its probability. Of a model for tagging, it is the text with its tags, written as in
    training, or with what was to be restored; --confidence 0.9 changes only what is sure. Of
    --tags columns a text is as many lines as it has characters, and an empty one.

    Characters that the model never saw are replaced by the nearest that it knows, or left out.

    A JSON object has text, label or target (a label is null below the threshold), probability (of
    the likeliest), top (a list of objects with label or target, and probability), and file with
    --files; of tagging, tagged (the text with its tags), chars, tags and probabilities (of each
    character). A table has file with --files, text, label, target or tagged, and probability; with
    --top 3 also label 2, probability 2, label 3 and probability 3.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv both say how to print; give one")
    request = settings_from_options(ctx, PredictRequest, is_whole=not unfinished)
    if not names and sys.stdin is not None and sys.stdin.isatty():
        raise ConfigError("no text was given; name a file, or give - to type lines, up to Ctrl-D")
    file = read_model(find_model(model, Path(checkpoints)))
    task = file.config.task
    predictor = make_predictor(file, request)
    form = text_format_of(file.summary, has_end=file.vocab.has_end)
    is_binary = file.vocab.is_binary
    reading = form.reading(encoding, errors or TextConfig().errors, is_binary=is_binary)
    reader = TextReader(replace(reading, **{name: options[name] for name in _READING}))
    is_columns = file.summary.get("settings", {}).get("tags") == "columns"
    is_begun = False
    for name, texts in reader.iter_blocks(names or ["-"]):
        about = {"file": name} if options["files"] else {}
        for predictions in map(predictor.predict, iter_blocks(texts)):
            if as_json:
                _write_objects(predictions, about, task, is_binary=is_binary)
            elif as_csv:
                _write_rows(predictions, about, request, task, has_header=not is_begun)
            else:
                _write_lines(predictions, request, task, is_columns=is_columns)
            is_begun = True
    for note in (*reader.notes, *predictor.notes):
        print_note(note)
    if predictor.changes:
        print_note(describe_changes(predictor.changes))


def _write_lines(
    predictions: Iterable[Prediction], request: PredictRequest, task: str, *, is_columns: bool
) -> None:
    """Write a line for each text; is_columns: one for each character, and an empty one after."""
    lines = []
    for each in predictions:
        if task == "tagging":
            lines.append(sanitize(each.label or ""))
            lines += [""] * bool(is_columns and each.label)
            continue
        if task == "seq2seq" and request.top == 1:
            lines.append(one_line(each.label or ""))
            continue
        cells = []
        for label, probability in each.top:
            cells += [one_line(label) * (probability >= request.threshold), f"{probability:.4f}"]
        lines.append("\t".join(cells))
    click.echo("\n".join(lines))


def _write_objects(
    predictions: Iterable[Prediction], about: dict[str, str], task: str, *, is_binary: bool
) -> None:
    lines = []
    name = {"seq2seq": "target", "tagging": "tagged"}.get(task, "label")
    for each in predictions:
        text = each.text
        if is_binary:  # each byte beyond ASCII is half of a surrogate pair, which JSON cannot have
            text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        figures: dict[str, Any] = {name: each.label, "probability": each.probability}
        if task == "tagging":
            figures |= {"chars": each.tagged, "tags": each.tags}
            figures["probabilities"] = each.tag_probabilities
        else:
            figures["top"] = [{name: one, "probability": value} for one, value in each.top]
        lines.append(json.dumps(about | {"text": text} | figures))
    click.echo("\n".join(lines))


def _write_rows(
    predictions: Sequence[Prediction],
    about: dict[str, str],
    request: PredictRequest,
    task: str,
    *,
    has_header: bool,
) -> None:
    """Write a table of comma-separated values: the text, what it is or becomes, how probable."""
    name = {"seq2seq": "target", "tagging": "tagged"}.get(task, "label")
    rows = [each.top or ((each.label or "", each.probability),) for each in predictions]
    # Every text has as many labels; of a beam search some may have fewer targets.
    width = request.top if task == "seq2seq" else len(rows[0])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if has_header:
        more = [f"{each} {i}" for i in range(2, width + 1) for each in (name, "probability")]
        writer.writerow([*about, "text", name, "probability", *more])
    for each, top in zip(predictions, rows, strict=True):
        cells = [*about.values(), each.text]
        for label, probability in top:
            cells += [label * (probability >= request.threshold), f"{probability:.6g}"]
        writer.writerow(cells + [""] * 2 * (width - len(top)))
    table = out.getvalue()
    # A terminal obeys what a text holds. A pipe gets it whole: of a str, echo takes codes out.
    is_shown = sys.stdout.isatty()
    click.echo(sanitize(table) if is_shown else table.encode("utf-8", "replace"), nl=False)

"""charrnn compare: what differs between runs, their curves, and which predicts better."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.console import (
    format_cell,
    make_stdout,
    make_table,
    print_line,
    print_note,
    print_table,
    progress_bar,
)
from charrnn.cli.formatting import describe_network, format_count, format_duration, one_line
from charrnn.cli.inputs import checkpoints_option, complete_run
from charrnn.cli.options import Choice, Command
from charrnn.errors import ConfigError, counted
from charrnn.interpret.pictures.training import ACROSS, draw_losses
from charrnn.metrics import bits_per_char, without_nan
from charrnn.storage import write_atomically
from charrnn.tasks.compare import MIN_BLOCKS, Comparison, compare_runs, comparison_record

_EXAMPLES = """
charrnn compare book-small book-large
charrnn compare three-rnn three-lstm three-gru --by seconds --svg curves.svg
charrnn compare a b --no-score             settings and curves alone, at once
"""


@click.command("compare", cls=Command, examples=_EXAMPLES)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_run, metavar="RUN RUN...")
@click.option(
    "--by",
    type=Choice(tuple(ACROSS)),
    default="step",
    show_default=True,
    help="what the curves are drawn against: steps, characters read or seconds",
)
@click.option(
    "--score/--no-score",
    "is_scored",
    default=True,
    help="let the models read the held-out text, of which the corpus must be at hand",
)
@click.option("--svg", type=click.Path(), metavar="FILE", help="write the curves to an SVG file")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@checkpoints_option
def command(
    names: tuple[str, ...],
    by: str,
    is_scored: bool,
    svg: str | None,
    as_json: bool,
    checkpoints: str,
) -> None:
    """Compare runs: what differs, and which predicts better.

    Shows the settings in which the runs differ, their losses on one axis, and by how much the best
    model beats each other one on the same held-out text. The interval holds 95% of paired bootstrap
    samples of the text's blocks: both models meet the same hard passages, so their difference is
    known better than either loss. It says nothing of how another seed would have done; train
    several with --seeds for that.

    The JSON object has runs (name, parameters, step, elapsed_seconds, val_nats, nats), settings
    (those that differ, a value for each run), chars (scored), differences (better, worse, nats per
    character with low and high, blocks, is_clear) and notes.
    """
    with progress_bar("scoring") as show:
        found = compare_runs(
            names,
            Path(checkpoints),
            is_scored=is_scored,
            on_progress=lambda name, done, total: show(done, total, f"scoring {name}"),
        )
    reports = {run.name: run.training for run in found.runs if run.training is not None}
    if svg is not None:
        if not reports:
            raise ConfigError("no run has a record of its training; leave --svg out")
        write_atomically(Path(svg), draw_losses(reports, by).as_svg())
    for note in found.notes:
        print_note(f"charrnn: {note}")
    if as_json:
        click.echo(json.dumps(without_nan(dict(comparison_record(found)))))
        return
    _show_runs(found)
    _show_settings(found)
    if reports:
        from charrnn.cli.inspect.training import show_losses

        click.echo()
        show_losses(reports, make_stdout(), by, has_baselines="corpus" not in found.settings)
    _show_differences(found, is_scored=is_scored)


def _show_runs(found: Comparison) -> None:
    has_nats = bool(found.nats)
    headings = ["run", "model", ">weights", ">best step", ">at", ">bpc", *[">here"] * has_nats]
    table = make_table(*headings)
    for run in found.runs:
        config = run.file.config
        summary = run.file.summary
        step, seconds, nats = (summary.get(n) for n in ("step", "elapsed_seconds", "val_nats"))
        cells = [
            run.name,
            describe_network(config, is_short=True),
            format_count(config.num_parameters),
            "" if step is None else f"{step:,}",
            "" if seconds is None else format_duration(seconds),
            "" if nats is None or config.task != "text" else f"{bits_per_char(nats):.3f}",
        ]
        if has_nats:
            cells.append(f"{bits_per_char(found.nats[run.name]):.3f}")
        table.add_row(*map(format_cell, cells))
    print_table(table)


def _show_settings(found: Comparison) -> None:
    click.echo()
    if not found.settings:
        print_line(make_stdout(), "the runs have the same settings and the same text")
        return
    table = make_table("setting", *(one_line(run.name) for run in found.runs))
    for name, values in found.settings.items():
        cells = (f"{v:g}" if isinstance(v, float) else v for v in values)
        table.add_row(name, *map(format_cell, cells))
    print_table(table)


def _show_differences(found: Comparison, *, is_scored: bool) -> None:
    output = make_stdout()
    click.echo()
    for each in found.differences:
        better, worse = one_line(each.better), one_line(each.worse)
        bits = bits_per_char(each.nats.value)
        figure = f"{each.nats.value:.4f} ± {each.margin_nats:.4f} nats per character"
        figure += f" ({bits:.4f} bits)"
        verb = "is better than" if each.is_clear else "is not clearly better than"
        print_line(output, f"{better} {verb} {worse}: by {figure}")
    if found.differences:
        blocks = counted(found.differences[0].blocks, "block")
        text = f"95% interval, paired bootstrap over {blocks} of the held-out text"
        print_line(output, f"{text} ({counted(found.chars, 'character')}; here: on those)")
        print_line(output, "one run each: another seed would give other figures")
    elif found.nats:
        least = f"fewer than {MIN_BLOCKS} blocks of held-out text"
        print_line(output, f"{least}: too little to tell which is better")
    elif is_scored:
        print_line(output, "which is better was not measured; the note above says why")

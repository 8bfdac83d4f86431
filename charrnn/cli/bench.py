"""charrnn bench: how fast this machine trains, evaluates and samples, and how fast it could."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from typing import Any

import click
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from charrnn.bench import speeds
from charrnn.cli.console import Output, is_screen, make_stdout, make_table, print_line
from charrnn.cli.formatting import describe_network, format_count, format_threads
from charrnn.cli.options import Choice, Command, settings_options
from charrnn.config import CELLS, TrainConfig
from charrnn.corpora.library import LIBRARY
from charrnn.errors import counted

_EXAMPLES = """
charrnn bench                                    about a minute
charrnn bench --quick --cells lstm               a few seconds
charrnn bench --json | jq -r 'select(.kind == "training").step_ms'
"""
_HIDDEN_SIZES = "128,256,512"
_QUICK_HIDDEN_SIZES = "256"
_SETTINGS = ("batch_size", "seq_len", "device", "precision", "threads")
_MIN_COLUMNS = 80  # the table of training needs them
_NOVEL = "War and Peace"
# What is measured now is shown on a line that its result replaces.
_ERASE_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class _Several(click.ParamType[tuple[Any, ...]]):
    """Values of one type with commas between them."""

    def __init__(self, each: click.ParamType[Any]) -> None:
        self._each = each
        self.name = f"{each.name},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Convert each part."""
        return tuple(self._each.convert(part.strip(), param, ctx) for part in value.split(","))


_SIZES = _Several(click.IntRange(1, 65_536))  # as of hidden_size


@click.command("bench", cls=Command, examples=_EXAMPLES)
@click.option(
    "--cells",
    type=_Several(Choice(CELLS)),
    metavar="CELL,...",
    default=",".join(CELLS),
    show_default=True,
    help="recurrent cells to measure",
)
@click.option(
    "--hidden-sizes",
    type=_SIZES,
    metavar="N,...",
    show_default=f"{_HIDDEN_SIZES}; {_QUICK_HIDDEN_SIZES} with --quick",
    help="sizes of the layer in training and evaluation, in units",
)
@click.option("--quick", is_flag=True, help="fewer rounds: faster, but less precise")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object per result")
@settings_options(
    TrainConfig, skipped=tuple(f.name for f in fields(TrainConfig) if f.name not in _SETTINGS)
)
def command(
    cells: tuple[str, ...],
    hidden_sizes: tuple[int, ...] | None,
    quick: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the speed of this machine.

    Measures training, evaluation and sampling, and writes no files. Each result says what share of
    the time its matrix products take; training is also compared with torch's own recurrent layer.
    docs/bench.md explains the figures.
    """
    from charrnn.tasks.benchmark import QUICK, THOROUGH, measure_speeds  # torch

    sizes = hidden_sizes or _SIZES(_QUICK_HIDDEN_SIZES if quick else _HIDDEN_SIZES)
    with closing(SpeedDisplay(as_json=as_json)) as display:
        for result in measure_speeds(cells, sizes, settings, QUICK if quick else THOROUGH):
            display.show(result)


class SpeedDisplay:
    """Shows the results of a benchmark, one after another."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._stderr = Output(stderr=True)
        self._is_screen = is_screen(self._stderr)
        self._rows: list[speeds.Speed] = []
        self._training: list[speeds.TrainingSpeed] = []

    def show(self, result: speeds.Measuring | speeds.Speed) -> None:
        """Show one result; rows wait for the others of their table."""
        self._erase_line()
        if isinstance(result, speeds.Measuring):
            if self._is_screen:
                text = f"measuring {result.what} ({result.index} of {result.total}) …"
                line = Text(text, style="dim")
                self._stderr.print(line, end="", no_wrap=True, overflow="ellipsis")
        elif self._as_json:
            sys.stdout.write(json.dumps(as_record(result)) + "\n")
            sys.stdout.flush()  # a figure takes seconds; a pipe gets each at once
        else:
            # A result of another kind begins another table.
            if self._rows and type(result) is not type(self._rows[0]):
                self._show_rows()
            self._rows.append(result)
            if isinstance(result, speeds.TrainingSpeed):
                self._training.append(result)
            if isinstance(result, speeds.MachineSpeed):  # there is one, and it comes first
                self._show_rows()

    def close(self) -> None:
        """Show the rows that still wait; call it however the benchmark ends."""
        self._erase_line()
        self._show_rows()
        if self._training:
            click.echo()
            print_line(make_stdout(), describe_training(self._training))

    def _erase_line(self) -> None:
        if self._is_screen:
            self._stderr.control(_ERASE_LINE)

    def _show_rows(self) -> None:
        rows, self._rows = self._rows, []  # emptied first: Ctrl-C may end the next line
        if rows:
            show_speeds(rows)


def as_record(result: speeds.Speed) -> dict[str, Any]:
    """Return a result as one JSON object; `kind` says which."""
    return {"kind": type(result).__name__.removesuffix("Speed").lower(), **asdict(result)}


def describe_training(rows: Sequence[speeds.TrainingSpeed]) -> str:
    """Return in a sentence what the largest network of the usual cell takes to learn a novel."""
    usual = [row for row in rows if row.cell == TrainConfig().cell] or rows
    row = max(usual, key=lambda row: row.hidden_size)
    rate = float(f"{row.chars_per_second:.2g}")
    novel = LIBRARY["war-and-peace"].characters
    seconds = round(novel / row.chars_per_second)
    time = f"{seconds} s" if seconds < 120 else counted(round(seconds / 60), "minute")
    return (
        f"{row.cell} of {row.hidden_size} units learns from about {rate:,.0f} characters a "
        f"second: {_NOVEL} ({novel / 1e6:.1f} million) takes {time} per epoch."
    )


def show_speeds(rows: Sequence[speeds.Speed]) -> None:
    """Print results of one kind: the machine's as two lines, any other as a table."""
    console = make_stdout(_MIN_COLUMNS)
    first = rows[0]
    if isinstance(first, speeds.MachineSpeed):
        threads = format_threads(first.threads)
        rates = first.products_gflop_per_second.items()
        products = ", ".join(f"{precision} {rate:,.0f}" for precision, rate in rates)
        size = f"{first.product_size:,}"
        machine = f"{first.processor}, {first.device}, {threads}, torch {first.torch_version}"
        print_line(console, machine)
        print_line(
            console,
            f"products of {size} × {size}: {products} GFLOP/s; "
            f"memory {first.memory_gb_per_second:,.1f} GB/s",
        )
        return
    title, columns = _TABLES[type(first)]
    console.print(Text(f"\n{title}", style="bold"))
    table = make_table(*(heading for heading, _ in columns), padding=0)
    for row in rows:
        table.add_row(*(format_value(row) for _, format_value in columns))
    console.print(table)


_Column = tuple[str, Callable[[Any], str]]
_MODEL: _Column = ("model", lambda row: describe_network(row, is_short=True))
_RATE: _Column = (">chars\n/s", lambda row: format_count(row.chars_per_second))
_GFLOP: _Column = (">GFLOP\n/s", lambda row: f"{row.gflop_per_second:,.0f}")
_SHARE: _Column = (">products\nshare", lambda row: f"{row.products_share:.0%}")

_TABLES: dict[type[speeds.Speed], tuple[str, Sequence[_Column]]] = {
    speeds.TrainingSpeed: (
        "training, one step",
        (
            _MODEL,
            (">lanes", lambda row: f"{row.batch_size:,}"),
            ("format", lambda row: row.precision),
            (">step\nms", lambda row: f"{row.step_ms:,.2f}"),
            _RATE,
            _GFLOP,
            (">products\nms", lambda row: f"{row.products_ms:,.2f}"),
            _SHARE,
            (">layer\nms", lambda row: f"{row.layer_ms:,.2f}"),
            (">torch's\n÷ ours", lambda row: f"{row.layer_speedup:.2f}"),
        ),
    ),
    speeds.EvaluationSpeed: ("evaluation, fp32", (_MODEL, _RATE, _GFLOP, _SHARE)),
    speeds.SamplingSpeed: (
        "sampling one stream, fp32",
        (
            _MODEL,
            _RATE,
            (">products\nalone /s", lambda row: format_count(row.products_chars_per_second)),
            _SHARE,
            (">weights\nGB/s", lambda row: f"{row.weights_gb_per_second:,.1f}"),
        ),
    ),
}
"""For each kind of result its table's title, and each column's heading and how it formats a row."""

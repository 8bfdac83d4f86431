"""charrnn bench: how fast this machine trains and samples, and how fast it could."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from typing import Any

import click
from rich import box
from rich.control import Control
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from charrnn.bench.speeds import (
    EvaluationSpeed,
    MachineSpeed,
    Measuring,
    SamplingSpeed,
    Speed,
    TrainingSpeed,
)
from charrnn.cli.console import Output, is_screen, make_stdout
from charrnn.cli.formatting import format_count, format_threads, one_line
from charrnn.cli.options import Choice, Command, settings_options
from charrnn.config import CELLS, TrainConfig

_EXAMPLES = """
charrnn bench                                    about a minute
charrnn bench --quick --cells lstm               a few seconds
charrnn bench --precision fp32 --batch-size 64   how a number format does
charrnn bench --json | jq -r 'select(.kind == "training").step_ms'
"""

_HIDDEN_SIZES, _QUICK_HIDDEN_SIZES = (128, 256, 512), (256,)
_SETTINGS = ("batch_size", "seq_len", "device", "precision", "threads")


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


def _join(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


@click.command("bench", cls=Command, examples=_EXAMPLES)
@click.option(
    "--cells",
    type=_Several(Choice(CELLS)),
    metavar="CELL,...",
    default=_join(CELLS),
    show_default=True,
    help="recurrent cells",
)
@click.option(
    "--hidden-sizes",
    type=_Several(click.IntRange(1, 65_536)),
    metavar="SIZE,...",
    show_default=f"{_join(_HIDDEN_SIZES)}; {_join(_QUICK_HIDDEN_SIZES)} with --quick",
    help="units in the layer that is trained",
)
@click.option("--quick", is_flag=True, help="fewer rounds, and figures less to be relied on")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a figure")
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
    """Measure training, evaluation and sampling on this machine; it writes no files.

    Beside each figure stands the time of the same matrix products done bare, and what share of
    the whole that is; beside a training step, torch's own layer. docs/bench.md says how to read it.
    """
    from charrnn.tasks.benchmark import QUICK, THOROUGH, measure_speeds

    sizes = hidden_sizes or (_QUICK_HIDDEN_SIZES if quick else _HIDDEN_SIZES)
    with closing(SpeedDisplay(as_json=as_json)) as display:
        for result in measure_speeds(cells, sizes, settings, QUICK if quick else THOROUGH):
            display.show(result)


_ERASE_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))

_LEAST_COLUMNS = 80
_Column = tuple[str, Callable[[Any], str]]


class SpeedDisplay:
    """Shows the results of a bench, one after another."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._stderr = Output(stderr=True)
        self._is_screen = is_screen(self._stderr)
        self._rows: list[Speed] = []

    def show(self, result: Measuring | Speed) -> None:
        """Show one result; rows wait for the others of their table."""
        self._erase_line()
        if isinstance(result, Measuring):
            self._announce(result)
        elif self._as_json:
            sys.stdout.write(json.dumps(as_record(result)) + "\n")
            sys.stdout.flush()
        else:
            self._add(result)

    def close(self) -> None:
        """Write what is still waiting; to be called however the bench ends."""
        self._erase_line()
        self._write_rows()

    def _announce(self, measuring: Measuring) -> None:
        if self._is_screen:
            text = f"measuring {measuring.what} ({measuring.index} of {measuring.total}) …"
            self._stderr.print(Text(text, style="dim"), end="", no_wrap=True, overflow="ellipsis")

    def _erase_line(self) -> None:
        if self._is_screen:
            self._stderr.control(_ERASE_LINE)

    def _add(self, result: Speed) -> None:
        if self._rows and type(result) is not type(self._rows[0]):
            self._write_rows()
        self._rows.append(result)
        if isinstance(result, MachineSpeed):
            self._write_rows()

    def _write_rows(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            show_speeds(rows)


def as_record(result: Speed) -> dict[str, Any]:
    """Give a result as one JSON object; `kind` says which."""
    return {"kind": type(result).__name__.removesuffix("Speed").lower(), **asdict(result)}


def show_speeds(rows: Sequence[Speed]) -> None:
    """Write results of one kind: the machine's as two lines, any other as a table."""
    console, first = make_stdout(_LEAST_COLUMNS), rows[0]
    if isinstance(first, MachineSpeed):
        for line in _describe_machine(first):
            console.print(Text(line), highlight=False)
        return
    title, columns = _TABLES[type(first)]
    console.print(Text(f"\n{title}", style="bold"))
    console.print(_draw_table(columns, rows))


def _describe_machine(machine: MachineSpeed) -> tuple[str, str]:
    threads = format_threads(machine.threads)
    name = f"{one_line(machine.processor)}, {machine.device}, {threads}"
    rates = machine.products_gflop_per_second.items()
    products = ", ".join(f"{format_} {rate:,.0f}" for format_, rate in rates)
    size = f"{machine.product_size:,}"
    return (
        f"{name}, torch {machine.torch_version}",
        f"products of {size} × {size}: {products} GFLOP/s; "
        f"memory {machine.memory_gb_per_second:,.1f} GB/s",
    )


def _draw_table(columns: Sequence[_Column], rows: Sequence[Speed]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        header_style="bold",
    )
    for heading, _ in columns:
        is_word = heading in {"model", "format"}
        table.add_column(heading, justify="left" if is_word else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(show(row) for _, show in columns))
    return table


_MODEL: _Column = ("model", lambda row: f"{row.cell} {row.num_layers}×{row.hidden_size}")
_RATE: _Column = ("chars\n/s", lambda row: format_count(row.chars_per_second))
_GFLOP: _Column = ("GFLOP\n/s", lambda row: f"{row.gflop_per_second:,.0f}")
_SHARE: _Column = ("products\nshare", lambda row: f"{row.products_share:.0%}")

_TABLES: dict[type[Speed], tuple[str, Sequence[_Column]]] = {
    TrainingSpeed: (
        "training, one step",
        (
            _MODEL,
            ("lanes", lambda row: f"{row.batch_size:,}"),
            ("format", lambda row: row.precision),
            ("step\nms", lambda row: f"{row.step_ms:,.2f}"),
            _RATE,
            _GFLOP,
            ("products\nms", lambda row: f"{row.products_ms:,.2f}"),
            _SHARE,
            ("layer\nms", lambda row: f"{row.layer_ms:,.2f}"),
            ("torch's\n÷ ours", lambda row: f"{row.layer_speedup:.2f}"),
        ),
    ),
    EvaluationSpeed: ("evaluation, fp32", (_MODEL, _RATE, _GFLOP, _SHARE)),
    SamplingSpeed: (
        "sampling one stream, fp32",
        (
            _MODEL,
            _RATE,
            ("products\nalone /s", lambda row: format_count(row.products_chars_per_second)),
            _SHARE,
            ("weights\nGB/s", lambda row: f"{row.weights_gb_per_second:,.1f}"),
        ),
    ),
}

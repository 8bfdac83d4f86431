"""charrnn bench: how fast this machine trains and samples, and how fast it could."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import fields
from typing import Any

import click

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
    from charrnn.console.speeds import SpeedDisplay
    from charrnn.runs.bench import QUICK, THOROUGH, measure_speeds

    sizes = hidden_sizes or (_QUICK_HIDDEN_SIZES if quick else _HIDDEN_SIZES)
    with closing(SpeedDisplay(as_json=as_json)) as display:
        for result in measure_speeds(cells, sizes, settings, QUICK if quick else THOROUGH):
            display.show(result)

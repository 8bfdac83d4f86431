"""charrnn train: options in, progress shown during the run, and an exit code at its end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.options import Command, Option, given_settings, read_config, settings_options
from charrnn.cli.shown import Shown
from charrnn.cli.signals import Stopped, StopSignal
from charrnn.config import CELLS, LENGTHS, RunConfig, TextConfig, TrainConfig, as_dict
from charrnn.errors import CharRNNError, ConfigError

if TYPE_CHECKING:
    from charrnn.cli.train.display import Display
    from charrnn.tasks.train_request import UnfinishedRun
    from charrnn.training.world import World

_EXAMPLES = """
charrnn train book.txt                      5 minutes, all settings automatic
charrnn train poems/ notes.txt --budget 1h  a folder and a file, for an hour
charrnn train --resume book                 continue a stopped run
charrnn train book.txt --cell gru --hidden-size 512 --num-layers 2
charrnn train chinese.txt --encoding gb18030 --min-count 5
charrnn train letters.txt --init-from book  start from another model's weights
charrnn train book.txt --seeds 1,2,3        three runs, their mean and spread
charrnn train book.txt --cells rnn,lstm,gru three cells, side by side
charrnn train book.txt --teachers 4         learn from four, trained first
torchrun --nproc-per-node 2 -m charrnn train book.txt  with two processes
"""
_COMMON = (
    *("budget", "name", "resume", "cell", "hidden_size", "num_layers", "dropout"),
    *("seed", "init_from", "encoding", "config", "quiet"),
)
# A length history belongs to the steps that are given with it.
_RIVALS = (*LENGTHS, "length_history")
_NO_SETTINGS = {"corpus", "config", "seeds", "cells", "print_config", "quiet", "as_json"}
_run_option: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = partial(
    click.option, cls=Option, section="Run"
)


def _read_seeds(_: click.Context, __: click.Parameter, text: str | None) -> list[int] | None:
    """Read "1,2,3"."""
    try:
        return None if text is None else [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of seeds, such as 1,2,3") from error


def _read_cells(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
    """Read "rnn,lstm,gru"."""
    cells = None if text is None else [cell.strip().lower() for cell in text.split(",")]
    for cell in cells or []:
        if cell not in CELLS:
            raise click.BadParameter(f"{cell!r} is no cell; choose from {', '.join(CELLS)}")
    return cells


@click.command("train", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("corpus", nargs=-1, type=click.Path())
@settings_options(TrainConfig)
@settings_options(TextConfig, section="Text")
@settings_options(RunConfig, section="Run")
@_run_option(
    "--config",
    metavar="FILE.toml",
    callback=read_config,
    is_eager=True,  # before the options whose defaults it sets
    expose_value=False,
    envvar="CHARRNN_CONFIG",
    help="TOML file of settings, as in hidden_size = 256; options and the environment override it",
)
@_run_option(
    "--seeds",
    metavar="N,N,...",
    callback=_read_seeds,
    help="train a run for each seed, NAME-seedN, and report mean ± sd; the same command continues",
)
@_run_option(
    "--cells",
    metavar="CELL,CELL,...",
    callback=_read_cells,
    help="train a run for each cell, NAME-rnn and so on, alike in all else, and compare them in a "
    "table; the same command continues",
)
@_run_option("--print-config", is_flag=True, help="print the settings as TOML and exit")
@_run_option("--quiet", "-q", is_flag=True, envvar="CHARRNN_QUIET", help="show errors only")
@_run_option(
    "--json",
    "as_json",
    is_flag=True,
    envvar="CHARRNN_JSON",
    help="print the reports on stdout, one JSON object per line",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    corpus: tuple[str, ...],
    seeds: list[int] | None,
    cells: list[str] | None,
    print_config: bool,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Train a model on text.

    CORPUS: files, folders, globs, - for stdin, or a name from `charrnn corpus list`; letters.txt:5
    is read five times as often as the rest. Sizes, steps and rates that are not given are chosen
    from the text and the time budget. Every setting can also be set with an environment variable,
    e.g. CHARRNN_HIDDEN_SIZE.
    """
    given = given_settings(ctx, rivals=_RIVALS)
    settings = {key: value for key, value in given.items() if key not in _NO_SETTINGS}
    is_typed = ctx.get_parameter_source("seed") is click.core.ParameterSource.COMMANDLINE
    if seeds is not None and not is_typed:
        settings.pop("seed", None)  # a file, such as a resolved.toml, has that of one run
    is_typed = ctx.get_parameter_source("cell") is click.core.ParameterSource.COMMANDLINE
    if cells is not None and not is_typed:
        settings.pop("cell", None)
    if cells is not None and seeds is not None:
        raise ConfigError("--cells and --seeds both train several runs; give one of them")
    if not print_config:
        _run(corpus, settings, seeds, cells, quiet=quiet, as_json=as_json)
        return
    from charrnn.checkpoint.run_folder import format_toml
    from charrnn.tasks.train_request import split_settings

    values: dict[str, Any] = {"corpus": list(corpus) or None}
    values["seeds"] = seeds and ",".join(map(str, seeds))
    values["cells"] = cells and ",".join(cells)
    for config in split_settings(settings):
        values |= as_dict(config)
    if seeds is not None:
        del values["seed"]
    if cells is not None:
        del values["cell"]
    click.echo(format_toml(values), nl=False)


def _run(
    corpus: tuple[str, ...],
    settings: dict[str, Any],
    seeds: list[int] | None,
    cells: list[str] | None,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train and show it, alone or as one of several processes, of which one reports each error."""
    world: World | None = None
    shown = Shown()
    is_stopped = False  # all processes together, at the same step
    is_several = seeds is not None or cells is not None
    if "RANK" in os.environ:  # a lost process is reported in one line, without torch's warnings
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with StopSignal() as stop:
            # These load here, with the signals caught; torch once the text is read.
            from charrnn.cli.train.display import make_display
            from charrnn.cli.train.seeds import RunsDisplay
            from charrnn.tasks.distill import train_with_teachers
            from charrnn.tasks.fit import CellsFinished, SeedsFinished, train_cells, train_seeds
            from charrnn.tasks.recorder import RunFinished
            from charrnn.training.launch import init_world

            stop.is_loaded = True
            with init_world() as world:
                can_ask = world.world_size == 1 and not quiet and not as_json
                is_quiet = quiet or not world.is_main_process
                is_json = as_json and world.is_main_process
                make = partial(make_display, quiet=is_quiet, as_json=is_json)
                display = RunsDisplay(make, is_quiet, is_json)
                start: Callable[..., Generator[Any, None, None]]
                start = partial(train_with_teachers, world=world)
                if is_several:
                    if world.world_size > 1:
                        option = "--seeds" if cells is None else "--cells"
                        raise ConfigError(
                            f"{option} trains run after run; start it without torchrun"
                        )
                    start = partial(train_seeds, seeds or [])
                    if cells is not None:
                        start = partial(train_cells, cells)
                reports = start(
                    corpus,
                    settings,
                    should_stop=stop.is_set,
                    should_continue=partial(_ask, display) if can_ask else lambda _: True,
                )
                shown.show_all(reports, display, stop, as_json=as_json)
        if shown.closed is not None:
            raise shown.closed
        last = shown.last
        is_stopped = not isinstance(last, RunFinished | SeedsFinished | CellsFinished) or (
            isinstance(last, RunFinished) and last.finished.reason == "stopped"
        )
        if is_stopped:  # without a signal here, another process got one
            same_continues = is_several or shown.is_teacher
            number = stop.number or signal.SIGTERM
            raise Stopped(number, shown.run, is_one_of_several=same_continues)
    except (CharRNNError, Stopped) as error:
        if world is None or world.should_report(error, is_common=is_stopped):
            raise
        raise SystemExit(error.exit_code) from error


def _ask(display: Display, found: UnfinishedRun) -> bool:
    """Ask whether to continue a run; where nobody can answer, it continues."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    display.close()  # a panel would draw over the question
    return click.confirm(
        f"You started this before and stopped at step {found.step:,} "
        f"(run {one_line(found.run.name)!r}). Continue?",
        default=True,
        err=True,
    )

"""charrnn sweep: settings to try in, reports of its trials shown, and an exit code at its end."""

from __future__ import annotations

import signal
from dataclasses import fields
from typing import Any

import click

from charrnn.cli.options import Command, Option, given_settings, read_config, settings_options
from charrnn.cli.shown import Shown
from charrnn.cli.signals import Stopped, StopSignal
from charrnn.config import LENGTHS, RunConfig, TextConfig, TrainConfig
from charrnn.config.sweep import SweepConfig
from charrnn.errors import ConfigError

_EXAMPLES = """
charrnn sweep book.txt --over hidden_size=128,256,512 --over dropout=0,0.2
charrnn sweep book.txt --over learning_rate=1e-3..1e-2:log --then-train 1h
charrnn sweep book.txt --over cell=lstm,gru --strategy grid --budget 10m
charrnn sweep book.txt --over hidden_size=64..512:log:4 --steps 3000 --eta 4
"""
_COMMON = (
    *("over", "budget", "steps", "strategy", "trials", "then_train", "name"),
    *("seed", "encoding", "config", "quiet", "as_json"),
)
_NO_SETTINGS = {"corpus", "config", "quiet", "as_json"}


@click.command("sweep", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("corpus", nargs=-1, type=click.Path())
@settings_options(SweepConfig, section="Sweep")
@settings_options(TrainConfig, skipped=("budget", "length_history"))
@settings_options(TextConfig, section="Text")
@settings_options(RunConfig, section="Run", skipped=("resume", "on_unfinished", "overwrite"))
@click.option(
    "--config",
    cls=Option,
    section="Run",
    metavar="FILE.toml",
    callback=read_config,
    is_eager=True,
    expose_value=False,
    envvar="CHARRNN_CONFIG",
    help="TOML file of settings, as in hidden_size = 256; options and the environment override it",
)
@click.option(
    "--quiet",
    "-q",
    cls=Option,
    section="Run",
    is_flag=True,
    envvar="CHARRNN_QUIET",
    help="show errors only",
)
@click.option(
    "--json",
    "as_json",
    cls=Option,
    section="Run",
    is_flag=True,
    envvar="CHARRNN_JSON",
    help="print the reports on stdout, one JSON object per line",
)
@click.pass_context
def command(
    ctx: click.Context, /, corpus: tuple[str, ...], quiet: bool, as_json: bool, **_: Any
) -> None:
    """Try settings side by side, and train on with the best.

    CORPUS: as for `charrnn train`. --over says what to try, once for each setting: values, or a
    range LOW..HIGH that ends with :log to go by ratios and with :5 for five values. Each trial is
    an ordinary run, NAME-01 and so on. With the strategy halving the best third goes on at 1/9 and
    at 1/3 of a run, exactly as if it had never been stopped. The same command continues a sweep.

    Every other option of `charrnn train` holds for all trials. The folder of the sweep,
    checkpoints/NAME, has results.csv and best.toml, for charrnn train --config.
    """
    given = given_settings(ctx, rivals=LENGTHS)
    names = {item.name for item in fields(SweepConfig)}
    config = SweepConfig(**{name: value for name, value in given.items() if name in names})
    settings = {k: v for k, v in given.items() if k not in names | _NO_SETTINGS}
    shown = Shown()
    with StopSignal() as stop:
        # These load here, torch too, with the signals caught.
        from charrnn.cli.sweep.display import make_display
        from charrnn.tasks.sweep import SweepFinished, run_sweep
        from charrnn.training.launch import init_world

        stop.is_loaded = True
        with init_world() as world:
            if world.world_size > 1:
                raise ConfigError("a sweep trains run after run; start it without torchrun")
        display = make_display(quiet=quiet, as_json=as_json)
        reports = run_sweep(config, corpus, settings, should_stop=stop.is_set)
        shown.show_all(reports, display, stop, as_json=as_json)
    if shown.closed is not None:
        raise shown.closed
    last = shown.last
    is_over = isinstance(last, SweepFinished) and (
        config.then_train is None or last.longer is not None
    )
    if not is_over:
        raise Stopped(stop.number or signal.SIGTERM, shown.run, is_one_of_several=True)

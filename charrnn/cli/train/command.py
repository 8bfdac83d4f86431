"""charrnn train: learn from text."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.options import Command, Option, given_settings, read_config, settings_options
from charrnn.cli.signals import Stopped, StopSignal
from charrnn.config import LENGTHS, RunConfig, TextConfig, TrainConfig, as_dict
from charrnn.errors import CharRNNError

if TYPE_CHECKING:
    from charrnn.checkpoint.run_folder import RunFolder
    from charrnn.cli.train.display import Display
    from charrnn.tasks.auto_resume import UnfinishedRun
    from charrnn.tasks.recorder import RunFinished
    from charrnn.training.distributed import World

_EXAMPLES = """
charrnn train book.txt                              five minutes, everything chosen for you
charrnn train poems/ notes.txt --budget 1h          a folder and a file, for an hour
charrnn train book.txt --cell gru --hidden-size 512 --num-layers 2
charrnn train chinese.txt --encoding gb18030 --min-count 5
charrnn train --resume book                         go on after a stop
charrnn train letters.txt --init-from book          start from another model's weights
torchrun --nproc-per-node 2 -m charrnn train book.txt     two processes share the work
"""


@click.command("train", cls=Command, examples=_EXAMPLES)
@click.argument("corpus", nargs=-1, type=click.Path())
@settings_options(TrainConfig)
@settings_options(TextConfig, section="Text")
@settings_options(RunConfig, section="Run")
@click.option(
    "--config",
    metavar="FILE.toml",
    callback=read_config,
    is_eager=True,
    expose_value=False,
    envvar="CHARRNN_CONFIG",
    cls=Option,
    section="Run",
    help="settings as key = value; flags and environment go before it",
)
@click.option(
    "--print-config", is_flag=True, cls=Option, section="Run", help="print the settings and stop"
)
@click.option(
    "--quiet",
    "-q",
    is_flag=True,
    envvar="CHARRNN_QUIET",
    cls=Option,
    section="Run",
    help="show errors only",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    envvar="CHARRNN_JSON",
    cls=Option,
    section="Run",
    help="reports as JSON on stdout",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    corpus: tuple[str, ...],
    print_config: bool,
    quiet: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Train a model on CORPUS: files, folders, globs, - for stdin, or a name of `corpus list`.

    Sizes, steps and rates that are not given are chosen from the text and the time allowed. Each
    setting has a twin in the environment: CHARRNN_HIDDEN_SIZE for --hidden-size.
    """
    own = {"corpus", "config", "print_config", "quiet", "as_json"}
    given = given_settings(ctx, rivals=LENGTHS)
    settings = {key: value for key, value in given.items() if key not in own}
    if print_config:
        _print_settings(corpus, settings)
        return
    _run(corpus, settings, quiet, as_json)


def _print_settings(corpus: tuple[str, ...], settings: dict[str, Any]) -> None:
    from charrnn.checkpoint.run_folder import format_toml
    from charrnn.tasks.train_request import split_settings

    classes = split_settings(settings)
    values = {key: value for each in classes for key, value in as_dict(each).items()}
    click.echo(format_toml({"corpus": list(corpus) or None} | values), nl=False)


def _run(corpus: tuple[str, ...], settings: dict[str, Any], quiet: bool, as_json: bool) -> None:
    """Train and show it, alone or as one of several processes, of which one says each error."""
    world: World | None = None
    kept: RunFinished | None = None
    is_stopped = False  # all together, at the same step
    run: RunFolder | None = None
    lost: OSError | None = None
    if "RANK" in os.environ:  # a lost process is told of in one line, not by torch's own warnings
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with StopSignal() as stop:
            from charrnn.cli.train.display import make_display
            from charrnn.tasks.recorder import RunFinished
            from charrnn.tasks.train import Opened, Reading, start_run
            from charrnn.training.distributed import init_world
            from charrnn.training.reports import Finished

            stop.is_loaded = True
            with ExitStack() as held:
                world = held.enter_context(init_world())
                quiet, as_json = (
                    quiet or not world.is_main_process,
                    as_json and world.is_main_process,
                )
                display = held.enter_context(closing(make_display(quiet=quiet, as_json=as_json)))
                is_answered = not quiet and not as_json and world.world_size == 1

                def should_go_on(found: UnfinishedRun) -> bool:
                    return not is_answered or _ask(found, display)

                for report in start_run(
                    corpus,
                    settings,
                    should_stop=stop.is_set,
                    should_go_on=should_go_on,
                    world=world,
                ):
                    stop.is_heeded = not isinstance(report, Reading | Finished)
                    if isinstance(report, Opened):
                        run = report.run
                    kept = report if isinstance(report, RunFinished) else None
                    try:
                        display.show(report)
                    except OSError as error:  # nobody reads on: save, then say so
                        lost = error
                        stop.note(signal.SIGTERM)
        if lost is not None:
            raise lost
        is_stopped = kept is None or kept.finished.reason == "stopped"
        if is_stopped:
            raise Stopped(stop.number or signal.SIGTERM, run)  # another process was told to stop
    except (CharRNNError, Stopped) as error:
        if world is None or world.should_report(error, is_common=is_stopped):
            raise
        raise SystemExit(error.exit_code) from error


def _ask(found: UnfinishedRun, display: Display) -> bool:
    """Ask whether to go on with a run, where somebody can answer; else it goes on."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    display.close()
    return click.confirm(
        f"The run {one_line(found.run.name)!r} of this very command was saved after step "
        f"{found.step:,} and did not end. Go on with it?",
        default=True,
        err=True,
    )

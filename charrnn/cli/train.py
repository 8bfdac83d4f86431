"""charrnn train: learn from text."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from types import FrameType
from typing import Any

import click

from charrnn.cli.options import Command, Option, given_settings, read_config, settings_options
from charrnn.config import LENGTHS, RunConfig, TextConfig, TrainConfig, as_dict

_EXAMPLES = """
charrnn train book.txt                              five minutes, everything chosen for you
charrnn train poems/ notes.txt --budget 1h          a folder and a file, for an hour
charrnn train book.txt --cell gru --hidden-size 512 --num-layers 2
charrnn train chinese.txt --encoding gb18030 --min-count 5
charrnn train --resume book                         go on after a stop
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
    from charrnn.checkpoint.store import format_toml
    from charrnn.runs.request import split_settings

    classes = split_settings(settings)
    values = {key: value for each in classes for key, value in as_dict(each).items()}
    click.echo(format_toml({"corpus": list(corpus) or None} | values), nl=False)


def _run(corpus: tuple[str, ...], settings: dict[str, Any], quiet: bool, as_json: bool) -> None:
    from charrnn.console.display import make_display
    from charrnn.runs.keeper import Kept
    from charrnn.runs.training import Reading, start_run

    stop = _StopSignal()
    with stop, closing(make_display(quiet=quiet, as_json=as_json)) as display:
        for report in start_run(corpus, settings, should_stop=stop.is_set):
            stop.is_heeded = not isinstance(report, Reading)
            display.show(report)
    if isinstance(report, Kept) and report.finished.reason == "stopped":
        sys.exit(128 + stop.number)


class _StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop; a second one ends at once.

    Until the run heeds it, while the text is read and nothing is there to save, the first one
    ends at once too.
    """

    def __init__(self) -> None:
        self.number = 0
        self.is_heeded = False
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        """Tell whether to stop."""
        return self.number != 0

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.number or not self.is_heeded:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.number = number

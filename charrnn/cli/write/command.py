"""charrnn write: write a text together with a model, turn by turn."""

import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.inputs import checkpoints_option, optional_model
from charrnn.cli.options import Choice, Command, Option, settings_from_options, settings_options
from charrnn.cli.write.repl_commands import DEFAULTS, SETTINGS
from charrnn.config import PRESETS, RunConfig, SampleConfig
from charrnn.errors import ConfigError

_EXAMPLES = """
charrnn write                               with the newest run's best model
charrnn write book --prompt-file draft.txt  continue a text
charrnn write book --sentences 1 --preset careful
"""
_COMMON = ("prompt_file", "temperature", "length", "sentences", "preset", "seed", "checkpoints")
_LEFT_OUT = {item.name for item in fields(SampleConfig)} - {i.name for i in SETTINGS.values()}
_LEFT_OUT.add("length")  # it has another default here


class Interrupted(click.ClickException):
    """The session was ended by a signal: one line says where its text is. Exits with 128 + it."""

    def __init__(self, number: int, last_words: str) -> None:
        super().__init__(last_words)
        self.exit_code = 128 + number  # type: ignore[misc]


@click.command("write", cls=Command, examples=_EXAMPLES, common=_COMMON)
@optional_model
@click.option("--prompt-file", type=click.Path(), help="UTF-8 file with the text to start from")
@click.option(
    "--preset",
    type=Choice(tuple(PRESETS)),
    help="group of settings, as in charrnn sample; options that you give override them",
)
@settings_options(SampleConfig, skipped=tuple(_LEFT_OUT))
@click.option(
    "--length",
    cls=Option,
    section="End",
    type=click.IntRange(min=0),
    metavar="N",
    default=DEFAULTS.length,
    show_default=True,
    envvar="CHARRNN_LENGTH",
    help="characters that the model writes per turn",
)
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    prompt_file: str | None,
    checkpoints: str,
    **_: Any,
) -> None:
    """Write a text together with a model, turn by turn.

    MODEL is a run's name, a run's folder or a model file. What you type is added to the text; Enter
    on an empty line lets the model continue. You can retry, undo and edit, and change the settings
    at any time: /help shows how. The text is saved after every turn; the last line that is printed
    says where.
    """
    for stream in (sys.stdin, sys.stdout):
        if stream is None or not stream.isatty():
            raise ConfigError("charrnn write needs a terminal; in a script use: charrnn sample")
    # Imported here: whoever asks for help should not wait for them.
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.write.autosave import read_draft
    from charrnn.cli.write.repl import Repl
    from charrnn.cli.write.terminal import Terminal
    from charrnn.cli.write.view import View
    from charrnn.generation.model import Model
    from charrnn.generation.session import start_session
    from charrnn.text.substitutions import describe_changes

    config = settings_from_options(ctx, SampleConfig)
    text = "" if prompt_file is None else read_draft(prompt_file)
    path = find_model(model, Path(checkpoints))
    opened = Model.from_file(path)
    fitted = start_session(opened, config).fit(text)
    session = start_session(opened, config, fitted.text)
    # The model as a later command line names it: as this one did, where that is enough.
    is_found = model is not None and checkpoints == RunConfig().checkpoints
    terminal = Terminal()
    view = View()
    repl = Repl(session, terminal, view, shlex.quote(str(model) if is_found else str(path)))
    with terminal.open(repl.complete):
        repl.greet()
        if fitted.changes:
            view.note(describe_changes(fitted.changes))
        number, last_words = repl.run()
    if number:
        raise Interrupted(number, last_words)
    click.echo(one_line(last_words))

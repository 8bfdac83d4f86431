"""charrnn write: write a text together with a model."""

from __future__ import annotations

import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.inputs import checkpoints_option, optional_model
from charrnn.cli.options import Choice, Command, Option, given_settings, settings_options
from charrnn.cli.write.repl_commands import DEFAULTS, SETTINGS
from charrnn.config import PRESETS, RunConfig, SampleConfig
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.generation.session import Session

_EXAMPLES = """
charrnn write                                with the newest run's best model
charrnn write book --prompt-file draft.txt   go on with a text
charrnn write book --sentences 1 --preset careful
"""

_LEFT_OUT = {item.name for item in fields(SampleConfig)} - {i.name for i in SETTINGS.values()}


class Interrupted(click.ClickException):
    """The session was ended by a signal: one line says where its text is. Exits with 128 + it."""

    def __init__(self, number: int, last_words: str) -> None:
        super().__init__(last_words)
        self.exit_code = 128 + number  # type: ignore[misc]


@click.command("write", cls=Command, examples=_EXAMPLES)
@optional_model
@click.option("--prompt-file", type=click.Path(), help="file with the text to begin with (UTF-8)")
@click.option(
    "--preset", type=Choice(tuple(PRESETS)), help="settings that go together, as of sample"
)
@settings_options(SampleConfig, skipped=("length", *_LEFT_OUT))
@click.option(
    "--length",
    cls=Option,
    section="End",
    type=click.IntRange(min=0),
    default=DEFAULTS.length,
    show_default=True,
    envvar="CHARRNN_LENGTH",
    help="characters that the model writes in its turn",
)
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    prompt_file: str | None,
    preset: str | None,
    checkpoints: str,
    **_: Any,
) -> None:
    """Write a text with MODEL, turn by turn: a run's name, its folder, or a model file.

    What you type is added to the text; an empty line lets the model go on. What it writes can be
    tried again, undone and edited, and every setting changed at any moment: /help shows how. The
    text is kept after every turn, and where it lies is told at the end.
    """
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        raise ConfigError(
            "write is a conversation, and standard input or output is no terminal; "
            "a script can use: charrnn sample"
        )
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.write.autosave import find_file, read_draft
    from charrnn.generation.model import Model
    from charrnn.generation.session import start_session

    config = _choose_settings(ctx, preset)
    text = "" if prompt_file is None else read_draft(find_file(prompt_file))
    path = find_model(model, Path(checkpoints))
    session = start_session(Model.from_file(path), config, text)
    number, last_words = _converse(session, _spell(model, path, checkpoints))
    if number:
        raise Interrupted(number, last_words)
    click.echo(one_line(last_words))


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()


def _choose_settings(ctx: click.Context, preset: str | None) -> SampleConfig:
    """Let what is given go before the preset, and that before the defaults."""
    names = {item.name for item in fields(SampleConfig)}
    given = {name: value for name, value in given_settings(ctx).items() if name in names}
    chosen = {"length": DEFAULTS.length} | given
    return SampleConfig.from_preset(preset, **chosen) if preset else SampleConfig(**chosen)


def _spell(model: str | None, path: Path, checkpoints: str) -> str:
    """Give the model as a command line names it: as this one did, where that is enough."""
    is_found = model is not None and checkpoints == RunConfig().checkpoints
    return shlex.quote(str(model) if is_found else str(path))


def _converse(session: Session, model: str) -> tuple[int, str]:
    """Talk at the terminal; give the signal that ended it and the last words."""
    from charrnn.cli.write.repl import Repl
    from charrnn.cli.write.terminal import Terminal
    from charrnn.cli.write.view import View

    keyboard, page = Terminal(), View()
    conversation = Repl(session, keyboard, page, model)
    with keyboard.held(conversation.complete):
        conversation.greet()
        return conversation.run()

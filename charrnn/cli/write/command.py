"""charrnn write: write a text together with a model, turn by turn."""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.formatting import one_line
from charrnn.cli.inputs import checkpoints_option, label_option, optional_model
from charrnn.cli.options import (
    Choice,
    Command,
    Option,
    given_settings,
    settings_from_options,
    settings_options,
)
from charrnn.cli.write.autosave import (
    TEXTS_FOLDER,
    Autosave,
    SavedText,
    find_file,
    find_last_text,
    is_autosaved,
    read_draft,
    read_settings,
)
from charrnn.cli.write.repl_commands import DEFAULTS, SETTINGS
from charrnn.config import PRESETS, UNKNOWN, RunConfig, SampleConfig, with_settings
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.cli.write.terminal import Terminal
    from charrnn.cli.write.view import View

_EXAMPLES = """
charrnn write                         the newest model; offers your last text
charrnn write book --prompt-file draft.txt  continue a text
charrnn write book --sentences 1 --preset careful
"""
_SAMPLING = ("temperature", "length", "sentences", "preset", "seed")
_COMMON = ("prompt_file", *_SAMPLING, "texts", "checkpoints")
_FIELDS = frozenset(item.name for item in SETTINGS.values())
_LEFT_OUT = {item.name for item in fields(SampleConfig)} - _FIELDS
_LEFT_OUT |= {"length", "unknown"}  # they have other defaults here


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
    help="characters that the model writes per turn; unless you set it, a turn goes on to the end "
    "of its sentence, or of a word if that takes half as many more",
)
@click.option(
    "--unknown",
    cls=Option,
    type=Choice(UNKNOWN),
    default=DEFAULTS.unknown,
    show_default=True,
    envvar="CHARRNN_UNKNOWN",
    help="characters that you type and the model never saw: refuse them, or keep them in the text "
    "and let the model skip them or read the nearest that it knows",
)
@click.option(
    "--texts",
    metavar="FOLDER",
    default=TEXTS_FOLDER,
    show_default=True,
    envvar="CHARRNN_TEXTS",
    help="folder in which your texts are saved",
)
@label_option(
    help="label of the text, of a model trained with labels: speaker=ROMEO; can be repeated"
)
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    prompt_file: str | None,
    checkpoints: str,
    texts: str,
    labels: tuple[str, ...],
    **_: Any,
) -> None:
    """Write a text together with a model, turn by turn.

    MODEL is a run's name, a run's folder or a model file. What you type is added to the text; Enter
    on an empty line lets the model continue. You can retry, undo and edit, and change the settings
    at any time: /help shows how.

    The text is saved after every turn, in a file that is named at the start. The next session
    offers to continue it.
    """
    for stream in (sys.stdin, sys.stdout):
        if stream is None or not stream.isatty():
            raise ConfigError("charrnn write needs a terminal; in a script use: charrnn sample")
    # Imported here: whoever asks for help should not wait for them.
    from charrnn.checkpoint.hub import name_of_run
    from charrnn.checkpoint.run_folder import is_model_name
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.write.repl import Repl
    from charrnn.cli.write.terminal import Terminal
    from charrnn.cli.write.view import View
    from charrnn.tasks.model import Model
    from charrnn.tasks.session import start_session

    config = settings_from_options(ctx, SampleConfig)
    given = set(given_settings(ctx))
    path = find_model(model, Path(checkpoints))
    opened = Model.from_file(path, labels)
    name = name_of_run(path) if is_model_name(path.name) else path.stem
    folder = find_file(texts)
    source = find_file(prompt_file) if prompt_file is not None else None
    text = read_draft(prompt_file) if prompt_file is not None else ""
    terminal = Terminal()
    view = View()
    with terminal.open():
        saved = find_last_text(folder, name) if source is None else None
        if saved is not None and _is_wanted(saved, name, terminal, view):
            source = saved.path
            text = saved.text
            if saved.is_by(name) and not given & {"preset", *_FIELDS}:  # those given are all
                values = {k: v for k, v in read_settings(source).items() if k in _FIELDS}
                with suppress(ConfigError):  # of a file that somebody changed
                    config = with_settings(config, values)
                    given |= values.keys()
        continued = source if source is not None and is_autosaved(source, folder) else None
        # What stands in the text already is refused no more.
        reading = replace(config, unknown="map") if config.unknown == "error" else config
        words = ["charrnn", "write", model or name]
        words += [word for label in labels for word in ("--label", label)]
        repl = Repl(
            start_session(opened, reading, text).with_config(config),
            terminal,
            view,
            Autosave(folder, name, text, continued),
            command=shlex.join([*words, *_places(checkpoints, texts)]),
            given=given,
        )
        terminal.complete = repl.complete
        repl.greet(name)
        number, last_words = repl.run()
    if number:
        raise Interrupted(number, last_words)
    click.echo(one_line(last_words))


def _is_wanted(saved: SavedText, name: str, terminal: Terminal, view: View) -> bool:
    """Ask whether to continue an earlier text."""
    from charrnn.cli.write.terminal import ReplExit

    try:
        return terminal.confirm(view.format_offer(saved, name))
    except ReplExit as exit:
        raise Interrupted(exit.signal_number or signal.SIGINT, "nothing was written") from exit


def _places(checkpoints: str, texts: str) -> list[str]:
    """Return the options that a command line needs to find the model and the texts."""
    words = ["--checkpoints", checkpoints] if checkpoints != RunConfig().checkpoints else []
    return words + (["--texts", texts] if texts != TEXTS_FOLDER else [])

"""The program: its commands, imported when they are asked for, and the exit code of each error."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from charrnn._version import __version__
from charrnn.cli.formatting import one_line
from charrnn.cli.options import Choice, Command
from charrnn.errors import CharRNNError, StorageError
from charrnn.wording import nearest

_EXAMPLES = """\b
Examples:
  charrnn train book.txt                 train on a text file
  charrnn train python-docs --budget 1m  train on prose from Python's own files
  charrnn sample                         generate text with the newest model
  charrnn sample --temp 0.5 --prompt "Once upon a time"
  charrnn corpus list                    list ready-made texts"""
_COMPLETION_EXAMPLES = """
charrnn completion bash >> ~/.bashrc
charrnn completion zsh >> ~/.zshrc
charrnn completion fish > ~/.config/fish/completions/charrnn.fish
"""
COMMANDS = {
    "train": ("train.command:command", "Train a model on text."),
    "sweep": ("sweep.command:command", "Try settings side by side, and train on with the best."),
    "sample": ("sample.command:command", "Generate text with a model."),
    "write": ("write.command:command", "Write a text together with a model, turn by turn."),
    "fill": ("fill:command", "Fill in the blanks of a text."),
    "eval": ("eval:command", "Score a text: bits per character and perplexity."),
    "score": ("score.command:command", "Show how surprised a model is by each character."),
    "inspect": ("inspect.command:command", "Show what happens inside a model."),
    "predict": ("predict:command", "Say what a text is or becomes: its label, tags or target."),
    "serve": ("serve:command", "Answer requests over HTTP, as OpenAI's API words them."),
    "compress": ("compress:compress", "Compress FILE, with MODEL predicting each character."),
    "decompress": ("compress:decompress", "Restore a compressed file."),
    "export": ("export:command", "Write a model in another format, and check it."),
    "info": ("info:info", "Describe a model."),
    "list": ("info:list_all", "List all runs."),
    "remove": ("info:remove", "Remove runs: their models, training states and logs."),
    "compare": (
        "compare:command",
        "Compare runs: what differs, and which predicts better.",
    ),
    "push": ("hub:push", "Share a model on the Hugging Face hub."),
    "pull": ("hub:pull", "Get a model from the Hugging Face hub as a run."),
    "corpus": ("corpus:command", "List, download, build and measure texts."),
    "bench": ("bench:command", "Measure the speed of this machine."),
    "completion": ("main:completion", "Print a shell's completion script."),
}
"""Where each command is in charrnn.cli, and the first line of its docstring, in the order shown."""


@click.command("completion", cls=Command, examples=_COMPLETION_EXAMPLES)
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    In zsh, ~/.zshrc must run compinit before the script: autoload -U compinit; compinit. For fish,
    make the folder first: mkdir -p ~/.config/fish/completions
    """
    make_script = get_completion_class(shell)
    assert make_script is not None, "click completes these shells"
    click.echo(make_script(ctx.find_root().command, {}, "charrnn", "_CHARRNN_COMPLETE").source())


@contextlib.contextmanager
def _ends_on_broken_pipe() -> Iterator[None]:
    """Exit with 141 where the reader of stdout is gone; click itself would exit with 1."""
    try:
        yield
    except BrokenPipeError:
        _drop_stdout()
        sys.exit(141)  # 128 + SIGPIPE, as a shell shows it


class _Program(click.Group):
    """The group of all commands, so that `charrnn sample` never waits for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name, or an error that names the nearest."""
        if cmd_name not in COMMANDS:
            if near := nearest(cmd_name, COMMANDS):
                raise click.UsageError(f"No such command {cmd_name!r}. Did you mean {near!r}?", ctx)
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"charrnn.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its description."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, description) for name, (_, description) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that complete the word, without importing any command."""
        commands = [
            CompletionItem(name, help=description)
            for name, (_, description) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    @_ends_on_broken_pipe()
    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the command line, and show the help page or the version if it asks for them."""
        return super().make_context(*args, **extra)

    @_ends_on_broken_pipe()
    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        return super().invoke(ctx)


@click.group(
    cls=_Program,
    help=f"Character-level recurrent language models.\n\n{_EXAMPLES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="charrnn")
def cli() -> None:
    """Hold the commands together."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0, an error's code, 130 after Ctrl-C, 141 after a closed pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # For characters missing from the terminal's encoding.
        sys.stdout.reconfigure(errors="replace")
    try:
        if sys.stdout is None:
            raise StorageError("cannot write: standard output is closed")
        # Not standalone: click would end the program itself, without our codes.
        sys.exit(cli.main(arguments, prog_name="charrnn", standalone_mode=False) or 0)
    except CharRNNError as error:
        _complain(error.message)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # `charrnn` alone shows its help
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        # Only errors of the command line have a context; a run that was stopped has none.
        context = getattr(error, "ctx", None)
        page = "--help-all" if getattr(context and context.command, "common", ()) else "--help"
        hint = f" (see {context.command_path} {page})" if context else ""
        _complain(error.format_message() + hint)
        sys.exit(error.exit_code)
    except OSError as error:  # files have errors of their own, so this is stdout
        _complain(f"cannot write: {error.strerror or error}")
        _drop_stdout()
        sys.exit(StorageError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        sys.exit(130)


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):  # stderr may be gone with the terminal
        click.echo(f"charrnn: {one_line(message)}", err=True)


def _drop_stdout() -> None:
    """Point stdout elsewhere, so that Python's own flush at exit finds no closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

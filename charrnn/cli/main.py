"""The program `charrnn`: its commands, and the one place that turns errors into exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from charrnn._version import __version__
from charrnn.cli import (
    bench,
    completion,
    compress,
    corpus,
    decompress,
    eval,
    fill,
    info,
    list_runs,
    sample,
    score,
    train,
    write,
)
from charrnn.console.visible import one_line
from charrnn.errors import CharRNNError, StorageError

_EXAMPLES = """\b
Examples:
  charrnn train book.txt                 learn to write like a text file
  charrnn train python-docs --budget 1m  learn from text that came with Python
  charrnn sample                         let the newest model write
  charrnn sample --temp 0.5 --prompt "Once upon a time"
  charrnn corpus list                    texts to try"""


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """End where the reader of stdout is gone; click itself would exit with 1."""
    try:
        yield
    except BrokenPipeError:
        _drop_stdout()
        sys.exit(141)  # 128 + SIGPIPE, as a shell shows it


class _Program(click.Group):
    """The group of all commands."""

    @_quiet_end()
    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the command line, and show the page of help or the version if it asks for them."""
        return super().make_context(*args, **extra)

    @_quiet_end()
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


_READERS = (sample, write, fill, eval, score, compress, decompress, info, list_runs)
for _command in (train, *_READERS, corpus, bench, completion):
    cli.add_command(_command.command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0, an error's code, 130 after Ctrl-C, 141 after a closed pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for what the terminal's encoding has not
    try:
        if sys.stdout is None:
            raise StorageError("cannot write: standard output is closed")
        sys.exit(cli.main(arguments, prog_name="charrnn", standalone_mode=False) or 0)
    except CharRNNError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _complain(_describe_usage_error(error))
        sys.exit(error.exit_code)
    except OSError as error:
        _complain(f"cannot write: {error.strerror or error}")
        _drop_stdout()
        sys.exit(StorageError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        sys.exit(130)


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"charrnn: {one_line(message)}", err=True)


def _describe_usage_error(error: click.ClickException) -> str:
    """Give click's message in one line, with the help that would have prevented it."""
    context = getattr(error, "ctx", None)
    where = f" (see {context.command_path} --help)" if context else ""
    return f"{error.format_message()}{where}"


def _drop_stdout() -> None:
    """Point stdout elsewhere, so that Python's own flush at exit finds no closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

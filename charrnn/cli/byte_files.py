"""The FILE argument and the -o option of compress and decompress: bytes in, bytes out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from charrnn.cli.models import complete_run
from charrnn.errors import ConfigError, CorpusError
from charrnn.storage import write_atomically

SUFFIX = ".crnn"
_MOST_BYTES = 1 << 30

model_argument = click.argument("model", shell_complete=complete_run)
file_argument = click.argument("file", type=click.Path())
json_option = click.option("--json", "as_json", is_flag=True, help="one JSON object of figures")


def out_option(usual: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command with -o, which the help says is else `usual`."""
    return click.option(
        "-o",
        "--out",
        type=click.Path(),
        show_default=f"{usual}; stdout if FILE is -",
        help="where to; - for stdout. A file of that name is replaced",
    )


def choose_target(out: str | None, file: str, usual: str | None, as_json: bool) -> str | None:
    """Give the file to write, or None for stdout, before any work is done.

    Raises:
        ConfigError: it is there and was not named, is no file, or stdout is not to be had.
    """
    target = usual if out is None else out
    if target is None or target == "-":
        if as_json:
            raise ConfigError("--json and the bytes both go to stdout; name a file with -o")
        if sys.stdout.isatty():
            raise ConfigError("a terminal cannot show these bytes; name a file with -o")
        return None
    path = Path(target)
    if out is None and path.exists():
        raise ConfigError(f"{target} is there already; replace it with -o {target}")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{target} is a folder or a device; name a file, or - for stdout, by -o")
    if file != "-" and path.exists() and Path(file).exists() and path.samefile(file):
        raise ConfigError(f"{target} is the file that is read; name another with -o")
    return target


def read_bytes(file: str) -> bytes:
    """Give a file's bytes.

    Raises:
        CorpusError: it is missing, unreadable or too long.
    """
    try:
        if file == "-":
            if sys.stdin is None:
                raise CorpusError("standard input is closed; name a file")
            raw = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CorpusError(f"cannot read {name_of(file)}: {error.strerror or error}") from error
    if len(raw) > _MOST_BYTES:
        raise CorpusError(f"{name_of(file)} is longer than {_MOST_BYTES:,} bytes; give it in parts")
    return raw


def name_of(file: str) -> str:
    """Give what messages call the file."""
    return "standard input" if file == "-" else file


def write_bytes(target: str | None, data: bytes) -> None:
    """Write to a file, whole or not at all, or to stdout."""
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_atomically(Path(target), data)

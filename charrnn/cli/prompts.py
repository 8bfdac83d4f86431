"""What a command reads besides a model: a prompt, a list of texts."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

from charrnn.cli.options import read_little
from charrnn.errors import ConfigError

_MOST_BYTES = 64 << 20


def read_prompt(prompt: str | None, prompt_file: str | None) -> str:
    """Give the prompt from wherever it comes.

    Raises:
        ConfigError: two are given, or the file cannot be read or is too long.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("--prompt and --prompt-file both give a prompt; keep one")
    if prompt_file is None and prompt != "-":
        return prompt or ""
    return read_text("the prompt", prompt_file or "-", "--prompt or --prompt-file")


def read_choices(path: str) -> tuple[str, ...]:
    """Give the lines of a file that are not empty.

    Raises:
        ConfigError: it has none, or cannot be read or is too long.
    """
    lines = tuple(line for line in read_text("the list", path, "--choices").split("\n") if line)
    if not lines:
        raise ConfigError(f"--choices {path} has no line; write one text in each")
    return lines


def read_text(what: str, path: str, option: str) -> str:
    """Give the text (UTF-8) of a file, or of standard input where that is "-".

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    source = "standard input" if path == "-" else path
    if path == "-" and sys.stdin is None:
        raise ConfigError(f"standard input is closed; give {what} by {option}")
    try:
        with _open(path) as file:
            raw = read_little(file, f"{what} in {source}", _MOST_BYTES)
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise ConfigError(f"cannot read {what} {source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{what} in {source} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error


def _open(path: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb")

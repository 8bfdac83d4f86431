"""The MODEL argument and the --checkpoints option, shared by the commands that read models."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

import click
from click.shell_completion import CompletionItem

from charrnn.config import RunConfig
from charrnn.errors import ConfigError

_CHECKPOINTS = RunConfig().checkpoints
_PLAIN = r"[\w.,+=@%-]+"


def complete_run(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Offer the names of the runs, then files.

    Shells put a name on the command line as it is, so one that they would expand is left out.
    """
    folder = Path(ctx.params.get("checkpoints") or _CHECKPOINTS)
    names = sorted({path.parent.name for path in folder.glob("*/*.safetensors")})
    runs: list[CompletionItem | str] = [
        name for name in names if name.startswith(incomplete) and re.fullmatch(_PLAIN, name)
    ]
    return runs or [CompletionItem(incomplete, type="file")]


optional_model = click.argument(
    "model", required=False, shell_complete=complete_run, metavar="[MODEL]"
)
some_models = click.argument(
    "models", nargs=-1, required=True, shell_complete=complete_run, metavar="MODEL..."
)

checkpoints_option = click.option(
    "--checkpoints",
    default=_CHECKPOINTS,
    show_default=True,
    envvar="CHARRNN_CHECKPOINTS",
    help="folder of all runs",
)


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


def read_little(file: IO[bytes], name: str, most_bytes: int) -> bytes:
    """Read a file that a person wrote; of a device that never ends, only a little.

    Raises:
        ConfigError: it is longer than `most_bytes`.
        OSError: it cannot be read.
    """
    raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise ConfigError(f"{name} is longer than {most_bytes:,} bytes; give a shorter file")
    return raw

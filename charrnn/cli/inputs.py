"""Arguments that several commands share: the model, the folder of runs, texts and their files."""

import re
import sys
import unicodedata
from contextlib import nullcontext
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from charrnn.config import RunConfig
from charrnn.errors import CharRNNError, ConfigError

_CHECKPOINTS = RunConfig().checkpoints
_UNQUOTED_NAME = r"[\w.,+=@%-]+"  # a shell takes these characters as they are
_MAX_TEXT_BYTES = 64 << 20  # more is no prompt, and held in memory


def complete_run(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Offer the names of the runs; where none fits, files.

    Shells put a name on the command line unquoted, so names that they would expand are left out.
    """
    # --checkpoints counts where it stands before the name that is completed.
    folder = Path(ctx.params.get("checkpoints") or _CHECKPOINTS)
    incomplete = unicodedata.normalize("NFC", incomplete)  # as names of runs are
    names = sorted(
        {unicodedata.normalize("NFC", path.parent.name) for path in folder.glob("*/*.safetensors")}
    )
    runs: list[CompletionItem | str] = [
        name for name in names if name.startswith(incomplete) and re.fullmatch(_UNQUOTED_NAME, name)
    ]
    return runs or [CompletionItem(incomplete, type="file")]


optional_model = click.argument("model", required=False, shell_complete=complete_run)
some_models = click.argument(
    "models", nargs=-1, required=True, shell_complete=complete_run, metavar="MODEL..."
)
checkpoints_option = click.option(
    "--checkpoints",
    metavar="FOLDER",
    default=_CHECKPOINTS,
    show_default=True,
    envvar="CHARRNN_CHECKPOINTS",
    help="folder of all runs",
)


def read_prompt(prompt: str | None, prompt_file: str | None) -> str:
    """Return the prompt: given as text, in a file, or on standard input (-).

    Raises:
        ConfigError: two are given, or the file cannot be read or is too long.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("--prompt and --prompt-file both give a prompt; keep one")
    if prompt_file is None and prompt != "-":
        return prompt or ""
    return read_text("the prompt", prompt_file or "-")


def read_choices(path: str) -> tuple[str, ...]:
    """Return the lines of a file that are not empty.

    Raises:
        ConfigError: it has none, or cannot be read or is too long.
    """
    lines = tuple(line for line in read_text("the list", path).split("\n") if line)
    if not lines:
        raise ConfigError(f"--choices {path} has no line; write one text in each")
    return lines


def read_text(what: str, path: str) -> str:
    """Return the text (UTF-8) of a file, or of standard input where path is "-".

    what: what messages call it, such as "the prompt".

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    name = f"{what} in standard input" if path == "-" else f"{what} {path}"
    try:
        text = read_bytes(path, name, _MAX_TEXT_BYTES).decode("utf-8-sig")  # without a BOM
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as training reads a text


def read_bytes(
    path: str, name: str, max_bytes: int, kind: type[CharRNNError] = ConfigError
) -> bytes:
    """Return the bytes of a file, or of standard input where path is "-".

    name: what messages call it.

    Raises:
        kind: it cannot be read, or is longer than `max_bytes`, as a device without an end is.
    """
    if path == "-" and sys.stdin is None:  # as Python has it where the shell closed it
        raise kind(f"cannot read {name}: standard input is closed; give a file instead")
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise kind(f"cannot read {name}: {error.strerror or error}") from error
    if len(raw) > max_bytes:
        raise kind(f"{name} is longer than {max_bytes:,} bytes; give a shorter file")
    return raw

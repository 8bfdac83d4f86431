"""Arguments that several commands share: the model, the folder of runs, texts and their files."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from charrnn.config import RunConfig, SampleConfig, check_names, with_seed, with_settings
from charrnn.errors import CharRNNError, ConfigError, located
from charrnn.storage import open_atomically

if TYPE_CHECKING:
    from charrnn.checkpoint.run_folder import RunFolder

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_CHECKPOINTS = RunConfig().checkpoints
_UNQUOTED_NAME = r"[\w.,+=@%-]+"  # a shell takes these characters as they are
_MAX_TEXT_BYTES = 64 << 20  # it is held in memory, and no prompt is longer


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


def name_for_shell(run: RunFolder) -> str:
    """Return the run as a shell takes it: its name, or its path outside checkpoints/.

    >>> from charrnn.checkpoint.run_folder import RunFolder
    >>> name_for_shell(RunFolder(Path("checkpoints/my run")))
    "'my run'"
    """
    is_usual = run.path.parent == Path(_CHECKPOINTS)
    return shlex.quote(run.name if is_usual else str(run.path))


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
    help="folder that holds the runs",
)


def complete_label(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Offer the labels of the model that is named before, as the newest model's without a name."""
    from charrnn.checkpoint.model_file import read_model_header
    from charrnn.checkpoint.run_store import find_model

    names = [*(ctx.params.get("names") or ()), ctx.params.get("model")]
    with suppress(CharRNNError):
        folder = Path(ctx.params.get("checkpoints") or _CHECKPOINTS)
        columns = read_model_header(find_model(names[0] or None, folder)).labels.columns
        found = [f"{each.name}={value}" for each in columns for value in each.values]
        fitting = (each for each in found if each.startswith(incomplete))
        return [each for each in fitting if re.fullmatch(_UNQUOTED_NAME, each)]
    return []


def label_option(help: str, **how: Any) -> _Decorator:
    """Return the option that names labels of the text; `how` is passed on to click."""
    return click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="[COLUMN=]LABEL",
        shell_complete=complete_label,
        help=help,
        **how,
    )


def read_prompts(
    prompts: Sequence[str],
    prompt_file: str | None,
    prompts_file: str | None,
    config: SampleConfig,
    *,
    is_binary: bool = False,
) -> list[tuple[str, SampleConfig, str]]:
    """Return each prompt, its settings and what messages call it, "" outside a list.

    They are given as texts, in files, or on standard input (-). prompts_file: a prompt in each line
    that is not empty, or a JSON object with one and with the settings in which it differs from
    `config`. is_binary: one prompt is the bytes of a file.

    Raises:
        ConfigError: they are given twice, or a file cannot be read, is too long, or has a bad line.
    """
    places = {"--prompt": prompts, "--prompt-file": prompt_file, "--prompts": prompts_file}
    given = [option for option, value in places.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} both give a prompt; keep one")
    if prompts_file:
        return _parse_prompts(prompts_file, read_text("the prompts", prompts_file), config)
    if prompt_file:
        return [(read_text("the prompt", prompt_file, is_binary=is_binary), config, "")]
    if prompts.count("-") > 1:
        raise ConfigError("standard input can be read only once; give --prompt - once")
    texts = [
        read_text("the prompt", "-", is_binary=is_binary) if text == "-" else text
        for text in prompts
    ]
    return [(text, config, "") for text in texts or [""]]


def _parse_prompts(
    path: str, text: str, config: SampleConfig
) -> list[tuple[str, SampleConfig, str]]:
    lines = {
        f"--prompts {path}, line {number}": line
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    }
    if not lines:
        raise ConfigError(f"--prompts {path} has no line; write one prompt in each")
    # A line of code may begin with a brace, but is not an object with a prompt.
    found = [record for line in lines.values() if (record := _read_record(line)) is not None]
    is_json = Path(path).suffix in (".jsonl", ".ndjson") or len(found) == len(lines)
    if not is_json and not any("prompt" in record for record in found):
        return [(line, config, place) for place, line in lines.items()]
    parsed = []
    for place, line in lines.items():
        with located(place):
            parsed.append((*_parse_record(line, config), place))
    return parsed


def _read_record(line: str) -> dict[str, Any] | None:
    """Return the JSON object of a line; None where it holds none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _parse_record(line: str, config: SampleConfig) -> tuple[str, SampleConfig]:
    """Return the prompt and the settings of a JSON object."""
    record = _read_record(line)
    if record is None:
        raise ConfigError('it is not a JSON object, as other lines are; write {"prompt": "…"}')
    values = {key.replace("-", "_"): value for key, value in record.items()}
    check_names(values, {"prompt", *(item.name for item in fields(SampleConfig))})
    prompt = values.pop("prompt", None)
    if not isinstance(prompt, str):
        raise ConfigError('it gives no text; write {"prompt": "…"}')
    return prompt, with_seed(with_settings(config, values))  # an object may leave it to chance


def refuse_target(target: str, option: str = "-o", read: Sequence[str] = ()) -> None:
    """Refuse to write what would destroy a folder, a device, a model or a text that is read.

    Raises:
        ConfigError: names the target and the option that names another.
    """
    path = Path(target)
    with suppress(OSError, ValueError):  # a name too long: writing it says so
        if path.exists() and not path.is_file():
            raise ConfigError(
                f"{target} is a folder or a device; name a file, or - for stdout, by {option}"
            )
        if path.exists() and path.suffix == ".safetensors":
            raise ConfigError(f"{target} is a model file; name another with {option}")
        if any(Path(each).exists() and path.samefile(each) for each in read if path.exists()):
            raise ConfigError(f"{target} is the file that is read; name another with {option}")


out_option = click.option(
    "-o", "--out", type=click.Path(), help="file to write, replaced if it is there; - for stdout"
)


@contextmanager
def written_to(out: str | None) -> Iterator[None]:
    """Let stdout be the file `out` within the block; it appears, whole, when the block ends well.

    Raises:
        StorageError: it cannot be written.
    """
    if out in (None, "-"):
        yield
        return
    with open_atomically(Path(str(out))) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        with redirect_stdout(text):
            yield
        text.detach()  # flushes; the file is not closed here


def read_choices(path: str) -> tuple[str, ...]:
    """Return the lines of a file that are not empty.

    Raises:
        ConfigError: it has none, or cannot be read or is too long.
    """
    lines = tuple(line for line in read_text("the list", path).split("\n") if line)
    if not lines:
        raise ConfigError(f"--choices {path} has no lines; write one text per line")
    return lines


def read_text(what: str, path: str, *, is_binary: bool = False) -> str:
    """Return the text (UTF-8) of a file, or of standard input where path is "-".

    what: what messages call it, such as "the prompt". is_binary: take all bytes as they are, those
    beyond ASCII as lone surrogates.

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    name = f"{what} in standard input" if path == "-" else f"{what} {path}"
    data = read_bytes(path, name, _MAX_TEXT_BYTES)
    if is_binary:
        return data.decode("ascii", "surrogateescape")
    try:
        text = data.decode("utf-8-sig")  # without a BOM
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

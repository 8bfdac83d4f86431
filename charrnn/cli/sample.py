"""charrnn sample: let a model write."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from charrnn.cli.models import checkpoints_option, optional_model
from charrnn.cli.options import Choice, Command, given_settings, read_little, settings_options
from charrnn.config import STYLES, SampleConfig
from charrnn.console.visible import make_visible
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.inference.stops import Writing

_EXAMPLES = """
charrnn sample                                 the newest run's best model
charrnn sample shakespeare --temp 0.5 --prompt "ROMEO:"
charrnn sample -n 3 --seed 1 --length 200      three texts, the same every time
charrnn sample --style careful --sentences 2   presets: careful, plain, wild
charrnn sample --ban digits --bias e=-2 --min-p 0.05 --print-sampler
charrnn sample --prompt-file draft.txt --stop "." --no-prompt
charrnn sample --json | head -1                one JSON object a sample
"""


_MOST_PROMPT_BYTES = 64 << 20
_STYLES = "; ".join(
    f"{style}: "
    + ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in values.items())
    for style, values in STYLES.items()
)


@click.command("sample", cls=Command, examples=_EXAMPLES)
@optional_model
@click.option("--prompt", help="text to go on from; - reads it from stdin")
@click.option("--prompt-file", type=click.Path(), help="file with the text to go on from (UTF-8)")
@click.option(
    "--style",
    type=Choice(tuple(STYLES)),
    help=f"settings that go together ({_STYLES}); those given go before them",
)
@settings_options(SampleConfig)
@click.option(
    "-n",
    "--samples",
    "count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="how many texts to write",
)
@click.option("--no-prompt", is_flag=True, help="leave the prompt out of what is written")
@click.option("--print-sampler", is_flag=True, help="print the steps of drawing and stop")
@click.option("--raw", is_flag=True, help="write control characters as they are to a terminal too")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a sample")
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    count: int,
    no_prompt: bool,
    style: str | None,
    print_sampler: bool,
    raw: bool,
    as_json: bool,
    checkpoints: str,
    **_: Any,
) -> None:
    """Write text with MODEL: a run's name, its folder, or a model file.

    Characters are drawn in the order repetition, presence, frequency and loop penalty, bias, only
    and ban, temperature, top-n-sigma, top-k, typical, top-p, min-p, XTC, mirostat. At temperature 0
    the likeliest that is not banned is taken instead. Without a prompt the text begins as a line
    begins. Sample i of a seed is the same whatever the number of samples.
    """
    from charrnn.checkpoint.store import find_model
    from charrnn.inference.generator import Model
    from charrnn.inference.chain import describe_chain

    config = _choose_settings(ctx, style)
    if print_sampler:
        click.echo("\n".join(describe_chain(config)))
        return
    if config.seed is None:
        config = replace(config, seed=secrets.randbits(32))
    text = _read_prompt(prompt, prompt_file)
    writer = Model.from_file(find_model(model, Path(checkpoints)))
    for index in range(count):
        pieces = writer.generate(text, config, index=index)
        if as_json:
            given = {} if no_prompt else {"prompt": text}
            _write_json({"index": index} | given, config, pieces)
        else:
            _write_text("" if no_prompt else text, pieces, raw, is_last=index == count - 1)


def _choose_settings(ctx: click.Context, style: str | None) -> SampleConfig:
    """Let what is given go before the style, and that before the defaults."""
    names = {item.name for item in fields(SampleConfig)}
    given = {name: value for name, value in given_settings(ctx).items() if name in names}
    return SampleConfig.in_style(style, **given) if style else SampleConfig(**given)


def _read_prompt(prompt: str | None, prompt_file: str | None) -> str:
    """Give the prompt from wherever it comes.

    Raises:
        ConfigError: two are given, or the file cannot be read or is too long.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("--prompt and --prompt-file both give a prompt; keep one")
    if prompt_file is None and prompt != "-":
        return prompt or ""
    source = "standard input" if prompt_file in (None, "-") else prompt_file
    if source == "standard input" and sys.stdin is None:
        raise ConfigError("standard input is closed; give the prompt by --prompt or --prompt-file")
    try:
        with _open_prompt(prompt_file) as file:
            raw = read_little(file, f"the prompt in {source}", _MOST_PROMPT_BYTES)
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise ConfigError(f"cannot read the prompt {source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the prompt in {source} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error


def _open_prompt(path: str | None) -> AbstractContextManager[IO[bytes]]:
    if path in (None, "-"):
        return nullcontext(sys.stdin.buffer)
    return Path(path).open("rb")


def _write_text(prompt: str, pieces: Iterator[str], raw: bool, is_last: bool) -> None:
    """Stream one sample to stdout; each ends with a newline, and an empty line parts two."""
    write = _make_writer(raw)
    write(prompt)
    ending = prompt[-1:]
    for piece in pieces:
        write(piece)
        ending = piece[-1:]
    write("" if ending == "\n" else "\n")
    if not is_last:
        write("\n")


def _make_writer(raw: bool) -> Callable[[str], None]:
    """Give a function that writes and flushes; on a terminal, control characters become visible.

    A terminal gets its own encoding: in another, UTF-8 has bytes that it may obey.
    """
    stdout = sys.stdout.buffer
    is_shown = sys.stdout.isatty() and not raw
    encoding = sys.stdout.encoding if is_shown else "utf-8"

    def write(text: str) -> None:
        shown = make_visible(text) if is_shown else text
        stdout.write(shown.encode(encoding, "replace"))
        stdout.flush()

    return write


def _write_json(record: dict[str, Any], config: SampleConfig, pieces: Writing) -> None:
    record |= {"text": "".join(pieces), "stopped_by": pieces.reason}
    record |= {"temperature": config.temperature, "seed": config.seed}
    _make_writer(raw=True)(json.dumps(record) + "\n")

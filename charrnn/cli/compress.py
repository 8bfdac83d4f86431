"""The FILE argument and the -o option of compress and decompress: bytes in, bytes out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from charrnn.cli.inputs import checkpoints_option, complete_run
from charrnn.cli.options import Command
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


_COMPRESS_EXAMPLES = """
charrnn compress shakespeare play.txt            makes play.txt.crnn
charrnn compress shakespeare - -o - < play.txt   from stdin to stdout
"""


@click.command("compress", cls=Command, examples=_COMPRESS_EXAMPLES)
@model_argument
@file_argument
@out_option(f"FILE{SUFFIX}")
@json_option
@checkpoints_option
def compress_command(
    model: str, file: str, out: str | None, as_json: bool, checkpoints: str
) -> None:
    """Make FILE small by what MODEL, a run's name, its folder or a model file, expects of it.

    Each character takes as many bits as its probability is worth. Any bytes come back exactly, on
    any machine: what the model does not know is written as it is, and what it cannot make smaller
    grows by 58 bytes at most. The very same model is needed to decompress: keep it. FILE is - for
    stdin and has up to 1 GiB.

    The JSON object has original_bytes, compressed_bytes, chars, bits_per_char, bits_per_byte,
    model_bytes (the model's own code length), escaped_bytes (not in the model's alphabet),
    is_stored (kept as it is) and seconds.
    """
    from charrnn.checkpoint.model_file import read_model
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.console import show_packed, show_packing
    from charrnn.compression import codec

    target = choose_target(out, file, None if file == "-" else file + SUFFIX, as_json)
    original = read_bytes(file)
    opened = read_model(find_model(model, Path(checkpoints)))
    began = time.perf_counter()
    with show_packing("compressing") as watch:
        packed = codec.compress(original, opened, watch)
    seconds = time.perf_counter() - began
    write_bytes(target, packed.data)
    if as_json:
        figures = {
            "original_bytes": packed.original_bytes,
            "compressed_bytes": len(packed.data),
            "chars": packed.chars,
            "bits_per_char": packed.bits_per_char,
            "bits_per_byte": packed.bits_per_byte,
            "model_bytes": packed.model_bits / 8,
            "escaped_bytes": packed.escaped_bytes,
            "is_stored": packed.is_stored,
            "seconds": seconds,
        }
        click.echo(json.dumps(figures))
        return
    show_packed(packed, target or "standard output", seconds)


_DECOMPRESS_EXAMPLES = """
charrnn decompress shakespeare play.txt.crnn     makes play.txt
charrnn decompress shakespeare play.txt.crnn -o copy.txt
"""


@click.command("decompress", cls=Command, examples=_DECOMPRESS_EXAMPLES)
@model_argument
@file_argument
@out_option(f"FILE without {SUFFIX}")
@json_option
@checkpoints_option
def decompress_command(
    model: str, file: str, out: str | None, as_json: bool, checkpoints: str
) -> None:
    """Give back what compress made FILE from, with the same MODEL.

    Nothing is written unless its checksum is right. FILE is - for stdin.

    The JSON object has compressed_bytes, original_bytes and seconds.
    """
    from charrnn.checkpoint.model_file import read_model
    from charrnn.checkpoint.run_store import find_model
    from charrnn.cli.console import show_packing, show_unpacked
    from charrnn.compression import codec

    target = choose_target(out, file, _usual_target(file, out), as_json)
    data = read_bytes(file)
    path = find_model(model, Path(checkpoints))
    opened = read_model(path)
    began = time.perf_counter()
    with show_packing("decompressing") as watch:
        original = codec.decompress(data, opened, name_of(file), str(path), watch)
    seconds = time.perf_counter() - began
    write_bytes(target, original)
    if as_json:
        figures = {
            "compressed_bytes": len(data),
            "original_bytes": len(original),
            "seconds": seconds,
        }
        click.echo(json.dumps(figures))
        return
    show_unpacked(len(data), len(original), target or "standard output", seconds)


def _usual_target(file: str, out: str | None) -> str | None:
    if out is None and file != "-" and not file.endswith(SUFFIX):
        raise ConfigError(f"{file} does not end in {SUFFIX}; say where to with -o")
    return None if file == "-" else file.removesuffix(SUFFIX)

"""charrnn decompress: what charrnn compress made becomes the file again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from charrnn.cli.byte_files import (
    SUFFIX,
    choose_target,
    file_argument,
    json_option,
    model_argument,
    name_of,
    out_option,
    read_bytes,
    write_bytes,
)
from charrnn.cli.models import checkpoints_option
from charrnn.cli.options import Command
from charrnn.errors import ConfigError

_EXAMPLES = """
charrnn decompress shakespeare play.txt.crnn     makes play.txt
charrnn decompress shakespeare play.txt.crnn -o copy.txt
"""


@click.command("decompress", cls=Command, examples=_EXAMPLES)
@model_argument
@file_argument
@out_option(f"FILE without {SUFFIX}")
@json_option
@checkpoints_option
def command(model: str, file: str, out: str | None, as_json: bool, checkpoints: str) -> None:
    """Give back what compress made FILE from, with the same MODEL.

    Nothing is written unless its checksum is right. FILE is - for stdin.

    The JSON object has compressed_bytes, original_bytes and seconds.
    """
    from charrnn.checkpoint.format import read_model
    from charrnn.checkpoint.store import find_model
    from charrnn.console.packing import show_packing, show_unpacked
    from charrnn.inference.coding import packing

    target = choose_target(out, file, _usual_target(file, out), as_json)
    data = read_bytes(file)
    path = find_model(model, Path(checkpoints))
    opened = read_model(path)
    began = time.perf_counter()
    with show_packing("decompressing") as watch:
        original = packing.decompress(data, opened, name_of(file), str(path), watch)
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

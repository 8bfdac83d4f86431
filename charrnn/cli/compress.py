"""charrnn compress: a model makes a file small."""

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
    out_option,
    read_bytes,
    write_bytes,
)
from charrnn.cli.models import checkpoints_option
from charrnn.cli.options import Command

_EXAMPLES = """
charrnn compress shakespeare play.txt            makes play.txt.crnn
charrnn compress shakespeare - -o - < play.txt   from stdin to stdout
"""


@click.command("compress", cls=Command, examples=_EXAMPLES)
@model_argument
@file_argument
@out_option(f"FILE{SUFFIX}")
@json_option
@checkpoints_option
def command(model: str, file: str, out: str | None, as_json: bool, checkpoints: str) -> None:
    """Make FILE small by what MODEL, a run's name, its folder or a model file, expects of it.

    Each character takes as many bits as its probability is worth. Any bytes come back exactly, on
    any machine: what the model does not know is written as it is, and what it cannot make smaller
    grows by 58 bytes at most. The very same model is needed to decompress: keep it. FILE is - for
    stdin and has up to 1 GiB.

    The JSON object has original_bytes, compressed_bytes, chars, bits_per_char, bits_per_byte,
    model_bytes (the model's own code length), escaped_bytes (not in the model's alphabet),
    is_stored (kept as it is) and seconds.
    """
    from charrnn.checkpoint.format import read_model
    from charrnn.checkpoint.store import find_model
    from charrnn.console.packing import show_packed, show_packing
    from charrnn.inference.coding import packing

    target = choose_target(out, file, None if file == "-" else file + SUFFIX, as_json)
    original = read_bytes(file)
    opened = read_model(find_model(model, Path(checkpoints)))
    began = time.perf_counter()
    with show_packing("compressing") as watch:
        packed = packing.compress(original, opened, watch)
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

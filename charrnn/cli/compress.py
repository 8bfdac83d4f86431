"""charrnn compress and charrnn decompress: bytes in, bytes out, with a model in between."""

import json
import sys
import time
from functools import partial
from pathlib import Path

import click

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.cli.console import print_note, progress_bar
from charrnn.cli.inputs import (
    checkpoints_option,
    complete_run,
    label_option,
    read_bytes,
    refuse_target,
)
from charrnn.cli.options import Command
from charrnn.compression import codec
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.generation.labels import with_labels
from charrnn.storage import write_atomically

_COMPRESS_EXAMPLES = """
charrnn compress tiny-shakespeare play.txt            makes play.txt.crnn
charrnn compress tiny-shakespeare - -o - < play.txt   from stdin to stdout
"""
_DECOMPRESS_EXAMPLES = """
charrnn decompress tiny-shakespeare play.txt.crnn     makes play.txt
charrnn decompress tiny-shakespeare play.txt.crnn -o copy.txt
"""
_SUFFIX = ".crnn"
_MAX_FILE_BYTES = 1 << 30  # it is held in memory

_model_argument = click.argument("model", shell_complete=complete_run)
_file_argument = click.argument("file", type=click.Path())
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="print the figures as one JSON object"
)
_label_option = label_option(
    "label of the text, of a model trained with labels: speaker=ROMEO; can be repeated, and "
    "decompress needs the same"
)
_out_option = partial(
    click.option,
    *("-o", "--out"),
    type=click.Path(),
    help="file to write, replaced if it exists; - for stdout",
)


@click.command("compress", cls=Command, examples=_COMPRESS_EXAMPLES)
@_model_argument
@_file_argument
@_out_option(show_default=f"FILE{_SUFFIX}; stdout if FILE is -")
@_label_option
@_json_option
@checkpoints_option
def compress(
    model: str,
    file: str,
    out: str | None,
    labels: tuple[str, ...],
    as_json: bool,
    checkpoints: str,
) -> None:
    """Compress FILE, with MODEL predicting each character.

    Each character takes −log₂ p bits, where p is the probability that MODEL, a run's name, a run's
    folder or a model file, gives it. Any bytes are restored exactly, on any machine: characters
    that the model does not know are stored unchanged, and a file that it cannot make smaller grows
    by at most 58 bytes. Keep the model: decompress needs the same one. FILE can be up to 1 GiB; -
    reads it from stdin.

    The JSON object has original_bytes, compressed_bytes, chars, bits_per_char, bits_per_byte,
    model_bytes (the code length by the model's probabilities alone), escaped_bytes (those that the
    model does not know), is_stored (FILE was stored uncompressed) and seconds.
    """
    # What is wrong with the target is found before the work, not after it.
    target = _choose_target(out, file, None if file == "-" else file + _SUFFIX, as_json)
    original, _ = _read(file)
    opened = with_labels(read_model(find_model(model, Path(checkpoints))), labels)
    start_seconds = time.perf_counter()
    with progress_bar("compressing") as show:
        packed = codec.compress(original, opened, show)
    seconds = time.perf_counter() - start_seconds
    _write_bytes(target, packed.data)
    size = len(packed.data)
    model_bytes = packed.model_bits / 8
    if as_json:
        names = ("original_bytes", "chars", "bits_per_char", "bits_per_byte", "escaped_bytes")
        figures = {name: getattr(packed, name) for name in (*names, "is_stored")}
        figures |= {"compressed_bytes": size, "model_bytes": model_bytes, "seconds": seconds}
        click.echo(json.dumps(figures))
        return
    # An empty file has no share and no bits per character.
    share = f" ({size / packed.original_bytes:.1%})" if original else ""
    sizes = f"{packed.original_bytes:,} → {counted(size, 'byte')}{share}"
    print_note(f"{sizes}: {target or 'standard output'}")
    if not original:
        return
    print_note(
        f"{packed.bits_per_char:.3f} bits per character, {packed.bits_per_byte:.3f} per byte; "
        f"{packed.chars / max(seconds, 1e-9):,.0f} characters/s"  # a clock may stand still
    )
    if packed.is_stored:
        print_note("stored uncompressed: the model does not make it smaller")
    else:
        unknown = f"; {counted(packed.escaped_bytes, 'byte')} unknown to it, stored unchanged"
        more = unknown if packed.escaped_bytes else ""
        print_note(f"the model's own code length: {model_bytes:,.0f} bytes{more}")


@click.command("decompress", cls=Command, examples=_DECOMPRESS_EXAMPLES)
@_model_argument
@_file_argument
@_out_option(show_default=f"FILE without {_SUFFIX}; stdout if FILE is -")
@_label_option
@_json_option
@checkpoints_option
def decompress(
    model: str,
    file: str,
    out: str | None,
    labels: tuple[str, ...],
    as_json: bool,
    checkpoints: str,
) -> None:
    """Restore a compressed file.

    MODEL must be the model that compressed FILE, with the same labels; - reads FILE from stdin. If
    the checksum does not match, nothing is written.

    The JSON object has compressed_bytes, original_bytes and seconds.
    """
    if out is None and file != "-" and not file.endswith(_SUFFIX):
        raise ConfigError(f"{file} does not end in {_SUFFIX}; name the file to write with -o")
    usual = None if file == "-" else file.removesuffix(_SUFFIX)
    target = _choose_target(out, file, usual, as_json)
    data, name = _read(file)
    path = find_model(model, Path(checkpoints))
    opened = with_labels(read_model(path), labels)
    start_seconds = time.perf_counter()
    with progress_bar("decompressing") as show:
        original = codec.decompress(data, opened, name, str(path), show)
    seconds = time.perf_counter() - start_seconds
    _write_bytes(target, original)
    sizes = {"compressed_bytes": len(data), "original_bytes": len(original)}
    if as_json:
        click.echo(json.dumps(sizes | {"seconds": seconds}))
        return
    print_note(
        f"{len(data):,} → {counted(len(original), 'byte')}, checksum right: "
        f"{target or 'standard output'}; "
        f"{len(original) / max(seconds, 1e-9):,.0f} bytes/s"
    )


def _choose_target(out: str | None, file: str, usual: str | None, as_json: bool) -> str | None:
    """Return the file to write, None for stdout; refuse one that would be lost, and a folder."""
    target = usual if out is None else out
    if target is None or target == "-":
        if as_json:
            raise ConfigError("--json and the bytes both go to stdout; name a file with -o")
        if sys.stdout.isatty():
            raise ConfigError("a terminal cannot show these bytes; name a file with -o")
        return None
    path = Path(target)
    if path.exists() and out is None:  # only a file that was named may be replaced
        raise ConfigError(f"{target} already exists; replace it with -o {target}")
    refuse_target(target, read=[file])
    return target


def _read(file: str) -> tuple[bytes, str]:
    """Return the bytes of a file, and what messages call it."""
    name = "standard input" if file == "-" else file
    return read_bytes(file, name, _MAX_FILE_BYTES, CorpusError), name


def _write_bytes(target: str | None, data: bytes) -> None:
    """Write to a file, whole or not at all, or to stdout."""
    if target is None:
        click.echo(data, nl=False)  # bytes, as they are
    else:
        write_atomically(Path(target), data)  # a full disk leaves what was there

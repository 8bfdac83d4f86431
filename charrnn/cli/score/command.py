"""charrnn score: how surprised a model is by a text, character by character."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from charrnn.cli.inputs import checkpoints_option, complete_run
from charrnn.cli.options import Command
from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.metrics import without_nan

if TYPE_CHECKING:
    from charrnn.generation.scoring import Line
    from charrnn.tasks.score import ScoredText
    from charrnn.text.files import Source

_EXAMPLES = """
charrnn score letter.txt                        by the newest run's best model
charrnn score book letter.txt --map             each character on the colour of what it costs
charrnn score book letter.txt --lines --sort    the oddest lines first
charrnn score book - --html map.html < letter.txt
charrnn score letter.txt --json | jq 'select(.kind == "line" and .bpc > 5).line'
"""

_JSON_DECIMALS = 4
_Kept = TypeVar("_Kept")


@click.command("score", cls=Command, examples=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[MODEL] [FILE]", shell_complete=complete_run)
@click.option("--lines", is_flag=True, help="one row a line: its number, bits per character, text")
@click.option("--sort", is_flag=True, help="the costliest lines first, with --lines or --json")
@click.option("--map", "as_map", is_flag=True, help="the text, coloured by what a character costs")
@click.option("--html", "page", type=click.Path(), help="write the map to this file, as a page")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line, then the whole's")
@click.option("--encoding", default=TextConfig().encoding, show_default=True, help="of FILE")
@checkpoints_option
def command(
    names: tuple[str, ...],
    lines: bool,
    sort: bool,
    as_map: bool,
    page: str | None,
    as_json: bool,
    encoding: str,
    checkpoints: str,
) -> None:
    """Show how surprised MODEL is by each character of FILE, in bits.

    FILE is a file, a folder, a glob, or - for stdin, as where it is left out; one name alone is
    FILE. A character costs −log₂ of the probability that MODEL gave it, the state carried from the
    first to the last; one that is written as bytes costs the sum of theirs. The first costs what
    it would after a newline, and the whole's bits per character leave it out, as those of eval do.

    With --json a line's object has kind "line", line (from 1), bpc, characters and, one for each,
    bits. The last has kind "whole", model, text, chars, bits, bpc, perplexity, chars_per_second.
    """
    from charrnn.checkpoint.run_store import find_model
    from charrnn.tasks.score import ScoredText

    view = _only_view({"--lines": lines, "--map": as_map, "--json": as_json, "--html": page})
    if sort and view not in ("--lines", "--json"):
        raise ConfigError("--sort orders lines; give --lines or --json with it, or leave it out")
    if page is not None and not Path(page).name:
        raise ConfigError(f"--html {page!r} names no file; give one such as map.html")
    with ExitStack() as stack:
        sources = _open_text(stack, names, Path(checkpoints))
        path = find_model(names[0] if len(names) > 1 else None, Path(checkpoints))
        reading = ScoredText(path, sources, encoding)
        if page is not None:
            _write_page(Path(page), reading)
        elif view is None:
            _collect(reading, _pass_by)
        else:
            _SHOW[view](_collect(reading, _costliest_first) if sort else reading.lines())
    if as_json:
        _write_json({"kind": "whole"} | without_nan(reading.figures()))
    else:
        _show_figures(reading, is_below_text=lines or as_map)


def _only_view(given: dict[str, object]) -> str | None:
    """Give the one way of showing that was asked for, if any.

    Raises:
        ConfigError: there are two.
    """
    views = [name for name, value in given.items() if value not in (False, None)]
    if len(views) > 1:
        raise ConfigError(f"{views[0]} and {views[1]} both say what to show; keep one")
    return views[0] if views else None


def _open_text(stack: ExitStack, names: Sequence[str], checkpoints: Path) -> list[Source]:
    """Give the files of the text that is named last, until the stack is closed.

    Raises:
        ConfigError: there are too many names, or none of a text.
        CorpusError: there is no such text.
    """
    from charrnn.text.files import open_sources

    if len(names) > 2:
        raise ConfigError(f"{len(names)} names were given; give a model and a text, or a text")
    if not names and sys.stdin is not None and sys.stdin.isatty():
        raise ConfigError("no text was given; name a file, or give - to type one and end by Ctrl-D")
    try:
        return stack.enter_context(open_sources(names[-1:] or ["-"]))
    except CorpusError as error:
        if len(names) == 1 and names[0] in _run_names(checkpoints):
            raise ConfigError(
                f"{names[0]} is a run, and no text has its name; name a text after it, "
                "or give - for standard input"
            ) from error
        raise


def _run_names(checkpoints: Path) -> set[str]:
    return {path.parent.name for path in checkpoints.glob("*/*.safetensors")}


def _collect(reading: ScoredText, collect: Callable[[Iterable[Line]], _Kept]) -> _Kept:
    """Give what `collect` makes of all lines; a bar on stderr shows how far it is."""
    from charrnn.cli.console import show_scoring

    with show_scoring() as show:
        return collect(reading.lines(lambda chars: show("carried", chars, reading.chars)))


def _pass_by(lines: Iterable[Line]) -> None:
    deque(lines, maxlen=0)


def _costliest_first(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.bpc, reverse=True)


def _write_page(path: Path, reading: ScoredText) -> None:
    from charrnn.cli.score.html import format_line, make_page
    from charrnn.storage import write_atomically

    body = _collect(reading, lambda lines: [*map(format_line, lines)])
    write_atomically(path, make_page(reading.name, _rows(reading.figures()), body))


def _show_map(lines: Iterable[Line]) -> None:
    from charrnn.cli.score.view import show_map

    show_map(lines)


def _show_lines(lines: Iterable[Line]) -> None:
    from charrnn.cli.score.view import show_lines

    show_lines(lines)


def _write_lines(lines: Iterable[Line]) -> None:
    for line in lines:
        costs = {"characters": [*line.text], "bits": line.bits.round(_JSON_DECIMALS).tolist()}
        _write_json({"kind": "line", "line": line.number, "bpc": line.bpc} | costs)


_SHOW = {"--map": _show_map, "--lines": _show_lines, "--json": _write_lines}


def _write_json(record: dict[str, Any]) -> None:
    click.echo(json.dumps(record, allow_nan=False))


def _show_figures(reading: ScoredText, is_below_text: bool) -> None:
    from charrnn.cli.score.view import show_figures

    if is_below_text:
        click.echo()
    show_figures(_rows(reading.figures()))


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Give the figures of a whole text as names and values for a person."""
    return [
        ("model", figures["model"]),
        ("text", figures["text"]),
        ("bits per character", f"{figures['bpc']:.4f}"),
        ("perplexity", f"{figures['perplexity']:.4f}"),
        ("characters", f"{figures['chars']:,} after the first, which is given"),
        ("speed", f"{figures['chars_per_second']:,.0f} characters/s"),
    ]

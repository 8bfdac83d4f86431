"""charrnn score: how surprised a model is by each character of a text."""

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from charrnn.checkpoint.run_store import find_model
from charrnn.cli.console import print_note, print_values, progress_bar
from charrnn.cli.formatting import describe_unseen
from charrnn.cli.inputs import (
    checkpoints_option,
    complete_run,
    label_option,
    out_option,
    refuse_target,
    written_to,
)
from charrnn.cli.options import Command, errors_option, unknown_option
from charrnn.cli.score.html import make_page
from charrnn.cli.score.view import show_lines, show_map
from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.generation.scoring import Line
from charrnn.metrics import without_nan
from charrnn.storage import write_atomically
from charrnn.tasks.score import ScoredText
from charrnn.text.files import Source, open_sources
from charrnn.text.substitutions import describe_changes

_EXAMPLES = """
charrnn score letter.txt --map           each character coloured by its bits
charrnn score letter.txt --lines --sort  the most surprising lines first
charrnn score book letter.txt --json | jq 'select(.line and .bpc > 5).line'
"""
_GIVEN = {1: " after the first, which is given", 0: ", with an end of each record"}
_JSON_DECIMALS = 4  # of bits, which are computed in single precision


@click.command("score", cls=Command, examples=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[MODEL] [FILE]", shell_complete=complete_run)
@click.option("--text", help="score this text instead of FILE")
@click.option(
    "--lines", is_flag=True, help="show one row per line: number, bits per character, text"
)
@click.option(
    "--sort", is_flag=True, help="with --lines or --json: the most surprising lines first"
)
@click.option("--map", is_flag=True, help="show the text, each character coloured by its bits")
@click.option(
    "--html", type=click.Path(), help="write the coloured text to this file, as a web page"
)
@click.option(
    "--json", is_flag=True, help="one JSON object per line of text, then one for the whole text"
)
@click.option(
    "--encoding",
    default=TextConfig().encoding,
    show_default=True,
    help="text encoding of FILE, such as utf-8 or gb18030",
)
@errors_option
@unknown_option
@label_option("label of the text, of a model trained with labels: speaker=ROMEO; can be repeated")
@out_option
@checkpoints_option
def command(
    names: tuple[str, ...],
    text: str | None,
    sort: bool,
    encoding: str,
    errors: str | None,
    unknown: str,
    labels: tuple[str, ...],
    out: str | None,
    checkpoints: str,
    **views: Any,
) -> None:
    """Show how surprised a model is by each character.

    FILE is a file, a folder, a glob, or - for stdin, which is also read without FILE. MODEL is a
    run's name, a run's folder or a model file. A single argument is FILE, and the newest model is
    used; with --text it is MODEL.

    A character costs −log₂ p bits, where p is the probability that MODEL gives it. The state is
    carried through the whole text. A character encoded as bytes costs the sum of its bytes' bits.
    The first character is scored as if it followed a newline. Its line counts it; the whole text
    does not, as in eval.

    A model of records reads each line as one, or what its --document-end divides, or each file;
    blank ones are left out, and so are newlines around the others.
    Each starts from the initial state, no character is given, and the end of each costs bits too:
    those of its newline, or bits told apart.

    A character that MODEL never saw is marked and counted apart. Its cost is that of one new
    character after the N of the training text, divided among all of Unicode that the alphabet
    lacks: log₂((N + 1) · (1,112,064 − alphabet size)) bits. The text after it is scored as if the
    character were not there.

    With --json a line's object has kind "line", line (from 1), bpc, bits_per_byte (of UTF-8),
    characters, bits (one per character), unseen (the positions in characters that MODEL never saw)
    and, where a record ends without a newline, end_bits. The last has kind "whole", model (the name
    given, or that of the newest run), path (its file), texts, chars, utf8_bytes, bits, bpc,
    bits_per_byte, perplexity, unseen_chars, unseen_bits, bpc_with_unseen, ends and end_bits (of
    ends without a newline), mapped (what --unknown changed, and how often each) and
    chars_per_second.
    """
    # views: --lines, --map, --html and --json, of which one says what stdout shows
    chosen = [name for name, value in views.items() if value not in (False, None)]
    if len(chosen) > 1:
        raise ConfigError(f"--{chosen[0]} and --{chosen[1]} both say what to show; keep one")
    view = chosen[0] if chosen else None
    if sort and view not in ("lines", "json"):
        raise ConfigError("--sort orders lines; give --lines or --json with it, or leave it out")
    page = views["html"]
    if page is not None and not Path(page).name:
        raise ConfigError(f"--html {page!r} names no file; give one such as map.html")
    max_names = 1 if text is not None else 2  # the last of two is FILE
    if len(names) > max_names:
        raise ConfigError(f"got {len(names)} arguments; give a model and a text, or only a text")
    if out not in (None, "-"):
        refuse_target(str(out), read=names[-1:])
    with ExitStack() as stack, written_to(out):
        opened = _open_text(stack, names, Path(checkpoints)) if text is None else text
        name = names[0] if len(names) == max_names else None
        path = find_model(name, Path(checkpoints))
        scored = ScoredText(
            path, opened, encoding, unknown, errors or TextConfig().errors, name, labels
        )
        for note in scored.notes:
            print_note(note)
        if scored.changes:
            print_note(describe_changes(scored.changes))
        _show(scored, view, page, sort=sort)


def _show(scored: ScoredText, view: str | None, page: str | None, *, sort: bool) -> None:
    """Score a text and show its lines, or write them to a page, then the figures of the whole."""
    kept: list[Line] = []  # for the page
    if page is not None:
        kept = _collect(scored, list)
    elif view is None:
        _collect(scored, lambda lines: deque(lines, maxlen=0))  # for the figures alone
    else:
        # Lines are shown as they are scored, unless all must be known to sort them.
        lines = _collect(scored, list) if sort else scored.lines()
        _SHOW[view](sorted(lines, key=lambda line: -line.bpc) if sort else lines)
    figures = scored.figures()
    if view == "json":
        _write_json({"kind": "whole"} | without_nan(figures))
        return
    rows = [
        ("model", figures["path"]),
        ("text", scored.name),
        ("bits per character", f"{figures['bpc']:.4f}"),
        ("perplexity", f"{figures['perplexity']:.4f}"),
        ("characters", f"{figures['chars']:,}" + _GIVEN[scored.given]),
    ]
    if figures["ends"]:
        each = "" if figures["ends"] == 1 else f", {figures['end_bits'] / figures['ends']:.4f} each"
        ends = counted(figures["ends"], "end")
        rows.append(("ends", f"{ends} of records: {figures['end_bits']:.4f} bits{each}"))
    if scored.unseen_chars:
        unseen = describe_unseen(scored.unseen_chars, [figures["unseen_bits"]])
        with_them = f"{figures['bpc_with_unseen']:.4f} bits per character with them"
        rows.append(("never seen", f"{unseen}; {with_them}"))
    if page is not None:
        write_atomically(Path(page), make_page(scored.name, rows, kept))
        print_note(f"wrote {page}")
    if view in ("lines", "map"):
        click.echo()  # apart from the text above
    print_values([*rows, ("speed", f"{figures['chars_per_second']:,.0f} characters/s")])


def _open_text(stack: ExitStack, names: Sequence[str], checkpoints: Path) -> list[Source]:
    """Return the files of the text that is named last, until the stack is closed."""
    if not names and sys.stdin is not None and sys.stdin.isatty():
        raise ConfigError("no text was given; name a file, or give - to type one and end by Ctrl-D")
    try:
        return stack.enter_context(open_sources(names[-1:] or ["-"]))
    except CorpusError as error:
        # The user may have named a run, and forgotten the text.
        runs = {path.parent.name for path in checkpoints.glob("*/*.safetensors")}
        if len(names) == 1 and names[0] in runs:
            raise ConfigError(
                f"{names[0]} is a run, and no text has its name; name a text after it, "
                "or give - for standard input"
            ) from error
        raise


def _collect(scored: ScoredText, collect: Callable[[Iterable[Line]], Any]) -> Any:
    """Return what `collect` makes of all lines; a bar on stderr shows how far it is."""
    read_chars = 0
    with progress_bar("scoring") as show:

        def watch(chars: int) -> None:
            nonlocal read_chars
            read_chars += chars
            show(read_chars, scored.chars)

        return collect(scored.lines(watch))


def _write_lines(lines: Iterable[Line]) -> None:
    for line in lines:
        costs: dict[str, Any] = {
            "characters": [*line.text],
            "bits": line.bits.round(_JSON_DECIMALS).tolist(),
        }
        costs["unseen"] = [*line.unseen]
        if line.end_bits is not None:
            costs["end_bits"] = round(line.end_bits, _JSON_DECIMALS)
        ratios = {"bpc": line.bpc, "bits_per_byte": line.bits_per_byte}
        _write_json({"kind": "line", "line": line.number} | ratios | costs)


_SHOW = {"map": show_map, "lines": show_lines, "json": _write_lines}


def _write_json(record: dict[str, Any]) -> None:
    click.echo(json.dumps(record, allow_nan=False))  # JSON has no NaN

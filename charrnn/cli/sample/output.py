"""Written texts on stdout: streamed, one after another, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from charrnn.cli.formatting import sanitize
from charrnn.config import SampleConfig
from charrnn.metrics import without_nan

if TYPE_CHECKING:
    from charrnn.analysis.copies import Copied
    from charrnn.generation.samples import Cost, Sample


_DECIMALS = 4

Write = Callable[[str], None]


def make_writer(raw: bool) -> Write:
    """Give a function that writes and flushes; on a terminal, control characters become visible.

    A terminal gets its own encoding: in another, UTF-8 has bytes that it may obey.
    """
    stdout = sys.stdout.buffer
    is_shown = sys.stdout.isatty() and not raw
    encoding = sys.stdout.encoding if is_shown else "utf-8"

    def write(text: str) -> None:
        shown = sanitize(text) if is_shown else text
        stdout.write(shown.encode(encoding, "replace"))
        stdout.flush()

    return write


def write_pieces(write: Write, prompt: str, pieces: Iterable[str]) -> str:
    """Stream one text after its prompt, and a newline where it does not end in one; give the text.

    The prompt is no part of what is given.
    """
    write(prompt)
    text = ""
    for piece in pieces:
        write(piece)
        text += piece
    write("" if (prompt + text).endswith("\n") else "\n")
    return text


def show_sample(sample: Sample, lead: str, copied: Copied | None, *, raw: bool) -> None:
    """Write a whole text after what leads up to it, with what is copied marked."""
    if copied is None:
        write_pieces(make_writer(raw), lead, [sample.text])
        return
    from charrnn.cli.sample.copies_view import show_copied, show_copied_summary

    show_copied(copied, lead, raw=raw)
    show_copied_summary(copied)


def sample_record(
    sample: Sample, config: SampleConfig, copied: Copied | None, has_logprobs: bool
) -> dict[str, Any]:
    """Give what JSON says of a text."""
    record: dict[str, Any] = {
        "index": sample.index,
        "text": sample.text,
        "stopped_by": sample.stopped_by,
        "bpc": round(sample.bpc, _DECIMALS),
        "temperature": config.temperature,
        "seed": config.seed,
    }
    if copied is not None:
        record["copied"] = copied.as_json()
    if has_logprobs:
        ways = zip(sample.text, sample.costs, strict=True)
        record["logprobs"] = [_cost_record(char, cost) for char, cost in ways]
    return without_nan(record)


def write_json(record: dict[str, Any]) -> None:
    """Write one line of JSON."""
    make_writer(raw=True)(json.dumps(record, allow_nan=False) + "\n")


def _cost_record(char: str, cost: Cost) -> dict[str, Any]:
    """Give ln p of a character, and of the likeliest in its place."""
    top = {name: _logprob(nats) for name, nats in cost.top}
    return {"char": char, "logprob": _logprob(cost.nats), "top": top}


def _logprob(nats: float) -> float:
    return round(-nats, _DECIMALS) + 0.0  # no −0

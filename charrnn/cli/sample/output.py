"""Samples on stdout: streamed, one after another, with their copies marked, or as JSON."""

from __future__ import annotations

import codecs
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.formatting import one_line, sanitize
from charrnn.cli.word_wrap import WordWrap
from charrnn.config import SampleConfig
from charrnn.errors import counted
from charrnn.metrics import without_nan
from charrnn.storage import to_bytes
from charrnn.tasks.open_models import OpenModels
from charrnn.tasks.sample import Prompt, SampleRequest, iter_prompts, stream_text
from charrnn.text.vocab import END_NAME

if TYPE_CHECKING:
    from charrnn.analysis.copies import CopyReport
    from charrnn.generation.samples import Sample
    from charrnn.generation.text_format import TextFormat
    from charrnn.text.vocab import Vocab

_DECIMALS = 4
_MAX_SHOWN = 100  # characters of the longest copy


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How samples are shown: the options of charrnn sample that change no text."""

    no_prompt: bool
    separator: str | None
    as_json: bool
    raw: bool
    mark_copies: bool
    min_copy: int
    logprobs: int | None


def write_samples(
    models: OpenModels, prompts: Sequence[Prompt], request: SampleRequest, options: OutputOptions
) -> str:
    """Write all samples to stdout; return the text of the last one, without its prompt."""
    first = prompts[0]
    has_beam = any(each.config.beam for each in prompts)
    form = models.generator.text_format
    # Bytes are written as they are, and no more; of lines each has its newline.
    is_ended = not models.generator.vocab.is_binary or form.has_lines
    # One text, with nothing to choose or to add to it, is shown while it is sampled.
    is_whole = len(prompts) > 1 or has_beam or options.as_json or options.mark_copies
    if request == SampleRequest() and not is_whole:
        lead = "" if options.no_prompt else first.text
        pieces = stream_text(models, first.text, first.config)
        return write_pieces(lead, pieces, raw=options.raw, ended=is_ended)
    # JSON has each text's bpc, for which costs must be known; a beam knows them anyway.
    if options.as_json and request.logprobs is None and not has_beam:
        request = replace(request, logprobs=0)
    own_text = models.own_text if options.mark_copies else None  # fails before the first sample
    text = ""
    number = 0
    for number, (prompt, sample) in enumerate(iter_prompts(models, prompts, request), 1):
        text = sample.text
        lead = "" if options.no_prompt else prompt.text
        separator = _separator(options, prompt.config, models.generator.vocab, form)
        copies = own_text.find_copies(text, options.min_copy) if own_text else None
        if options.as_json:
            record: dict[str, Any] = {} if options.no_prompt else {"prompt": prompt.text}
            record |= {"labels": list(models.labels)} if models.labels else {}
            record |= sample_record(sample, prompt.config, copies, options.logprobs is not None)
            write_pieces("", [json.dumps(record, allow_nan=False) + "\n"], raw=True)
        else:
            parted = (separator if number > 1 else "") + lead
            if copies is None:
                write_pieces(parted, [text], raw=options.raw, ended=is_ended)
            else:
                show_copies(copies, parted, raw=options.raw)
                click.echo(describe_copies(copies), err=True)
    asked = request.count * len(prompts)
    if number < asked:
        reasons = {"--unique": request.unique, "--skip-known-lines": request.skip_known_lines}
        reasons["--lines, which leaves out blank ones,"] = not has_beam
        reason = next((option for option, is_given in reasons.items() if is_given), "--beam")
        found = f"{number:,} of {counted(asked, 'text')}"
        click.echo(f"charrnn: found only {found}; {reason} leaves no more", err=True)
    return text


def _separator(options: OutputOptions, config: SampleConfig, vocab: Vocab, form: TextFormat) -> str:
    """Return the line between two samples: an empty one, or none of lines or bytes."""
    if options.separator is None:
        are_lines = form.has_lines and config.lines is None
        is_line = config.lines == 1 or (are_lines and config.documents in (None, 1))
        return "" if is_line or vocab.is_binary else "\n"
    return options.separator + "\n" * (options.separator[-1:] not in ("", "\n"))


def write_pieces(lead: str, pieces: Iterable[str], *, raw: bool, ended: bool = True) -> str:
    """Write a text as it comes, after `lead`; return it without `lead`.

    raw: write to a terminal as to a file; else lines are broken between words, and control
    characters become visible. ended: end the last line.
    """
    stdout = sys.stdout.buffer
    is_shown = sys.stdout.isatty() and not raw
    encoding = sys.stdout.encoding  # of a terminal, which may obey some bytes of another one
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # for bytes of a binary model
    wrap = WordWrap()

    def write(text: str, *, is_last: bool = False) -> None:
        data = to_bytes(text)
        if is_shown:
            width = shutil.get_terminal_size().columns  # at the moment
            shown = wrap.feed(sanitize(decode(data)), width)
            shown += wrap.end(width) if is_last else ""
            data = shown.encode(encoding, "replace")
        stdout.write(data)
        stdout.flush()

    write(lead)
    text = ""
    for piece in pieces:
        write(piece)
        text += piece
    write("\n" * (ended and not (lead + text).endswith("\n")), is_last=True)
    return text


def show_copies(copies: CopyReport, lead: str = "", *, raw: bool = False) -> None:
    """Write `lead` and the text to the end of its line, its copies marked by colour or brackets.

    raw: write control characters to a terminal unchanged.
    """
    # Imported here: rich takes long to load, and few texts need it.
    from rich.segment import Segment, Segments
    from rich.style import Style

    from charrnn.cli.console import make_stdout

    console = make_stdout()
    is_terminal = console.file.isatty()
    has_colours = console.color_system and not console.no_color
    mark = Style.parse("black on yellow") if has_colours else None
    # The text in parts that are copied or not, from left to right.
    segments = [Segment(lead)]
    done = 0
    for start, stop in copies.merged:
        copy = copies.text[start:stop]
        segments.append(Segment(copies.text[done:start]))
        segments.append(Segment(copy, mark) if mark else Segment(f"⟦{copy}⟧"))
        done = stop
    segments.append(Segment(copies.text[done:]))
    if not (lead + copies.text).endswith("\n"):
        segments.append(Segment("\n"))
    if is_terminal and not raw:
        segments = [Segment(sanitize(text), style) for text, style, _ in segments]
    # Segments, as a Text would lose its tabs; captured, as rich would encode it by the locale.
    with console.capture() as shown:
        console.print(Segments(segments), soft_wrap=True, end="")
    encoding = console.encoding if is_terminal else "utf-8"
    sys.stdout.buffer.write(shown.get().encode(encoding, "replace"))
    sys.stdout.buffer.flush()


def describe_copies(copies: CopyReport) -> str:
    """Return one line on how much of the text is copied, and on the longest copy."""
    if not copies.spans:
        run = counted(copies.least, "character")
        return f"nothing copied: no run of {run} is in the training text"
    more = "…" if len(copies.longest) > _MAX_SHOWN else ""
    file = one_line(copies.file or "the training text")
    return (
        f"copied: {copies.share:.1%} of {counted(len(copies.text), 'character')}, in "
        f"{counted(len(copies.spans), 'span')} of "
        f"{copies.least:,} or more; the longest ({len(copies.longest):,}) is from line "
        f"{copies.line:,} of {file}: “{one_line(copies.longest[:_MAX_SHOWN])}{more}”"
    )


def sample_record(
    sample: Sample, config: SampleConfig, copies: CopyReport | None, has_logprobs: bool
) -> dict[str, Any]:
    """Return what JSON holds of a text, without its prompt."""
    record: dict[str, Any] = {
        "index": sample.index,
        "text": readable(sample.text),
        "stopped_by": sample.stopped_by,
        "bpc": round(sample.bpc, _DECIMALS),
    }
    if not config.beam:  # a search uses neither
        record |= {"temperature": config.temperature, "seed": config.seed}
    if copies is not None:
        record["copied"] = copies.as_json()
    if has_logprobs:
        chars = [*sample.text, *[END_NAME] * sample.has_end]
        record["logprobs"] = [
            {
                "char": char,
                "logprob": _logprob(cost.nats),
                "top": {name: _logprob(nats) for name, nats in cost.top},
            }
            for char, cost in zip(chars, sample.costs, strict=True)
        ]
    return without_nan(record)


def readable(text: str) -> str:
    """Return the text of a model of bytes with characters, where its bytes are valid UTF-8."""
    return to_bytes(text).decode("utf-8", "surrogateescape")


def _logprob(nats: float) -> float:
    return round(-nats, _DECIMALS) + 0.0  # no −0

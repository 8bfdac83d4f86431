"""A text with what it copies marked, on stdout, and a line on stderr that sums it up.

Colours mark; where there are none, brackets do. Apart from `output.py`, as rich takes long to load.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from charrnn.analysis.copies import Copied
from charrnn.cli.console import Output, make_stdout
from charrnn.cli.formatting import one_line, sanitize

_MARK = Style.parse("black on yellow")
_OPEN, _CLOSE = "⟦", "⟧"
_LEAST_COLUMNS = 20
_MOST_SHOWN = 100  # characters of the longest span


def show_copied(copied: Copied, prompt: str = "", *, raw: bool = False) -> None:
    """Write `prompt` and the marked text, and a newline where they do not end in one.

    raw: write control characters as they are to a terminal too.
    """
    console = make_stdout(_LEAST_COLUMNS)
    has_colours = bool(console.color_system) and not console.no_color
    is_terminal = console.file.isatty()
    segments = [Segment(prompt), *_segments(copied, has_colours)]
    if not (prompt + copied.text).endswith("\n"):
        segments.append(Segment("\n"))
    if is_terminal and not raw:
        segments = [Segment(sanitize(text), style) for text, style, _ in segments]
    with console.capture() as shown:
        console.print(Segments(segments), soft_wrap=True, end="")  # a Text would lose its tabs
    encoding = console.encoding if is_terminal else "utf-8"
    sys.stdout.buffer.write(shown.get().encode(encoding, "replace"))
    sys.stdout.buffer.flush()


def show_copied_summary(copied: Copied) -> None:
    """Say on stderr how much is copied, and the longest span with its line in the corpus."""
    Output(stderr=True).print(Text(describe_copied(copied)), soft_wrap=True)


def describe_copied(copied: Copied) -> str:
    """Give one line on how much of the text is copied."""
    of_text = f"{len(copied.text):,} characters"
    if not copied.spans:
        return f"copied: none of {of_text}, in spans of {copied.least:,} or more"
    spans = "1 span" if len(copied.spans) == 1 else f"{len(copied.spans):,} spans"
    longest = one_line(copied.longest[:_MOST_SHOWN])
    more = "…" if len(copied.longest) > _MOST_SHOWN else ""
    return (
        f"copied: {copied.share:.1%} of {of_text}, in {spans} of {copied.least:,} or more; the "
        f"longest, {len(copied.longest):,}, begins in line {copied.line:,}: “{longest}{more}”"
    )


def _segments(copied: Copied, has_colours: bool) -> Iterator[Segment]:
    """Yield the text in parts that are marked or not."""
    done = 0
    for start, stop in copied.merged:
        yield Segment(copied.text[done:start])
        span = copied.text[start:stop]
        yield Segment(span, _MARK) if has_colours else Segment(f"{_OPEN}{span}{_CLOSE}")
        done = stop
    yield Segment(copied.text[done:])

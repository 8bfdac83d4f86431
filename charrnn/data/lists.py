"""Whether a text is a list: short lines of many kinds that are no sentences, code or talk.

A list is read as records, a line each, unless `lines` says otherwise, so the rule takes only what
is unmistakable. Each limit rests on files that people have: lists of names and words; poems, plays,
programs, tables of settings, markup and chats.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.files import Source
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import iter_blocks, iter_text, text_options

MIN_LIST_LINES = 50
MAX_BLANK_SHARE = 0.02
MAX_MEAN_CHARS = 40
MAX_LONG_SHARE = 0.05  # of lines with more than twice as many
MAX_PUNCTUATED_SHARE = 0.1
MAX_INDENTED_SHARE = 0.05  # as in programs; a number that stands to the right is not indented
MAX_MARKUP_SHARE = 0.2
MIN_TALK_SHARE = 0.8  # of lines that begin with a name and a colon,
MIN_TURNS = 5.0  # each name with so many, as in a chat
LOOK_CHARS = 1 << 20  # from the start of a text
LIST_NOTE = (
    "reads each line as a record, as the text is a list of short lines; --no-lines reads it as "
    "running text"
)
_LOOK_BLOCK = 1 << 16
_SENTENCE_ENDS = ".,;:!?…-—)]}'\"’”»。，、；：！？」』）"
_INDENTED = re.compile(r"(?:\t|\s\s+)[^\d\s]")
_SPEAKER = re.compile(r"[^:]{1,30}:\s")


def is_list(text: str) -> bool:
    r"""Return whether a text is a list of which each line can be read alone.

    >>> is_list("".join(f"name {number}\n" for number in range(99)))
    True
    """
    lines = text[:LOOK_CHARS].split("\n")[:-1]  # the last may be cut
    filled = [line for line in lines if line]
    if len(filled) < MIN_LIST_LINES or len(lines) - len(filled) > MAX_BLANK_SHARE * len(lines):
        return False
    sizes = list(map(len, lines))
    starts = Counter(found[0] for line in filled if (found := _SPEAKER.match(line)))
    is_talk = starts.total() > max(MIN_TALK_SHARE * len(filled), MIN_TURNS * len(starts))
    return (
        sum(sizes) <= MAX_MEAN_CHARS * len(lines)
        and sum(size > 2 * MAX_MEAN_CHARS for size in sizes) <= MAX_LONG_SHARE * len(lines)
        and _share(line[-1] in _SENTENCE_ENDS for line in filled) <= MAX_PUNCTUATED_SHARE
        and _share(_INDENTED.match(line) is not None for line in filled) <= MAX_INDENTED_SHARE
        and _share(line.lstrip().startswith("<") for line in filled) <= MAX_MARKUP_SHARE
        and not is_talk
        and len(set(filled)) >= MIN_LIST_LINES
    )


def choose_lines(config: TextConfig, head: str) -> tuple[TextConfig, tuple[str, ...]]:
    """Return the settings with `lines` chosen where they leave it open, and notes on that.

    head: the beginning of the text.

    Raises:
        ConfigError: the records of a running text would have labels.
    """
    is_open = config.record_kind is None and config.lines is None and config.unit != "byte"
    if is_open and is_list(head):
        return replace(config, lines=True), (LIST_NOTE,)
    if config.record_kind is None and config.label is not None:
        raise ConfigError(
            f"--label {config.label} labels records; say what a record is, by --lines, --files, "
            "--document-end or --text-column"
        )
    return config, ()


def read_head(sources: Sequence[Source], config: TextConfig) -> str:
    """Return the beginning of a text, as it is decoded; "" where what it is made of is known."""
    if config.record_kind is not None or config.lines is not None or config.unit == "byte":
        return ""
    held: list[str] = []
    chars = 0
    for source in sources:
        with suppress(CorpusError):  # which reading all of it will raise
            some = inspect_sources([replace(source, is_found=True)], config)
            for block in iter_blocks(iter_text(some, **text_options(config)), _LOOK_BLOCK):
                held.append(block)
                chars += len(block)
                if chars >= LOOK_CHARS:
                    return "".join(held)
        if held and not held[-1].endswith("\n"):
            held.append("\n")
    return "".join(held)


def _share(are: Iterable[bool]) -> float:
    """Return the share of what is true."""
    seen = list(are)
    return sum(seen) / len(seen)

"""Whether a text is a list: short lines of many kinds that are no sentences, code or talk.

A list is read as records, a line each, unless `lines` says otherwise, so the rule takes only what
is unmistakable. Each limit rests on files that people have: lists of names and words; poems, plays,
programs, tables of settings, markup and chats.
"""

import re
from collections import Counter
from collections.abc import Iterable

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


def _share(are: Iterable[bool]) -> float:
    """Return the share of what is true."""
    seen = list(are)
    return sum(seen) / len(seen)

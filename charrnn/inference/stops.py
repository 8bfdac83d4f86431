"""Where a text ends: after a length, a time, lines or sentences, before a text or a pattern.

Each rule takes endless characters and gives those before the end, as soon as they are sure to be
shown. It knows nothing of models.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

from charrnn.config import SampleConfig

_LATIN_MARKS = ".!?…"
_CHINESE_MARKS = "。！？｡"
_CLOSERS = "\"'”’»)]」』）】》"
LONGEST_MATCH = 200  # characters that are held back to look for a pattern

Rule = Callable[[Iterator[str]], Iterator[str]]


class Writing(Iterator[str]):
    """Text as it is drawn, in pieces of at least one character.

    reason: why it ended: length, seconds, lines, sentences, stop or stop-regex; None before that.
    """

    def __init__(self, chars: Iterator[str], config: SampleConfig) -> None:
        self.reason: str | None = None
        self._pieces = chars
        for reason, rule in _iter_rules(config):
            self._pieces = self._note(rule(self._pieces), reason)

    def __next__(self) -> str:
        return next(self._pieces)

    def _note(self, pieces: Iterator[str], reason: str) -> Iterator[str]:
        """Note the reason once `pieces` end, unless those that they are made from ended before."""
        yield from pieces
        self.reason = self.reason or reason


def _iter_rules(config: SampleConfig) -> Iterator[tuple[str, Rule]]:
    """Yield the rules that `config` asks for, and how each is called; the first reads the model."""
    length, seconds, lines, sentences = (
        config.length,
        config.seconds,
        config.lines,
        config.sentences,
    )
    yield "length", lambda chars: up_to_length(chars, length)
    if seconds is not None:
        yield "seconds", lambda chars: up_to_seconds(chars, seconds)
    if lines is not None:
        yield "lines", lambda chars: up_to_lines(chars, lines)
    if sentences is not None:
        yield "sentences", lambda chars: up_to_sentences(chars, sentences)
    if config.stop:
        yield "stop", lambda chars: until_text(chars, config.stop)
    if config.stop_regex is not None:
        pattern = re.compile(config.stop_regex)
        yield "stop-regex", lambda pieces: until_match(pieces, pattern)


def up_to_length(chars: Iterator[str], length: int) -> Iterator[str]:
    """Give the first `length` characters."""
    for _, char in zip(range(length), chars, strict=False):
        yield char


def up_to_seconds(
    chars: Iterator[str], seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[str]:
    """End with the first character that comes `seconds` or more after the first was asked for."""
    end = clock() + seconds
    for char in chars:
        yield char
        if clock() >= end:
            return


def up_to_lines(chars: Iterator[str], lines: int) -> Iterator[str]:
    """End before the newline of the last of so many lines."""
    for char in chars:
        lines -= char == "\n"
        if not lines:
            return
        yield char


def up_to_sentences(chars: Iterator[str], sentences: int) -> Iterator[str]:
    """End after so many sentences, each with its marks and the quotes and brackets that close it.

    A Latin mark ends a sentence where white space follows, a Chinese one in any case.
    """
    has_mark = is_sure = False
    for char in chars:
        if char in _LATIN_MARKS + _CHINESE_MARKS:
            has_mark, is_sure = True, is_sure or char in _CHINESE_MARKS
        elif not (has_mark and char in _CLOSERS):
            sentences -= is_sure or (has_mark and char.isspace())
            has_mark = is_sure = False
        if not sentences:
            return
        yield char


def until_text(chars: Iterator[str], stops: tuple[str, ...]) -> Iterator[str]:
    """End before the first stop text; what may be its beginning is held back until it is not."""
    held = ""
    for char in chars:
        held += char
        if any(held.endswith(stop) for stop in stops):
            kept = min((held.removesuffix(stop) for stop in stops if held.endswith(stop)), key=len)
            if kept:
                yield kept
            return
        starts = [i for i in range(len(held)) if any(s.startswith(held[i:]) for s in stops)]
        sure = starts[0] if starts else len(held)
        if sure:
            yield held[:sure]
        held = held[sure:]
    if held:
        yield held


def until_match(pieces: Iterator[str], pattern: re.Pattern[str]) -> Iterator[str]:
    """End before the first match, looked for after each character in the last LONGEST_MATCH.

    The pattern sees all of the text: its ^ is the beginning, and it may look behind.
    """
    text, shown = "", 0
    for char in (char for piece in pieces for char in piece):
        text += char
        match = pattern.search(text, shown)
        sure = match.start() if match else len(text) - LONGEST_MATCH
        if sure > shown:
            yield text[shown:sure]
            shown = sure
        if match:
            return
    if text[shown:]:
        yield text[shown:]

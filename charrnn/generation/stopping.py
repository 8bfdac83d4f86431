"""Where a text ends: after a length, a time, lines, sentences or documents, before a text or a
pattern.

Each rule takes the text character by character and gives what is sure to be shown; what may belong
to the end is held back until it is clear. It knows nothing of models.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from charrnn.config import SampleConfig

_LATIN_MARKS = ".!?…"
_CHINESE_MARKS = "。！？｡"
_CLOSERS = "\"'”’»)]」』）】》"
LONGEST_MATCH = 200  # characters that are held back to look for a pattern


class Rule(Protocol):
    """One reason for a text to end."""

    def feed(self, char: str) -> tuple[str, bool]:
        """Take the next character; give what is to be shown now, and whether the text ends here."""

    def flush(self) -> str:
        """Give what was held back, once the text has ended for another reason."""


class StoppingCriteria:
    """All the rules of one text, each of which sees what those before it let pass.

    reason: why the text ended: length, seconds, lines, sentences, documents, stop, stop-regex, or
    a guide's word; None before that.
    """

    def __init__(self, config: SampleConfig, document_end: str | None = None) -> None:
        self._left = config.length
        self._rules = list(_iter_rules(config, document_end))
        is_form = config.regex or config.template or config.choices  # complete within the length
        self._at_length = "match" if is_form else "length"
        self.reason: str | None = None if config.length else self._at_length

    @property
    def has_rules(self) -> bool:
        """Whether anything but the length may end the text."""
        return bool(self._rules)

    def feed(self, char: str) -> str:
        """Take the next character; give what is to be shown now. The text must not have ended."""
        self._left -= 1
        if not self._rules:
            shown = char
        else:
            shown, self.reason = self._pass(char, 0)
        if not self._left and self.reason is None:
            return shown + self.end(self._at_length)
        return shown

    def end(self, reason: str) -> str:
        """End the text; give what was held back."""
        self.reason = reason
        return self._flush(0)

    def _pass(self, text: str, depth: int) -> tuple[str, str | None]:
        """Let text pass through the rules from `depth` on; give what comes out, and who ends it."""
        if depth == len(self._rules):
            return text, None
        name, rule = self._rules[depth]
        shown = ""
        for char in text:
            sure, is_over = rule.feed(char)
            out, reason = self._pass(sure, depth + 1)
            shown += out
            if reason:
                return shown, reason
            if is_over:
                return shown + self._flush(depth + 1), name
        return shown, None

    def _flush(self, depth: int) -> str:
        """Let what the rules from `depth` on hold back pass through those after them."""
        if depth == len(self._rules):
            return ""
        shown, reason = self._pass(self._rules[depth][1].flush(), depth + 1)
        return shown if reason else shown + self._flush(depth + 1)


class TextStream(Iterator[str]):
    """Text as it is drawn, in pieces of at least one character.

    reason: why it ended, as an Ending says it; None before that.
    """

    def __init__(
        self, chars: Iterator[str], ending: StoppingCriteria, guide_reason: str = ""
    ) -> None:
        self._ending = ending
        self._pieces = self._iter_pieces(chars, guide_reason)

    @property
    def reason(self) -> str | None:
        """Why the text ended."""
        return self._ending.reason

    def __next__(self) -> str:
        return next(self._pieces)

    def _iter_pieces(self, chars: Iterator[str], guide_reason: str) -> Iterator[str]:
        ending = self._ending
        while ending.reason is None:
            char = next(chars, None)
            piece = ending.end(guide_reason) if char is None else ending.feed(char)
            if piece:
                yield piece


def _iter_rules(config: SampleConfig, document_end: str | None) -> Iterator[tuple[str, Rule]]:
    """Yield the rules that `config` asks for, and how each is called; the first reads the model."""
    if config.seconds is not None:
        yield "seconds", UpToSeconds(config.seconds)
    if config.lines is not None:
        yield "lines", UpToLines(config.lines)
    if config.sentences is not None:
        yield "sentences", UpToSentences(config.sentences)
    if config.documents is not None and document_end is not None:
        yield "documents", UntilText((document_end,), config.documents)
    if config.stop:
        yield "stop", UntilText(config.stop)
    if config.stop_regex is not None:
        yield "stop-regex", UntilMatch(re.compile(config.stop_regex))


class _Transparent:
    """A rule that holds nothing back."""

    def flush(self) -> str:
        """Give nothing."""
        return ""


class UpToSeconds(_Transparent):
    """End with the first character that comes `seconds` or more after the text was begun."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def feed(self, char: str) -> tuple[str, bool]:
        """Show it."""
        return char, self._clock() >= self._end


class UpToLines(_Transparent):
    """End before the newline of the last of so many lines."""

    def __init__(self, lines: int) -> None:
        self._left = lines

    def feed(self, char: str) -> tuple[str, bool]:
        """Show it, if it is not the last newline."""
        self._left -= char == "\n"
        return (char, False) if self._left else ("", True)


class UpToSentences(_Transparent):
    """End after so many sentences, each with its marks and the quotes and brackets that close it.

    A Latin mark ends a sentence where white space follows, a Chinese one in any case.
    """

    def __init__(self, sentences: int) -> None:
        self._left = sentences
        self._has_mark = self._is_sure = False

    def feed(self, char: str) -> tuple[str, bool]:
        """Show it, if it does not stand behind the last sentence."""
        if char in _LATIN_MARKS + _CHINESE_MARKS:
            self._has_mark, self._is_sure = True, self._is_sure or char in _CHINESE_MARKS
        elif not (self._has_mark and char in _CLOSERS):
            self._left -= self._is_sure or (self._has_mark and char.isspace())
            self._has_mark = self._is_sure = False
        return (char, False) if self._left else ("", True)


class UntilText:
    """End before a stop text that comes for the `count`th time; those before it are shown."""

    def __init__(self, stops: tuple[str, ...], count: int = 1) -> None:
        self._stops, self._left = stops, count
        self._held = ""

    def feed(self, char: str) -> tuple[str, bool]:
        """Hold back what may be a stop text's beginning."""
        self._held += char
        ends = [stop for stop in self._stops if self._held.endswith(stop)]
        self._left -= bool(ends)
        if ends and not self._left:
            return self._held.removesuffix(max(ends, key=len)), True
        return self._release("" if ends else self._beginning()), False

    def flush(self) -> str:
        """Give the beginning that was none."""
        return self._release("")

    def _beginning(self) -> str:
        """Give the longest end of what is held that a stop text may begin with."""
        ends = (self._held[i:] for i in range(len(self._held)))
        return next((end for end in ends if any(s.startswith(end) for s in self._stops)), "")

    def _release(self, kept: str) -> str:
        shown, self._held = self._held.removesuffix(kept), kept
        return shown


class UntilMatch:
    """End before the first match, looked for after each character in the last LONGEST_MATCH.

    The pattern sees all of the text: its ^ is the beginning, and it may look behind.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._text, self._shown = "", 0

    def feed(self, char: str) -> tuple[str, bool]:
        """Hold back what may be part of a match."""
        self._text += char
        match = self._pattern.search(self._text, self._shown)
        return self._show(match.start() if match else len(self._text) - LONGEST_MATCH), bool(match)

    def flush(self) -> str:
        """Give what is part of none."""
        return self._show(len(self._text))

    def _show(self, end: int) -> str:
        end = max(end, self._shown)
        shown, self._shown = self._text[self._shown : end], end
        return shown

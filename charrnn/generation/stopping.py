"""Where a text ends: after a length, a time, lines, sentences or documents, before a text or match.

A model of records ends a text itself, by END, unless several records are asked for.

Each rule takes a text character by character and returns what is certain to be shown. It holds back
what may belong to a stop text until that is clear. `generator.py` asks one `StoppingCriteria` for
each text; a `TextStream` is the iterator that a user gets.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator

from charrnn.config import SampleConfig
from charrnn.text.vocab import END

LONGEST_MATCH = 200  # characters held back to look for a match of --stop-regex
_LATIN_MARKS = ".!?…"
_CHINESE_MARKS = "。！？｡"
_CLOSERS = "\"'”’»)]」』）】》"


class TextStream(Iterator[str]):
    """Text while it is sampled, in pieces of at least one character."""

    def __init__(
        self, chars: Iterator[str], criteria: StoppingCriteria, constraint_reason: str = ""
    ) -> None:
        self._chars = chars
        self._criteria = criteria
        self._constraint_reason = constraint_reason

    @property
    def reason(self) -> str | None:
        """Why the text ended, as `StoppingCriteria` names it; None before that."""
        return self._criteria.reason

    @property
    def is_at_end(self) -> bool:
        """Whether the end of a record ended the text."""
        return self._criteria.is_at_end

    def __str__(self) -> str:
        """Return the rest of the text, which is sampled now."""
        return "".join(self)

    def __next__(self) -> str:
        criteria = self._criteria
        while criteria.reason is None:
            char = next(self._chars, None)  # None: a constraint ended the text
            piece = criteria.end(self._constraint_reason) if char is None else criteria.feed(char)
            if piece:
                return piece
        raise StopIteration


class StoppingCriteria:
    """All rules of one text in a row: each sees what the rules before it let pass.

    reason: why the text ended: length, seconds, lines, sentences, documents, stop, stop-regex, end
    (of a record), or a constraint's reason; None before that. has_rules: whether anything but the
    length may end it. separator: what is shown between two records; None for running text.

    >>> criteria = StoppingCriteria(SampleConfig(stop=("END",)))
    >>> [criteria.feed(char) for char in "aEbEND"], criteria.reason
    (['a', '', 'Eb', '', '', ''], 'stop')
    """

    def __init__(
        self,
        config: SampleConfig,
        document_end: str | None = None,
        finish_from: int | None = None,
        separator: str | None = None,
    ) -> None:
        self.separator = separator
        self._left = config.length
        self._rules = list(_iter_rules(config, document_end, separator))
        if finish_from is not None:
            self._rules.append(("length", UpToFinish(finish_from)))
        ends = [rule for _, rule in self._rules if isinstance(rule, UntilEnd)]
        self._until_end = ends[0] if ends else None
        self._stop_texts = next((r for name, r in self._rules if name == "stop"), None)
        self.has_rules = bool(self._rules)
        self._has_only_end = len(self._rules) == len(ends)
        has_form = config.regex or config.template or config.choices  # complete at the length
        self._at_length = "match" if has_form else "length"
        self.reason: str | None = None if config.length else self._at_length

    @property
    def is_at_end(self) -> bool:
        """Whether the end of a record ended the text."""
        return self._until_end is not None and self._until_end.is_over

    @property
    def stop(self) -> str | None:
        """The stop text that ended the text."""
        return self._stop_texts.found if isinstance(self._stop_texts, UntilText) else None

    def feed(self, char: str) -> str:
        """Take the next character of a text that has not ended; return what can be shown now."""
        self._left -= 1
        shown = char
        # Most texts have no rule, or only one for END: no call for each character.
        if self._rules and (char == END or not self._has_only_end):
            shown, self.reason = self._pass(char, None)
        if not self._left and self.reason is None:
            return shown + self.end(self._at_length)
        return shown

    def end(self, reason: str) -> str:
        """End the text; return what was held back."""
        shown, self.reason = self._pass("", reason)
        return shown

    def _pass(self, text: str, reason: str | None) -> tuple[str, str | None]:
        """Pass text through all rules; return what comes out, and why the text ends, if it does."""
        for name, rule in self._rules:
            passed = ""
            is_over = False
            for char in text:
                shown, is_over = rule.feed(char)
                passed += shown
                if is_over:
                    reason = name  # it cuts what the rules before it let pass
                    break
            if reason is not None and not is_over:
                passed += rule.flush()  # nothing comes that could complete what is held back
            text = passed
        return text, reason


def _iter_rules(
    config: SampleConfig, document_end: str | None, separator: str | None
) -> Iterator[tuple[str, Rule]]:
    """Yield the active rules, each with its reason; the first sees every character."""
    has_records = separator is not None
    are_lines = separator == "\n"  # the records
    if separator is not None:
        asked = {"documents": config.documents, "lines": config.lines if are_lines else None}
        counts = [(name, count) for name, count in asked.items() if count is not None]
        reason, count = min(counts, key=lambda each: each[1], default=("end", 1))
        yield reason, UntilEnd(separator, count)
    if config.seconds is not None:
        yield "seconds", UpToSeconds(config.seconds)
    if config.lines is not None and not are_lines:
        yield "lines", UntilText(("\n",), config.lines)
    if config.sentences is not None:
        yield "sentences", UpToSentences(config.sentences)
    if config.documents is not None and document_end is not None and not has_records:
        yield "documents", UntilText((document_end,), config.documents)
    if config.stop:
        yield "stop", UntilText(config.stop)
    if config.stop_regex is not None:
        deadline = time.monotonic() + (math.inf if config.seconds is None else config.seconds)
        yield "stop-regex", UntilMatch(re.compile(config.stop_regex), deadline)


class Rule:
    """One reason for a text to end. This one lets every text pass."""

    def feed(self, char: str) -> tuple[str, bool]:
        """Take the next character; return what can be shown now, and whether the text ends here."""
        return char, False

    def flush(self) -> str:
        """Return what is held back, once the text has ended for another reason."""
        return ""


class UntilEnd(Rule):
    """End before the `count`th end of a record; for each before it the separator is shown."""

    def __init__(self, separator: str, count: int = 1) -> None:
        self._separator = separator
        self._left = count
        self.is_over = False

    def feed(self, char: str) -> tuple[str, bool]:
        if char != END:
            return char, False
        self._left -= 1
        self.is_over = not self._left
        return (self._separator, False) if self._left else ("", True)


class UpToSeconds(Rule):
    """End with the first character that comes `seconds` or more after the text was begun."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def feed(self, char: str) -> tuple[str, bool]:
        return char, self._clock() >= self._end


class UpToSentences(Rule):
    """End after a number of sentences, each with its marks, closing quotes and brackets.

    A Latin mark ends a sentence if white space follows, a Chinese one always.
    """

    def __init__(self, sentences: int) -> None:
        self._left = sentences
        self._has_mark = False  # a mark, and closers at most, were the last characters
        self._is_sure = False  # and a Chinese one is among them

    def feed(self, char: str) -> tuple[str, bool]:
        if char in _LATIN_MARKS + _CHINESE_MARKS:
            self._has_mark = True
            self._is_sure = self._is_sure or char in _CHINESE_MARKS
        elif not (self._has_mark and char in _CLOSERS):
            self._left -= self._is_sure or (self._has_mark and char.isspace())
            self._has_mark = self._is_sure = False
        return (char, False) if self._left else ("", True)


class UpToFinish(Rule):
    """End with the first sentence from `length` characters on, or from half as many more a word.

    A word ends before white space: in a script without blanks that is the end of a line.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._count = 0
        self._sentence = UpToSentences(1)

    def feed(self, char: str) -> tuple[str, bool]:
        over = self._count - self._length  # before this character, which tells that a sentence ends
        self._count += 1
        _, is_sentence = self._sentence.feed(char)
        if is_sentence:
            self._sentence = UpToSentences(1)
        if (is_sentence and over >= 0) or (over >= self._length // 2 and char.isspace()):
            return "", True
        return char, False


class UntilText(Rule):
    """End before the `count`th stop text; those before it are shown."""

    def __init__(self, stops: tuple[str, ...], count: int = 1) -> None:
        self._stops = stops
        self._left = count
        self._held = ""
        self.found: str | None = None  # the stop text that ended the text

    def feed(self, char: str) -> tuple[str, bool]:
        self._held += char  # the beginning of a stop text, perhaps
        found = [stop for stop in self._stops if self._held.endswith(stop)]
        self._left -= bool(found)
        if found and not self._left:
            self.found = max(found, key=len)
            return self._held.removesuffix(self.found), True
        if found:
            return self._release(""), False
        # The longest suffix that a stop text begins with stays.
        suffixes = (self._held[i:] for i in range(len(self._held)))
        starts = (each for each in suffixes if any(stop.startswith(each) for stop in self._stops))
        return self._release(next(starts, "")), False

    def flush(self) -> str:
        return self._release("")

    def _release(self, kept: str) -> str:
        """Show all that is held back but `kept`, its end."""
        shown = self._held.removesuffix(kept)
        self._held = kept
        return shown


class UntilMatch(Rule):
    """End before the first match, looked for after each character in the last LONGEST_MATCH.

    The pattern sees the whole text: its ^ is the beginning, and it may look behind.
    """

    def __init__(self, pattern: re.Pattern[str], deadline: float = math.inf) -> None:
        from charrnn.generation.pattern_search import make_search

        self._search = make_search(pattern, deadline)
        self._held = ""
        self._shown = 0  # characters

    def feed(self, char: str) -> tuple[str, bool]:
        self._held += char
        start = self._search.feed(char, self._shown)
        # All that is older can be in no match.
        end = len(self._held) - LONGEST_MATCH if start is None else start - self._shown
        return self._show(max(end, 0)), start is not None

    def flush(self) -> str:
        return self._show(len(self._held))

    def _show(self, count: int) -> str:
        shown = self._held[:count]
        self._held = self._held[count:]
        self._shown += count
        return shown

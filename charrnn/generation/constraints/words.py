"""Words that a text must have, and words that it must not: `--must` and `--ban-word`.

A word counts where no letter, mark, digit or underscore stands right before or after it; in a
script without blanks, such as Chinese, wherever its characters stand. Both lists are read by
automata whose states are the end of the text that begins a word (Aho and Corasick 1975). Their
product with the set of words that the text has so far is explored once, and for every n it is known
which states can end well after n more characters. So no text comes to a dead end, and in all else
the model samples with its own probabilities. `generator.py` makes a `WordsConstraint`.

V = vocabulary, S = tokens of the prompt, N = states, C = classes of characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.constraints.automaton import byte_ids
from charrnn.generation.constraints.constraint import AllowedTokens, decode_token
from charrnn.generation.logit_bias import check_writable
from charrnn.text.vocab import Ids, Vocab

# Two characters that no text has: one for all that no word holds and that is no part of a word,
# which at the front of a prefix means the edge of a word; and one for all parts of words.
_EDGE = "\ud800"
_PART = "\udfff"
_WITHOUT_BLANKS = (
    *("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO", "IDEOGRAPHIC", "YI "),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
)
_MOST_STEPS = 300_000  # from one state to another, for one beginning
_MOST_CHECKED = 10_000  # numbers of characters left that may differ in what can end well
_KEPT_MASK_BYTES = 64 << 20
_CHECKED_CODES = 256  # code points with the same first bytes that are looked at


@lru_cache(1 << 16)
def is_spaced_part(char: str) -> bool:
    """Return whether a character is a part of words that blanks or marks divide.

    >>> [is_spaced_part(char) for char in "a5_ '月"]
    [True, True, True, False, False, False]
    """
    is_part = unicodedata.category(char)[0] in "LMN" or char in ("_", _PART)
    return is_part and not unicodedata.name(char, "").startswith(_WITHOUT_BLANKS)


class WordFinder:
    """An automaton that finds words; a state is the longest end of a text that begins a word."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        fronts = [_EDGE * is_spaced_part(word[0]) + word for word in words]
        self._prefixes = {front[:end] for front in fronts for end in range(len(front) + 1)} | {""}
        self._needs_end = frozenset(i for i, word in enumerate(words) if is_spaced_part(word[-1]))
        self.advance = lru_cache(None)(self._advance)
        self.found = lru_cache(None)(self._found)

    def _advance(self, state: str, char: str) -> str:
        """Return the state after one more character."""
        text = state + char
        for start in range(len(text)):
            if text[start:] in self._prefixes:
                return text[start:]
            at_edge = _EDGE + text[start + 1 :]  # what is no part of a word can be its edge
            if not is_spaced_part(text[start]) and at_edge in self._prefixes:
                return at_edge
        return ""

    def _found(self, state: str) -> tuple[frozenset[int], frozenset[int]]:
        """Return which words end here, and which do if the word ends here."""
        ends = frozenset(i for i, word in enumerate(self._words) if self._ends_with(state, word))
        return ends - self._needs_end, ends & self._needs_end

    def _ends_with(self, state: str, word: str) -> bool:
        before = state[: -len(word)][-1:]
        has_front = not is_spaced_part(word[0]) or (before and not is_spaced_part(before))
        return state.endswith(word) and bool(has_front)


class _Place(NamedTuple):
    """States of both finders, and which words the text has; is_fresh: it has not begun."""

    banned: str
    needed: str
    has: frozenset[int]
    is_fresh: bool


class _Table:
    """All that can follow one beginning: targets (N, C), −1 for a step that is forbidden."""

    def __init__(
        self,
        targets: NDArray[np.int64],
        is_final: NDArray[np.bool_],
        name: str,
        *,
        has_end: bool = False,
    ) -> None:
        """Find which states can end well; has_end: a text may end before its length too."""
        self.targets = targets
        self.is_final = is_final
        # Which states (N,) can end well after exactly n characters, n = 0, 1, … until it repeats;
        # with has_end, after n at most.
        self._can_end = [is_final]
        self._first_of: dict[bytes, int] = {}
        while (key := self._can_end[-1].tobytes()) not in self._first_of:
            if len(self._can_end) > _MOST_CHECKED:
                raise ConfigError(f"{name} interlock too much; ask for fewer words")
            self._first_of[key] = len(self._can_end) - 1
            can_end: NDArray[np.bool_] = self._can_end[-1][targets] & (targets >= 0)
            self._can_end.append(np.any(can_end, axis=1) | (is_final & has_end))
        self._repeats_from = self._first_of[key]

    def can_end(self, remaining: int) -> NDArray[np.bool_]:
        """Return which states (N,) can end well in so many characters."""
        return self._can_end[self.canonical(remaining)]

    def canonical(self, remaining: int) -> int:
        """Return the least number of characters left that allows the same."""
        last = len(self._can_end) - 1
        if remaining < last:
            return remaining
        return self._repeats_from + (remaining - last) % (last - self._repeats_from)

    def shortest(self) -> int | None:
        """Return the fewest characters that end well from the beginning."""
        return next((n for n, can_end in enumerate(self._can_end) if can_end[0]), None)


class WordsState(NamedTuple):
    """The row of a table, how many characters may still come, and bytes of an unfinished one."""

    table: _Table
    row: int
    remaining: int
    pending: bytes


class WordsConstraint:
    """A Constraint by whole words on a text of exactly `length` characters, or of a whole record.

    A word that stands in the prompt alone is neither needed nor forbidden there; a banned one may
    not be completed across the prompt's end, a needed one must stand in the text.
    """

    reason = "length"

    def __init__(
        self, vocab: Vocab, config: SampleConfig, is_allowed: AllowedTokens | None
    ) -> None:
        """Resolve the words. is_allowed: (V,), None for all ids.

        Raises:
            ConfigError: a word has a character that the model cannot write, or no text has them.
        """
        self._vocab = vocab
        self._length = config.length
        self._is_allowed = np.ones(vocab.size, np.bool_) if is_allowed is None else is_allowed
        self._banned = WordFinder(config.ban_word)
        self._needed = WordFinder(config.must)
        self._all = frozenset(range(len(config.must)))
        for option in ("must", "ban_word"):
            for word in getattr(config, option):
                check_writable(vocab, option, word)
        words = config.ban_word + config.must
        self._name = " and ".join(name for name in ("must", "ban_word") if getattr(config, name))
        self._longest = max(map(len, words))
        # One class for each character of the words, and two for all others.
        self._chars = [*dict.fromkeys("".join(words)), _EDGE, _PART]
        self._class_of_char = {char: i for i, char in enumerate(self._chars)}
        written = vocab.alphabet + "".join(map(chr, range(0x80 * vocab.has_bytes)))
        self._class_of = np.zeros(vocab.size, np.int64)
        self._class_of[: len(written)] = [self._find_class(char) for char in written]
        self._is_writable = self._find_writable(len(written))
        self._clusters = self._classify_clusters()
        self._table_of = lru_cache(64)(self._make_table)
        self._mask_of = lru_cache(max(1, _KEPT_MASK_BYTES // (4 * vocab.size)))(self._make_mask)
        self._completions = lru_cache(1024)(self._find_completions)
        self.initial_state(np.zeros(0, np.int64))  # a prompt makes it no easier

    def initial_state(self, prompt: Ids) -> WordsState:
        """Return the state after `prompt` (S,).

        Raises:
            ConfigError: no text of the length that follows it has the words.
        """
        end = self._vocab.decode(prompt[-4 * (self._longest + 2) :])
        is_whole = len(end) <= self._longest
        end = end[-self._longest - 1 :]
        banned = self._banned.advance("", _EDGE) if is_whole else ""
        for char in end:
            banned = self._banned.advance(banned, char)
        is_edge = not end or not is_spaced_part(end[-1])
        needed = self._needed.advance("", _EDGE if is_edge else _PART)
        table = self._table_of(_Place(banned, needed, frozenset(), True))
        if not table.can_end(self._length)[0]:
            shortest = table.shortest()
            if shortest is None or shortest <= self._length:
                raise ConfigError(
                    f"no text of {self._length:,} characters does what {self._name} asks for; "
                    "allow more characters, or ask for other words"
                )
            raise ConfigError(
                f"{self._name} needs at least {shortest:,} characters here, and length is "
                f"{self._length:,}; raise it"
            )
        return WordsState(table, 0, self._length, b"")

    def mask(self, state: WordsState) -> NDArray[np.float32] | None:
        """Return −inf for each id after which the text could not end well (V,); None for none."""
        table, row, remaining, pending = state
        # Bytes that are no character count as several: as many as can come must be left.
        spare = len(pending) + 2
        kept = remaining if remaining < spare else spare + table.canonical(remaining - spare)
        return self._mask_of(table, row, kept, pending)

    def advance(self, token: int, state: WordsState) -> WordsState | None:
        """Return the state after one more id; None where it is forbidden."""
        text, pending = decode_token(self._vocab, state.pending, token)
        if token == self._vocab.end:
            return self._end_record(self._walk(state, text[:-1]))
        return self._walk(state._replace(pending=pending), text)

    def is_finished(self, state: WordsState) -> bool:
        return not state.remaining

    def _end_record(self, state: WordsState | None) -> WordsState | None:
        """Return the state at the start of the next record; None where the text may not end."""
        if state is None or not state.table.is_final[state.row] or not state.remaining:
            return None
        fresh = self._table_of(_Place(*self._before_text(), frozenset(), True))
        return WordsState(fresh, 0, state.remaining - 1, b"")

    def _before_text(self) -> tuple[str, str]:
        """Return the states of both finders where nothing stands before a text."""
        return self._banned.advance("", _EDGE), self._needed.advance("", _EDGE)

    def _walk(self, state: WordsState, text: str) -> WordsState | None:
        """Return the state after the characters of a text, or as many of them as may come."""
        table, row, remaining, pending = state
        for char in text[:remaining]:
            row = int(table.targets[row, self._find_class(char)])
            remaining -= 1
            if row < 0 or not table.can_end(remaining)[row]:
                return None
        return WordsState(table, row, remaining, pending)

    def _make_mask(
        self, table: _Table, row: int, remaining: int, pending: bytes
    ) -> NDArray[np.float32] | None:
        is_open = np.zeros(self._vocab.size, np.bool_)
        state = WordsState(table, row, remaining, pending)
        # A character ends the bytes before it, which become U+FFFD.
        after = self._walk(state, pending.decode("utf-8", "replace"))
        if after is not None:
            is_open = self._open_classes(after)[self._class_of]
            for cluster, tokens in self._clusters.values():
                is_open[tokens] = self._walk(after, cluster) is not None
        first_byte = len(self._vocab.alphabet)
        last_byte = first_byte + 0xFF
        for token in range(first_byte + 0x80, last_byte + 1) if self._vocab.has_bytes else ():
            after = self.advance(token, state)
            is_open[token] = after is not None and (
                not after.pending
                or bool(self._open_classes(after)[self._completions(after.pending)].any())
            )
        if self._vocab.has_end:
            is_open[self._vocab.end] = self.advance(self._vocab.end, state) is not None
        if (is_open | ~self._is_allowed).all():
            return None
        mask = np.where(is_open, np.float32(0), np.float32(-np.inf))
        mask.setflags(write=False)  # one array for all texts
        return mask

    def _open_classes(self, state: WordsState) -> NDArray[np.bool_]:
        """Return which classes (C,) of characters may come next."""
        if not state.remaining:  # the text has ended: what comes is not read
            return np.ones(len(self._chars), np.bool_)
        targets = state.table.targets[state.row]
        is_open: NDArray[np.bool_] = state.table.can_end(state.remaining - 1)[targets]
        is_open &= targets >= 0
        return is_open

    def _find_class(self, char: str) -> int:
        found = self._class_of_char.get(char)
        return found if found is not None else len(self._chars) - 2 + is_spaced_part(char)

    def _find_writable(self, count: int) -> NDArray[np.bool_]:
        """Return which classes (C,) an allowed id of the first `count`, or bytes, can write."""
        is_writable = np.zeros(len(self._chars), np.bool_)
        is_writable[self._class_of[:count][self._is_allowed[:count]]] = True
        for i, char in enumerate(self._chars[:-2]):
            is_writable[i] |= bool(byte_ids(char, self._vocab, self._is_allowed))
        others = self._is_allowed[count : self._vocab.first_cluster]
        if others.any():  # bytes that write any other character
            is_writable[-2:] = True
        return is_writable

    def _classify_clusters(self) -> dict[tuple[int, ...], tuple[str, list[int]]]:
        """Return one of the clusters of the same classes, and the ids of all of them."""
        found: dict[tuple[int, ...], tuple[str, list[int]]] = {}
        for token, cluster in enumerate(self._vocab.clusters, self._vocab.first_cluster):
            classes = tuple(map(self._find_class, cluster))
            found.setdefault(classes, (cluster, []))[1].append(token)
        return found

    def _find_completions(self, pending: bytes) -> list[int]:
        """Return the classes of characters that begin with these bytes of UTF-8."""
        width = 2 + (pending[0] >= 0xE0) + (pending[0] >= 0xF0)
        rest = 6 * (width - len(pending))  # bits to come
        begins = pending[0] & 0x3F >> width - 1
        for byte in pending[1:]:
            begins = begins << 6 | byte & 0x3F
        first = max(begins << rest, (0x80, 0x800, 0x10000)[width - 2])
        codes = range(first, min(begins + 1 << rest, first + _CHECKED_CODES, 0x110000))
        chars = [*map(chr, codes), *self._chars[:-2]]
        found = {char for char in chars if char.encode("utf-8", "replace").startswith(pending)}
        return sorted(set(map(self._find_class, found)))

    def _make_table(self, start: _Place) -> _Table:
        """Explore all that can follow a beginning."""
        rows = {start: 0}
        places = [start]
        targets = []
        for place in places:  # the list grows
            after = [self._step(place, char) for char in self._chars]
            for target, is_writable in zip(after, self._is_writable, strict=True):
                if target is not None and is_writable and target not in rows:
                    rows[target] = len(places)
                    places.append(target)
            targets.append([-1 if target is None else rows.get(target, -1) for target in after])
            if len(places) * len(self._chars) > _MOST_STEPS:
                raise ConfigError(
                    f"{self._name} have too many words; ask for fewer or shorter ones"
                )
        array = np.where(self._is_writable, np.array(targets), -1)
        is_final = np.array(list(map(self._is_final, places)))
        return _Table(array, is_final, self._name, has_end=self._vocab.has_end)

    def _step(self, place: _Place, char: str) -> _Place | None:
        """Return the place after one more character; None where it completes a banned word."""
        is_edge = not is_spaced_part(char)
        has = place.has | self._needed.found(place.needed)[1] if is_edge else place.has
        if is_edge and not place.is_fresh and self._banned.found(place.banned)[1]:
            return None
        banned = self._banned.advance(place.banned, char)
        if self._banned.found(banned)[0]:
            return None
        needed = self._needed.advance(place.needed, char)
        has |= self._needed.found(needed)[0]
        return _Place(banned, "" if has == self._all else needed, has, False)

    def _is_final(self, place: _Place) -> bool:
        """Return whether a text may end here."""
        is_banned = self._banned.found(place.banned)[1] and not place.is_fresh
        return not is_banned and place.has | self._needed.found(place.needed)[1] == self._all

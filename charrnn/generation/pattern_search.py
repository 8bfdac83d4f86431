"""The first match of a pattern in a text that grows by one character at a time: `--stop-regex`.

`PatternAutomaton` makes each set of NFA nodes a state when it is first met, with the step that each
class of characters takes from it. A `PatternSearch` keeps one state for each position at which a
match may begin, so that a character costs one look-up for each of them, whatever the pattern. What
no automaton can follow is searched for by `re` at each character, within a time limit.
`stopping.py` calls `make_search`.
"""

from __future__ import annotations

import math
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NoReturn

from charrnn.errors import ConfigError
from charrnn.generation.constraints.automaton import PLAIN, kinds_of
from charrnn.generation.constraints.regex import END, NFA, NotRegularError, read_pattern

_MOST_NODES = 3000
_KEPT_NODES = 1_000_000  # in all states of a pattern
_MOST_SECONDS = 1.0  # that `re` may search at one character


def make_search(
    pattern: re.Pattern[str], deadline: float = math.inf
) -> PatternSearch | BacktrackingSearch:
    """Return a search in a new text. deadline: in the seconds of time.monotonic.

    Raises:
        ConfigError: the pattern is too large, or only the main thread could limit its time.
    """
    automaton = _make_automaton(pattern.pattern)
    if automaton is None:
        return BacktrackingSearch(pattern, deadline)
    return PatternSearch(automaton)


def check_regular(pattern: str) -> None:
    """Refuse a pattern of `stop_regex` that only the main thread can search for.

    Raises:
        ConfigError: no automaton can follow it, or it is too large.
    """
    if _make_automaton(pattern) is None:
        raise _unlimited(pattern)


def _unlimited(pattern: str) -> ConfigError:
    return ConfigError(
        f"stop_regex {pattern!r} has what no automaton can follow, and only the main thread can "
        "limit the time of that; write it without look-around, back-references and conditions"
    )


@lru_cache(maxsize=8)
def _make_automaton(pattern: str) -> PatternAutomaton | None:
    """Return the automaton of a pattern, one for all texts; None if there is none."""
    try:
        return PatternAutomaton(read_pattern(pattern, f"stop_regex {pattern!r}", _MOST_NODES))
    except NotRegularError:
        return None


class State:
    """A set of nodes after a kind of character, and its steps by class of the next character.

    steps: whether a match ends, and the state after it; None where no match can follow.
    """

    __slots__ = ("before", "nodes", "steps")

    def __init__(self, nodes: frozenset[int], before: str) -> None:
        self.nodes = nodes
        self.before = before
        self.steps: dict[int, tuple[bool, State | None]] = {}


class PatternAutomaton:
    """The states of a pattern, made when they are first met."""

    def __init__(self, nfa: NFA) -> None:
        self._nfa = nfa
        sets = {chars: i for i, chars in enumerate({c for reads in nfa.reads for c, _ in reads})}
        self._sets = list(sets)
        self._reads = [[(sets[chars], target) for chars, target in reads] for reads in nfa.reads]
        # A class of characters: the kinds that anchors tell apart, and the sets that hold it.
        self._classes: dict[tuple[tuple[str, ...], frozenset[int]], int] = {}
        self._states: dict[tuple[frozenset[int], str], State] = {}
        self._known_nodes = 0
        self.class_of = lru_cache(1 << 16)(self._find_class)
        self.begin = lru_cache(1 << 16)(self._begin)

    def step(self, state: State, char_class: int) -> tuple[bool, State | None]:
        """Return whether a match ends at or before a character, and the state after it."""
        known = state.steps.get(char_class)
        if known is None:
            known = state.steps[char_class] = self._make_step(state, char_class)
        return known

    def _begin(self, before: str) -> tuple[bool, State]:
        """Return whether nothing is a match after a character, "" at the start; and the state."""
        kind = self._kinds_of(before)[-1] if before else ""
        is_match = END in self._nfa.closure((self._nfa.start,), kind, "")
        return is_match, self._state({self._nfa.start}, kind)

    def _make_step(self, state: State, char_class: int) -> tuple[bool, State | None]:
        kinds, members = list(self._classes)[char_class]
        is_match = False
        targets: set[int] = set()
        for kind in kinds:  # a newline as the last one of a text, then as one that more follows
            passed = self._nfa.closure(state.nodes, state.before, kind)
            reads = (read for node in passed for read in self._reads[node])
            targets = {target for index, target in reads if index in members}
            ended = END in passed or END in self._nfa.closure(targets, kind, "")
            is_match = is_match or ended
        return is_match, self._state(targets, kinds[-1]) if targets else None

    def _state(self, nodes: set[int], before: str) -> State:
        """Return the one state of these nodes."""
        key = frozenset(nodes), before
        if key not in self._states:
            self._known_nodes += 1 + len(nodes)
            if self._known_nodes > _KEPT_NODES:  # what no text is at is then forgotten
                self._states = {}
                self._known_nodes = 0
                self.begin.cache_clear()
            self._states[key] = State(*key)
        return self._states[key]

    def _find_class(self, char: str) -> int:
        held = (
            chars.named.find(char) >= 0 or _matches(chars.matcher, char) for chars in self._sets
        )
        members = frozenset(i for i, is_held in enumerate(held) if is_held)
        return self._classes.setdefault((self._kinds_of(char), members), len(self._classes))

    def _kinds_of(self, char: str) -> tuple[str, ...]:
        return kinds_of(char) if self._nfa.has_guards else (PLAIN,)


class PatternSearch:
    """A search by an automaton in one text."""

    def __init__(self, automaton: PatternAutomaton) -> None:
        self._automaton = automaton
        self._length = 0
        self._live = [(0, automaton.begin("")[1])]  # positions, and the state of a match from there

    def feed(self, char: str, first: int) -> int | None:
        """Take the next character; return where the leftmost match begins, `first` or later."""
        char_class = self._automaton.class_of(char)
        live = []
        for position, state in self._live:
            if position >= first:
                is_match, after = self._automaton.step(state, char_class)
                if is_match:
                    return position
                if after is not None:
                    live.append((position, after))
        self._length += 1
        is_match, state = self._automaton.begin(char)
        live.append((self._length, state))
        self._live = live
        return self._length if is_match else None


class BacktrackingSearch:
    """A search by `re` in one text."""

    def __init__(self, pattern: re.Pattern[str], deadline: float) -> None:
        self._pattern = pattern
        self._deadline = deadline
        self._text = ""
        if threading.current_thread() is not threading.main_thread():
            raise _unlimited(pattern.pattern)

    def feed(self, char: str, first: int) -> int | None:
        """Take the next character; return where the leftmost match begins, `first` or later.

        Raises:
            ConfigError: it takes too long.
        """
        self._text += char
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:  # the text ends anyway
            return None
        try:
            with time_limit(min(seconds_left, _MOST_SECONDS)):
                match = self._pattern.search(self._text, first)
        except TimeoutError:
            if seconds_left <= _MOST_SECONDS:
                return None
            raise ConfigError(
                f"stop_regex {self._pattern.pattern!r} takes more than {_MOST_SECONDS:g} second at "
                "one character; nest no + and * in one another, or write it without look-around "
                "and back-references"
            ) from None
        return match.start() if match else None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after so many seconds; `re` heeds signals while it searches."""

    def stop(*_: object) -> NoReturn:
        raise TimeoutError

    old_handler = signal.signal(signal.SIGALRM, stop)
    old_timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *old_timer)
        signal.signal(signal.SIGALRM, old_handler)


def _matches(matcher: re.Pattern[str] | None, char: str) -> bool:
    return matcher is not None and matcher.match(char) is not None

"""A pattern's machine → what may come next: over ids, with the distances to a full match.

First the skips are resolved: what is left are states, each with the classes of ids that lead on
from it, and the fewest characters to a full match from each. A text is then at a set of states,
which is looked up, or made when it is first met (Rabin and Scott, "Finite Automata and Their
Decision Problems", 1959; made lazily, no pattern has too many). It knows nothing of logits.

V = vocabulary.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.generation.constraints.regex import END, Chars, Machine, holds
from charrnn.text.vocab import Vocab

States = frozenset[int]
Edges = list[dict[int, set[int]]]
_Point = tuple[int, str, tuple[int, ...]]
"""A node, the kind of the character before it, and the classes that this character still takes."""

_MOST_EDGES = 500_000  # of a pattern
_KEPT_STATES = 1_000_000  # in the sets that were met
_KEPT_MASK_BYTES = 64 << 20


class Transitions(NamedTuple):
    """What may come after a text.

    is_complete: the text is a full match. ways: by class of ids, the fewest characters to a full
    match that way, its own counted, and where it leads. least, most: of those numbers.
    """

    is_complete: bool
    ways: dict[int, tuple[float, States]]
    least: float
    most: float


class Automaton:
    """What `machine` matches, over the ids that `is_left` (V,) leaves.

    class_of: the class of each id (V,). costs: the characters that each id adds, 0 or 1 (V,).

    Raises:
        ConfigError: the pattern is too large.
    """

    def __init__(self, machine: Machine, vocab: Vocab, is_left: AllowedTokens) -> None:
        sets = (chars for reads in machine.reads for chars, _ in reads)
        alphabet = make_alphabet(sets, vocab, is_left, machine.has_guards)
        self._edges, self._is_final = _resolve(machine, alphabet)
        self._distances = _distances(self._edges, self._is_final, alphabet.costs)
        self._class_costs, self._classes = alphabet.costs, alphabet.class_of
        self.class_of: list[int] = alphabet.class_of.tolist()
        self.costs: list[int] = [alphabet.costs[each] for each in self.class_of]
        self.start: States = frozenset([0])
        self._steps: dict[States, Transitions] = {}
        self._masks: dict[tuple[States, float], NDArray[np.float32]] = {}
        self._known_states = 0

    def look(self, states: States) -> Transitions:
        """Give what may come at `states`; made once."""
        step = self._steps.get(states)
        if step is None:
            step = self._make_step(states)
            self._known_states += 1 + sum(len(leads_to) for _, leads_to in step.ways.values())
            if self._known_states > _KEPT_STATES:
                self._steps, self._known_states = {}, 0
            self._steps[states] = step
        return step

    def mask(self, states: States, remaining: float) -> NDArray[np.float32]:
        """Give (V,): 0 for ids by which so many characters can reach a full match, else −inf."""
        step = self.look(states)
        key = states, min(remaining, step.most)
        mask = self._masks.get(key)
        if mask is None:
            is_open = np.zeros(len(self._class_costs), np.bool_)
            is_open[[each for each, (need, _) in step.ways.items() if need <= remaining]] = True
            mask = np.where(is_open[self._classes], np.float32(0), np.float32(-np.inf))
            mask.setflags(write=False)
            if (len(self._masks) + 1) * mask.nbytes > _KEPT_MASK_BYTES:
                self._masks = {}
            self._masks[key] = mask
        return mask

    def shortest(self) -> list[int] | None:
        """Give the ids of a shortest full match; None where there is none."""
        if self._distances[0] == math.inf:
            return None
        id_of, found, state = {each: i for i, each in enumerate(self.class_of)}, [], 0
        while not self._is_final[state]:
            state, taken = next(self._nearer(state))
            found.append(id_of[taken])
        return found

    def _nearer(self, state: int) -> Iterator[tuple[int, int]]:
        """Yield the states on a shortest way on, each with the class that leads there."""
        for taken, targets in self._edges[state].items():
            for target in targets:
                if self._distances[target] + self._class_costs[taken] == self._distances[state]:
                    yield target, taken

    def _make_step(self, states: States) -> Transitions:
        targets: dict[int, set[int]] = {}
        for state in states:
            for taken, found in self._edges[state].items():
                targets.setdefault(taken, set()).update(found)
        ways: dict[int, tuple[float, States]] = {}
        for taken, found in targets.items():
            alive = frozenset(each for each in found if self._distances[each] < math.inf)
            if alive:
                nearest = min(self._distances[each] for each in alive)
                ways[taken] = self._class_costs[taken] + nearest, alive
        needs = [need for need, _ in ways.values()]
        is_complete = any(self._is_final[state] for state in states)
        return Transitions(is_complete, ways, min(needs, default=math.inf), max(needs, default=0))


def _resolve(machine: Machine, alphabet: Alphabet) -> tuple[Edges, list[bool]]:
    """Give the edges of each state by class, and which states are final; state 0 is the start."""
    kinds = sorted({way.kind for ways in alphabet.ways.values() for way in ways})
    first: _Point = (machine.start, "", ())
    numbers, points = {first: 0}, [first]
    edges: Edges = []
    is_final, count = [], 0
    for point in points:
        ways: dict[int, set[int]] = {}
        for taken, target in _iter_ways(machine, alphabet, kinds, point):
            if target not in numbers:
                numbers[target] = len(points)
                points.append(target)
            ways.setdefault(taken, set()).add(numbers[target])
            count += 1
        edges.append(ways)
        node, before, rest = point
        is_final.append(not rest and END in _closure(machine, node, before, ""))
        if count > _MOST_EDGES:
            raise ConfigError(
                f"{machine.name} takes more than {_MOST_EDGES:,} steps; "
                "ask for less, or write * or + where it counts"
            )
    return edges, is_final


def _iter_ways(
    machine: Machine, alphabet: Alphabet, kinds: list[str], point: _Point
) -> Iterator[tuple[int, _Point]]:
    """Yield the classes that lead on from a point, each with the point that it leads to."""
    node, before, rest = point
    if rest:
        yield rest[0], (node, before, rest[1:])
    elif before != LAST_NEWLINE:
        for after in kinds:
            for each in _closure(machine, node, before, after):
                for chars, target in machine.reads[each]:
                    for kind, classes in alphabet.ways[chars]:
                        if kind == after:
                            yield classes[0], (target, after, classes[1:])


def _closure(machine: Machine, node: int, before: str, after: str) -> list[int]:
    """Give the nodes that skips lead to between two kinds of character; "" is the text's edge."""
    found, seen = [node], {node}
    for each in found:
        for guard, target in machine.skips[each]:
            if target not in seen and (guard is None or holds(guard, before[:1], after)):
                seen.add(target)
                found.append(target)
    return found


def _distances(edges: Edges, is_final: list[bool], costs: list[int]) -> list[float]:
    """Give the fewest characters from each state to a final one, searched from there backwards."""
    sources: list[list[tuple[int, int]]] = [[] for _ in edges]
    for state, ways in enumerate(edges):
        for taken, targets in ways.items():
            for target in targets:
                sources[target].append((state, costs[taken]))
    distances = [0 if each else math.inf for each in is_final]
    queue = deque(state for state, each in enumerate(is_final) if each)
    while queue:
        state = queue.popleft()
        for source, cost in sources[state]:
            if distances[state] + cost < distances[source]:
                distances[source] = distances[state] + cost
                queue.append(source) if cost else queue.appendleft(source)
    return distances


AllowedTokens = NDArray[np.bool_]
NO_CLASS = 0  # of the ids that no set holds

PLAIN = " "
LAST_NEWLINE, NEWLINE, WORD, ASCII_WORD = "\n", "\nx", "é", "a"
"""What an anchor can tell characters apart by, as a text that shows it from a place before it."""


class Spelling(NamedTuple):
    """One way to write a character of a set: its kind, and the class of each id that it takes."""

    kind: str
    classes: tuple[int, ...]


class Alphabet(NamedTuple):
    """class_of (V,): the class of each id. costs: for each class, the characters that it adds.

    ways: how each set of characters can be written.
    """

    class_of: NDArray[np.int64]
    costs: list[int]
    ways: dict[Chars, list[Spelling]]


def make_alphabet(
    sets: Iterable[Chars], vocab: Vocab, is_left: AllowedTokens, has_guards: bool
) -> Alphabet:
    """Sort the ids that `is_left` (V,) leaves into classes.

    has_guards: characters that anchors tell apart get classes of their own, too.
    """
    sets = list(dict.fromkeys(sets))
    left = {char: i for i, char in enumerate(vocab.alphabet) if is_left[i]}
    text = "".join(left)
    held_by: dict[str, list[int]] = {char: [] for char in left}
    for index, chars in enumerate(sets):
        for char in _members(chars, text, left):
            held_by[char].append(index)
    alphabet = Alphabet(np.zeros(vocab.size, np.int64), [0], {chars: [] for chars in sets})
    classes: dict[tuple[str, tuple[int, ...]], int] = {}
    for char, holders in held_by.items():
        if not holders:
            continue
        kinds = kinds_of(char) if has_guards else (PLAIN,)
        key = kinds[0], tuple(holders)
        if key not in classes:
            classes[key] = _add_class(alphabet, 1)
            for kind in kinds:
                for index in holders:
                    alphabet.ways[sets[index]].append(Spelling(kind, (classes[key],)))
        alphabet.class_of[left[char]] = classes[key]
    _add_bytes(alphabet, vocab, is_left, has_guards)
    return alphabet


@lru_cache(maxsize=4096)
def kinds_of(char: str) -> tuple[str, ...]:
    """Give what anchors can tell about a character; a newline may be the last character or not."""
    if char == "\n":
        return LAST_NEWLINE, NEWLINE
    if re.match(r"\w", char):
        return (ASCII_WORD if char.isascii() else WORD,)
    return (PLAIN,)


def byte_ids(char: str, vocab: Vocab, is_left: AllowedTokens) -> list[int]:
    """Give the ids of a character's UTF-8 bytes; none where it cannot be written so."""
    if not vocab.has_bytes or char in vocab.alphabet or "\ud800" <= char <= "\udfff":
        return []
    ids = [len(vocab.alphabet) + byte for byte in char.encode()]
    return ids if is_left[ids].all() else []


def _members(chars: Chars, text: str, left: dict[str, int]) -> Iterable[str]:
    """Give those characters of `text` that a set holds, each once."""
    if chars.matcher is None:
        return [char for char in chars.named if char in left]
    return [found[0] for found in chars.matcher.finditer(text)]


def _add_bytes(alphabet: Alphabet, vocab: Vocab, is_left: AllowedTokens, has_guards: bool) -> None:
    for chars, ways in alphabet.ways.items():
        for char in dict.fromkeys(chars.named):
            ids = byte_ids(char, vocab, is_left)
            for each in ids:
                if alphabet.class_of[each] == NO_CLASS:
                    cost = int(vocab.starts_character[each])
                    alphabet.class_of[each] = _add_class(alphabet, cost)
            if ids:
                classes = tuple(alphabet.class_of[ids].tolist())
                kinds = kinds_of(char) if has_guards else (PLAIN,)
                ways += [Spelling(kind, classes) for kind in kinds]


def _add_class(alphabet: Alphabet, cost: int) -> int:
    alphabet.costs.append(cost)
    return len(alphabet.costs) - 1

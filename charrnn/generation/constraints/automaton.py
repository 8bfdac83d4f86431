"""An NFA over characters → an automaton over ids that knows the distance to a full match.

First the ε-transitions are resolved: what is left are states, the classes of ids that lead on from
each, and the fewest characters from each to a full match. A text is at a set of states, which
becomes one state of a deterministic automaton when it is first met (Rabin & Scott 1959), so no
pattern makes too many. `pattern.py` makes a constraint of it.

V = vocabulary.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.generation.constraints.constraint import AllowedTokens
from charrnn.generation.constraints.regex import END, NFA, Chars
from charrnn.text.vocab import Vocab

States = frozenset[int]
Edges = list[dict[int, set[int]]]  # of each state, by class of ids, the states that it leads to
_Point = tuple[int, str, tuple[int, ...]]  # node, kind of the character before, its bytes to come

NO_CLASS = 0  # of the ids that no set of characters holds
PLAIN = " "  # kinds of characters that anchors tell apart, each a text that shows it from before
LAST_NEWLINE = "\n"
NEWLINE = "\nx"
WORD = "é"
ASCII_WORD = "a"

_MOST_STEPS = 500_000  # from a pattern to its edges: nodes that are passed, and edges
_KEPT_STATES = 1_000_000  # in the sets that were met
_KEPT_MASK_BYTES = 64 << 20


class Transitions(NamedTuple):
    """What can come after a text.

    is_complete: the text is a full match. targets: by class of ids, the fewest characters to a
    full match by such an id, its own counted, and the states after it. least, most: of those
    numbers.
    """

    is_complete: bool
    targets: dict[int, tuple[float, States]]
    least: float
    most: float


class Automaton:
    """What an NFA matches, over the allowed ids (V,).

    class_of: the class of each id (V,). costs: the characters that each id adds (V,): 0 or 1, or
    those of a cluster.

    Raises:
        ConfigError: the pattern is too large.
    """

    def __init__(self, nfa: NFA, vocab: Vocab, is_allowed: AllowedTokens) -> None:
        sets = (chars for reads in nfa.reads for chars, _ in reads)
        alphabet = make_alphabet(sets, vocab, is_allowed, nfa.has_guards)
        self._edges, self._is_final = _resolve(nfa, alphabet)
        self._distances = _distances(self._edges, self._is_final, alphabet.costs)
        self._spelled = _add_clusters(alphabet, vocab, is_allowed)
        self._class_costs = alphabet.costs
        self._classes = alphabet.class_of
        self.class_of: list[int] = alphabet.class_of.tolist()
        self.costs: list[int] = [alphabet.costs[each] for each in self.class_of]
        self.start: States = frozenset([0])
        self._transitions: dict[States, Transitions] = {}  # made when they are first needed
        self._known_states = 0  # in their keys and targets: what bounds the memory
        kept_masks = max(1, _KEPT_MASK_BYTES // (4 * vocab.size))
        self._mask_of = lru_cache(kept_masks)(self._make_mask)

    def transitions(self, states: States) -> Transitions:
        """Return what can come at `states`; made once."""
        known = self._transitions.get(states)
        if known is None:
            known = self._make_transitions(states)
            self._known_states += 1 + sum(len(target) for _, target in known.targets.values())
            if self._known_states > _KEPT_STATES:
                self._transitions = {}
                self._known_states = 0
            self._transitions[states] = known
        return known

    def mask(self, states: States, remaining: float) -> NDArray[np.float32]:
        """Return (V,): 0 for ids that lead to a full match in `remaining` characters, else −inf."""
        return self._mask_of(states, min(remaining, self.transitions(states).most))

    def _make_mask(self, states: States, remaining: float) -> NDArray[np.float32]:
        is_open = np.zeros(len(self._class_costs), np.bool_)
        targets = self.transitions(states).targets.items()
        is_open[[each for each, (need, _) in targets if need <= remaining]] = True
        mask = np.where(is_open[self._classes], np.float32(0), np.float32(-np.inf))
        mask.setflags(write=False)  # one array for all texts
        return mask

    def shortest(self) -> list[int] | None:
        """Return the ids of a shortest full match; None where there is none."""
        if self._distances[0] == math.inf:
            return None
        id_of = {each: token for token, each in enumerate(self.class_of)}
        found = []
        state = 0
        while not self._is_final[state]:
            state, taken = next(  # any edge that brings the match as much nearer as it costs
                (target, taken)
                for taken, targets in self._edges[state].items()
                for target in targets
                if self._distances[target] + self._class_costs[taken] == self._distances[state]
            )
            found.append(id_of[taken])
        return found

    def _make_transitions(self, states: States) -> Transitions:
        reached: dict[int, set[int]] = {}
        for state in states:
            for taken, targets in self._edges[state].items():
                reached.setdefault(taken, set()).update(targets)
        for taken, classes in self._spelled.items():
            if spelled := self._follow(states, classes):
                reached[taken] = spelled
        alive: dict[int, tuple[float, States]] = {}
        for taken, targets in reached.items():
            kept = frozenset(each for each in targets if self._distances[each] < math.inf)
            if kept:  # states from which there is no match are dropped
                nearest = min(self._distances[each] for each in kept)
                alive[taken] = self._class_costs[taken] + nearest, kept
        needs = [need for need, _ in alive.values()]
        is_complete = any(self._is_final[state] for state in states)
        return Transitions(is_complete, alive, min(needs, default=math.inf), max(needs, default=0))

    def _follow(self, states: States, classes: Iterable[int]) -> set[int]:
        """Return the states after an id of each class, one after the other."""
        found = set(states)
        for taken in classes:
            found = {each for state in found for each in self._edges[state].get(taken, ())}
        return found


def _resolve(nfa: NFA, alphabet: Alphabet) -> tuple[Edges, list[bool]]:
    """Return the edges of each state, and which states are final; state 0 is the start."""
    spellings = alphabet.spellings.values()
    kinds = sorted({spelling.kind for each in spellings for spelling in each})
    points: list[_Point] = [(nfa.start, "", ())]
    numbers = {points[0]: 0}
    edges: Edges = []
    is_final = []
    count = 0
    for point in points:  # the list grows by the points that are met
        targets: dict[int, set[int]] = {}
        found, work = _edges_of(nfa, alphabet, kinds, point)
        for taken, target in found:
            if target not in numbers:
                numbers[target] = len(points)
                points.append(target)
            targets.setdefault(taken, set()).add(numbers[target])
        count += work + len(found)
        edges.append(targets)
        node, before, rest = point
        is_final.append(not rest and END in nfa.closure((node,), before, ""))
        if count > _MOST_STEPS:
            raise ConfigError(
                f"{nfa.name} takes more than {_MOST_STEPS:,} steps; "
                "ask for less, or write * or + instead of a count"
            )
    return edges, is_final


def _edges_of(
    nfa: NFA, alphabet: Alphabet, kinds: list[str], point: _Point
) -> tuple[list[tuple[int, _Point]], int]:
    """Return the classes that lead on from a point, each with its target; and the work in nodes."""
    node, before, rest = point
    if rest:
        return [(rest[0], (node, before, rest[1:]))], 1  # the next byte of a character
    found = []
    work = 0
    for after in kinds if before != LAST_NEWLINE else ():
        passed = nfa.closure((node,), before, after)
        work += len(passed)
        for each in passed:
            for chars, target in nfa.reads[each]:
                for kind, classes in alphabet.spellings[chars]:
                    if kind == after:
                        found.append((classes[0], (target, after, classes[1:])))
    return found, work


def _distances(edges: Edges, is_final: list[bool], costs: list[int]) -> list[float]:
    """Return the fewest characters from each state to a final one, by a search backwards."""
    sources: list[list[tuple[int, int]]] = [[] for _ in edges]
    for state, targets_of in enumerate(edges):
        for taken, targets in targets_of.items():
            for target in targets:
                sources[target].append((state, costs[taken]))
    distances = [0 if each else math.inf for each in is_final]
    queue = deque(
        state for state, each in enumerate(is_final) if each
    )  # by distance: costs are 0, 1
    while queue:
        state = queue.popleft()
        for source, cost in sources[state]:
            if distances[state] + cost < distances[source]:
                distances[source] = distances[state] + cost
                queue.append(source) if cost else queue.appendleft(source)
    return distances


class Spelling(NamedTuple):
    """How to write a character of a set: its kind, and the class of each id that it takes."""

    kind: str
    classes: tuple[int, ...]


class Alphabet(NamedTuple):
    """Ids in classes that no set of characters tells apart.

    class_of (V,): the class of each id. costs: for each class, the characters that an id adds.
    spellings: of each set of characters.
    """

    class_of: NDArray[np.int64]
    costs: list[int]
    spellings: dict[Chars, list[Spelling]]

    def add_class(self, cost: int) -> int:
        """Return a new class."""
        self.costs.append(cost)
        return len(self.costs) - 1


def make_alphabet(
    all_chars: Iterable[Chars], vocab: Vocab, is_allowed: AllowedTokens, has_guards: bool
) -> Alphabet:
    """Return the allowed ids (V,) in classes.

    has_guards: characters that anchors tell apart get classes of their own, too.
    """
    alphabet = Alphabet(np.zeros(vocab.size, np.int64), [0], {chars: [] for chars in all_chars})
    allowed = {char: i for i, char in enumerate(vocab.alphabet) if is_allowed[i]}
    text = "".join(allowed)
    sets = list(alphabet.spellings)
    sets_of: dict[str, list[int]] = {char: [] for char in allowed}
    for index, chars in enumerate(sets):
        members: Iterable[str] = filter(allowed.__contains__, chars.named)
        if chars.matcher is not None:
            members = (found[0] for found in chars.matcher.finditer(text))
        for char in members:
            sets_of[char].append(index)
    # One class for all characters of the same kind that are in the same sets.
    classes: dict[tuple[str, tuple[int, ...]], int] = {}
    for char, holders in sets_of.items():
        if not holders:
            continue
        kinds = kinds_of(char) if has_guards else (PLAIN,)
        key = kinds[0], tuple(holders)
        if key not in classes:
            classes[key] = alphabet.add_class(1)
            for kind in kinds:
                for index in holders:
                    alphabet.spellings[sets[index]].append(Spelling(kind, (classes[key],)))
        alphabet.class_of[allowed[char]] = classes[key]
    # One class for each byte of the characters that a set names and bytes must write.
    for chars, spellings in alphabet.spellings.items():
        for char in dict.fromkeys(chars.named):
            ids = byte_ids(char, vocab, is_allowed)
            for token in ids:
                if alphabet.class_of[token] == NO_CLASS:
                    cost = int(vocab.starts_character[token])
                    alphabet.class_of[token] = alphabet.add_class(cost)
            if ids:
                byte_classes = tuple(alphabet.class_of[ids].tolist())
                kinds = kinds_of(char) if has_guards else (PLAIN,)
                spellings += [Spelling(kind, byte_classes) for kind in kinds]
    return alphabet


def _add_clusters(
    alphabet: Alphabet, vocab: Vocab, is_allowed: AllowedTokens
) -> dict[int, tuple[int, ...]]:
    """Add a class for clusters of the same classes of characters; return those by class."""
    id_of = {char: i for i, char in enumerate(vocab.alphabet)}
    class_of: dict[tuple[int, ...], int] = {}
    for token, cluster in enumerate(vocab.clusters, vocab.first_cluster):
        classes = tuple(int(alphabet.class_of[id_of[char]]) for char in cluster)
        if is_allowed[token] and NO_CLASS not in classes:
            if classes not in class_of:
                class_of[classes] = alphabet.add_class(len(classes))
            alphabet.class_of[token] = class_of[classes]
    return {number: classes for classes, number in class_of.items()}


@lru_cache(maxsize=4096)
def kinds_of(char: str) -> tuple[str, ...]:
    """Return what anchors can tell about a character; a newline may be the last one or not."""
    if char == "\n":
        return LAST_NEWLINE, NEWLINE
    if re.match(r"\w", char):
        return (ASCII_WORD if char.isascii() else WORD,)
    return (PLAIN,)


def byte_ids(char: str, vocab: Vocab, is_allowed: AllowedTokens) -> list[int]:
    """Return the ids of a character's UTF-8 bytes; none where it cannot be written so."""
    if not vocab.has_bytes or char in vocab.alphabet or "\ud800" <= char <= "\udfff":
        return []
    ids = [len(vocab.alphabet) + byte for byte in char.encode()]
    return ids if is_allowed[ids].all() else []

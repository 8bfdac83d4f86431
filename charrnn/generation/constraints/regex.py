"""A pattern → a nondeterministic finite automaton (NFA) over characters (Thompson 1968).

The text of a pattern is parsed by the parser of Python's own `re`, and `re` decides for each
character whether an item of the pattern matches it, and for each position whether an anchor does: a
pattern means here what it means to `re.fullmatch`. What no finite automaton can follow is refused
by name and position. `automaton.py` turns an NFA into transitions over a vocabulary.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from charrnn.errors import ConfigError

END = 0  # the node at which a text is complete
Guard = re.Pattern[str]  # an anchor that must match at the position where a text passes

_MOST_NODES = 50_000  # of a pattern: a second of work
_MOST_TEXT_NODES = 200_000
_ITEMS = {_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN}
_AROUND = r"\(\?<?[=!]"
_REFUSED = {  # in words, and as a pattern writes it
    _constants.ASSERT: ("a look-around", _AROUND),
    _constants.ASSERT_NOT: ("a look-around", _AROUND),
    _constants.FAILURE: ("a look-around", _AROUND),
    _constants.GROUPREF: ("a back-reference", r"\(\?P=|\\[1-9]"),
    _constants.GROUPREF_EXISTS: ("a condition", r"\(\?\("),
    _constants.ATOMIC_GROUP: ("an atomic group", r"\(\?>"),
    _constants.POSSESSIVE_REPEAT: ("a possessive quantifier", r"[*+?}]\+"),
}
_TOKEN = re.compile(  # an escape, a set, a comment, the opening of a group, a quantifier, any other
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?#[^)]*\)|\(\?(?:<?[=!]|P=|[(>])|[*+?}]\+|.", re.DOTALL
)


class NotRegularError(ConfigError):
    """A pattern has what no finite automaton can follow."""


class Chars(NamedTuple):
    """What one step reads: a character that is named, or that the matcher matches."""

    named: str
    matcher: re.Pattern[str] | None = None


class NFA:
    """Nodes and edges; a text matches if it leads from `start` to END.

    reads[n]: what node n reads, and the node after it. skips[n]: ε-transitions, nodes that node n
    leads to without reading, where the guard matches if there is one. name: for errors.
    """

    def __init__(self, name: str, most_nodes: int) -> None:
        self.name = name
        self._most_nodes = most_nodes
        self.reads: list[list[tuple[Chars, int]]] = [[]]
        self.skips: list[list[tuple[Guard | None, int]]] = [[]]
        self.start = END

    def add(self, *skips: tuple[Guard | None, int]) -> int:
        """Return a new node with these ε-transitions; there may be too many nodes for it."""
        if len(self.reads) == self._most_nodes:
            raise ConfigError(
                f"{self.name} takes more than {self._most_nodes:,} nodes; "
                "ask for less, or write * or + instead of a count"
            )
        self.reads.append([])
        self.skips.append([*skips])
        return len(self.reads) - 1

    @property
    def has_guards(self) -> bool:
        """Whether the characters around a position matter."""
        return any(guard is not None for skips in self.skips for guard, _ in skips)

    def closure(self, nodes: Iterable[int], before: str, after: str) -> list[int]:
        """Return the ε-closure of nodes between two kinds of character; "" is the text's edge."""
        found = [*nodes]
        seen = {*found}
        for each in found:  # the list grows
            for guard, target in self.skips[each]:
                is_open = guard is None or is_match_between(guard, before[:1], after)
                if is_open and target not in seen:
                    seen.add(target)
                    found.append(target)
        return found


def read_pattern(pattern: str, name: str, most_nodes: int | None = None) -> NFA:
    """Return the NFA of a pattern of `re`. name: what an error calls it.

    Raises:
        NotRegularError: it has what no automaton can follow.
        ConfigError: it is not a pattern, or takes more nodes than the most.
    """
    try:
        tree = _parser.parse(pattern)
        builder = _Builder(pattern, NFA(name, most_nodes or _MOST_NODES))
        builder.nfa.start = builder.sequence(tree, tree.state.flags, END)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{name} is not a pattern: {error}") from error
    return builder.nfa


def read_texts(texts: Iterable[str], name: str) -> NFA:
    """Return the NFA of any one of these texts: a tree of their prefixes.

    >>> len(read_texts(("tea", "ten"), "choices").reads)  # END, a root, t, te, tea, ten
    6
    """
    nfa = NFA(name, _MOST_TEXT_NODES)
    nfa.start = nfa.add()
    children: dict[tuple[int, str], int] = {}
    for text in dict.fromkeys(texts):  # each once
        node = nfa.start
        for char in text:
            if (node, char) not in children:
                children[node, char] = nfa.add()
                nfa.reads[node].append((Chars(char), children[node, char]))
            node = children[node, char]
        nfa.skips[node].append((None, END))
    return nfa


@lru_cache(maxsize=1024)
def is_match_between(guard: Guard, before: str, after: str) -> bool:
    """Return whether an anchor matches between two texts."""
    return guard.match(before + after, len(before)) is not None


class _Builder:
    """Builds an NFA from the end to the start: each part is given the node that comes after it."""

    def __init__(self, pattern: str, nfa: NFA) -> None:
        self.nfa = nfa
        self._pattern = pattern
        self._compiled: dict[tuple[str, int], re.Pattern[str]] = {}

    def sequence(self, items: Iterable[Any], flags: int, after: int) -> int:
        """Return the node that leads through all items to `after`."""
        for item in reversed(list(items)):
            after = self._item(item, flags, after)
        return after

    def _item(self, item: Any, flags: int, after: int) -> int:
        match item:
            case (op, _) if op in _ITEMS:
                node = self.nfa.add()
                self.nfa.reads[node].append(
                    (Chars(_named(item), self._compile(item, flags)), after)
                )
                return node
            case (_constants.AT, _):
                return self.nfa.add((self._compile(item, flags), after))
            case (_constants.BRANCH, (_, branches)):
                nodes = [self.sequence(branch, flags, after) for branch in branches]
                return self.nfa.add(*((None, node) for node in nodes))  # leads to all of them
            case (_constants.SUBPATTERN, (_, added, removed, items)):
                own = _compiler._combine_flags(flags, added, removed)
                return self.sequence(items, own, after)
            case (_constants.MAX_REPEAT | _constants.MIN_REPEAT, (low, high, items)):
                return self._repeat(items, flags, low, high, after)
        # Nothing that a finite automaton can follow: find where the pattern has it.
        words, spelling = _REFUSED[item[0]]
        tokens = _TOKEN.finditer(self._pattern)
        position = next((each.start() for each in tokens if re.match(spelling, each[0])), 0)
        raise NotRegularError(
            f"{self.nfa.name} has {words} at position {position}, which cannot be followed while "
            "a text is written; leave it out"
        )

    def _repeat(self, items: Any, flags: int, low: int, high: Any, after: int) -> int:
        """Unroll what is counted; what has no upper count becomes a loop."""
        if high is _constants.MAXREPEAT:
            node = self.nfa.add((None, after))
            self.nfa.skips[node].append((None, self.sequence(items, flags, node)))
        else:
            node = after
            for _ in range(high - low):
                node = self.nfa.add((None, self.sequence(items, flags, node)), (None, after))
        for _ in range(low):
            following = node
            node = self.sequence(items, flags, node)
            if node == following:  # what is repeated is empty
                break
        return node

    def _compile(self, item: Any, flags: int) -> re.Pattern[str]:
        """Return the pattern of `re` that one item is by itself."""
        key = repr(item), flags
        if key not in self._compiled:
            state = _parser.State()
            state.flags = flags
            self._compiled[key] = _compiler.compile(_parser.SubPattern(state, [item]), flags)
        return self._compiled[key]


def _named(item: Any) -> str:
    """Return the characters that an item names one by one."""
    match item:
        case (_constants.LITERAL, code):
            return chr(code)
        case (_constants.IN, [(first, _), *_] as members) if first is not _constants.NEGATE:
            return "".join(chr(code) for op, code in members if op is _constants.LITERAL)
    return ""

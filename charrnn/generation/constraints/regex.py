"""Pattern text → a machine that reads characters: nodes, what each reads, where it may skip to.

The text is parsed by the parser of Python's own `re`, and `re` says of each character whether an
item of the pattern matches it and of each place whether an anchor does: a pattern means here what
it means to `re.fullmatch`. What no such machine can follow is refused by name and place. The
machine is that of Thompson, "Regular Expression Search Algorithm" (1968); it knows no vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from charrnn.errors import ConfigError

END = 0  # the node at which a text is complete
_MOST_NODES = 200_000
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
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?#[^)]*\)|\(\?(?:<?[=!]|P=|[(>])|[*+?}]\+|.", re.DOTALL
)


class Chars(NamedTuple):
    """What is read in one step: a character that is named, or that the matcher matches."""

    named: str
    matcher: re.Pattern[str] | None = None


Guard = re.Pattern[str]


class Machine:
    """Nodes. A text matches if it leads from `start` to END.

    reads[n]: what node n reads, and to which node. skips[n]: to which nodes it leads for nothing,
    where the guard, if there is one, holds. name: of the pattern, in complaints.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reads: list[list[tuple[Chars, int]]] = [[]]
        self.skips: list[list[tuple[Guard | None, int]]] = [[]]
        self.start = END

    def add(self) -> int:
        """Give a new node.

        Raises:
            ConfigError: there are too many.
        """
        if len(self.reads) == _MOST_NODES:
            raise ConfigError(
                f"{self.name} takes more than {_MOST_NODES:,} nodes; "
                "ask for less, or write * or + where it counts"
            )
        self.reads.append([])
        self.skips.append([])
        return len(self.reads) - 1

    @property
    def has_guards(self) -> bool:
        """Tell whether it matters what stands around a place."""
        return any(guard is not None for skips in self.skips for guard, _ in skips)


def read_pattern(pattern: str, name: str) -> Machine:
    """Make the machine of a pattern of `re`. name: what a complaint calls it.

    Raises:
        ConfigError: it is no pattern, is too large, or has what no automaton can follow.
    """
    try:
        tree = _parser.parse(pattern)
        reader = _Reader(pattern, name)
        reader.machine.start = reader.sequence(tree, tree.state.flags, END)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"{name} is no pattern: {error}") from error
    return reader.machine


def read_texts(texts: Iterable[str], name: str) -> Machine:
    """Make the machine that reads any one of these texts: a tree of their beginnings."""
    machine = Machine(name)
    machine.start = machine.add()
    following: dict[tuple[int, str], int] = {}
    for text in dict.fromkeys(texts):
        node = machine.start
        for char in text:
            if (node, char) not in following:
                following[node, char] = machine.add()
                machine.reads[node].append((Chars(char), following[node, char]))
            node = following[node, char]
        machine.skips[node].append((None, END))
    return machine


@lru_cache(maxsize=1024)
def holds(guard: Guard, before: str, after: str) -> bool:
    """Tell whether an anchor matches between these two texts."""
    return guard.match(before + after, len(before)) is not None


class _Reader:
    """Builds from the end to the start: each part is given the node that comes after it."""

    def __init__(self, pattern: str, name: str) -> None:
        self.machine = Machine(name)
        self._pattern = pattern
        self._compiled: dict[tuple[str, int], re.Pattern[str]] = {}

    def sequence(self, items: Iterable[Any], flags: int, after: int) -> int:
        """Give the node that leads through all items to `after`."""
        for item in reversed(list(items)):
            after = self._item(item, flags, after)
        return after

    def _item(self, item: Any, flags: int, after: int) -> int:
        match item:
            case (op, _) if op in _ITEMS:
                return self._read(item, flags, after)
            case (_constants.AT, _):
                return self._skip((self._compile(item, flags), after))
            case (_constants.BRANCH, (_, branches)):
                ways = [self.sequence(branch, flags, after) for branch in branches]
                return self._skip(*((None, way) for way in ways))
            case (_constants.SUBPATTERN, (_, added, removed, items)):
                own = _compiler._combine_flags(flags, added, removed)
                return self.sequence(items, own, after)
            case (_constants.MAX_REPEAT | _constants.MIN_REPEAT, (low, high, items)):
                return self._repeat(items, flags, low, high, after)
        raise self._refusal(item[0])

    def _repeat(self, items: Any, flags: int, low: int, high: Any, after: int) -> int:
        """Unroll what is counted; what has no upper count becomes a loop."""
        if high is _constants.MAXREPEAT:
            node = self._skip((None, after))
            self.machine.skips[node].append((None, self.sequence(items, flags, node)))
        else:
            node = after
            for _ in range(high - low):
                node = self._skip((None, self.sequence(items, flags, node)), (None, after))
        for _ in range(low):
            following, node = node, self.sequence(items, flags, node)
            if node == following:  # what is repeated is empty
                break
        return node

    def _read(self, item: Any, flags: int, after: int) -> int:
        node = self.machine.add()
        chars = Chars(_named(item), self._compile(item, flags))
        self.machine.reads[node].append((chars, after))
        return node

    def _skip(self, *ways: tuple[Guard | None, int]) -> int:
        node = self.machine.add()
        self.machine.skips[node] += ways
        return node

    def _compile(self, item: Any, flags: int) -> re.Pattern[str]:
        """Give the pattern of `re` that one item is by itself."""
        key = repr(item), flags
        if key not in self._compiled:
            state = _parser.State()
            state.flags = flags
            self._compiled[key] = _compiler.compile(_parser.SubPattern(state, [item]), flags)
        return self._compiled[key]

    def _refusal(self, op: Any) -> ConfigError:
        words, spelling = _REFUSED[op]
        tokens = _TOKEN.finditer(self._pattern)
        place = next((each.start() for each in tokens if re.match(spelling, each[0])), 0)
        return ConfigError(
            f"{self.machine.name} has {words} at position {place}, which cannot be followed while "
            "a text is written; write it without"
        )


def _named(item: Any) -> str:
    """Give the characters that an item names one by one."""
    match item:
        case (_constants.LITERAL, code):
            return chr(code)
        case (_constants.IN, [(first, _), *_] as members) if first is not _constants.NEGATE:
            return "".join(chr(code) for op, code in members if op is _constants.LITERAL)
    return ""

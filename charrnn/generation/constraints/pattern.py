"""Holds a text to a pattern, to one of several texts, to a template or to balanced brackets.

What is written matches in full. Where the text so far is no full match, only what can still lead
to one within the length may come. Where it is one, the model draws freely, and the text ends
before a character that leads to no other.

V = vocabulary.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.constraints.automaton import AllowedTokens, Automaton, States, byte_ids
from charrnn.generation.constraints.brackets import BalancedBrackets
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.constraints.regex import Chars, Machine, read_pattern, read_texts
from charrnn.text.vocab import Ids, Vocab

_SHOWN = 40  # characters of an example in a complaint


class PatternState(NamedTuple):
    """Where a text is in its pattern, and how many characters it may still take."""

    states: States
    remaining: int


class PatternConstraint:
    """A guide that holds a text of at most `length` characters to an automaton."""

    reason = "match"

    def __init__(self, automaton: Automaton, length: int) -> None:
        self._automaton = automaton
        self._length = length

    def start(self, prompt: Ids) -> PatternState:
        """Give the place before the first character; the prompt is no part of what must match."""
        return PatternState(self._automaton.start, self._length)

    def bias(self, place: PatternState) -> NDArray[np.float32] | None:
        """Give −inf for each id that can reach no full match (V,); None where there is one."""
        if self._automaton.look(place.states).is_complete:
            return None
        return self._automaton.mask(place.states, place.remaining)

    def follow(self, place: PatternState, token: int) -> PatternState | None:
        """Give the place after one more id; None where no full match goes on with it."""
        ways = self._automaton.look(place.states).ways
        need, states = ways.get(self._automaton.class_of[token], (np.inf, frozenset()))
        if need > place.remaining:
            return None
        return PatternState(states, place.remaining - self._automaton.costs[token])

    def is_over(self, place: PatternState) -> bool:
        """Tell whether the text is a full match that can become no other."""
        step = self._automaton.look(place.states)
        return step.is_complete and step.least > place.remaining


def make_constraint(
    vocab: Vocab, config: SampleConfig, is_left: AllowedTokens | None
) -> Constraint | None:
    """Give the guide that `config` asks for, or None; `is_left` (V,) are the ids not banned.

    Raises:
        ConfigError: the pattern is none that can be followed, or nothing that the model can write
            matches it within the length.
    """
    left = np.ones(vocab.size, np.bool_) if is_left is None else is_left
    if config.balanced:
        return BalancedBrackets(vocab, config.length, left)
    machine = _make_machine(vocab, config)
    if machine is None:
        return None
    automaton = Automaton(machine, vocab, left)
    shortest = automaton.shortest()
    if shortest is None:
        raise _nothing_matches(machine, vocab, left)
    if vocab.count_characters(np.array(shortest, np.int64)) > config.length:
        raise _too_short(machine, vocab.decode(shortest), config.length)
    return PatternConstraint(automaton, config.length)


def _make_machine(vocab: Vocab, config: SampleConfig) -> Machine | None:
    if config.regex is not None:
        return read_pattern(config.regex, f"regex {config.regex!r}")
    if config.template is not None:
        return read_pattern(template_pattern(config.template), f"template {config.template!r}")
    if config.choices:
        try:
            vocab.encode("".join(config.choices))
        except VocabError as error:
            raise ConfigError(f"choices cannot be written: {error}") from error
        return read_texts(config.choices, "choices")
    return None


def _too_short(machine: Machine, shortest: str, length: int) -> ConfigError:
    dots = "…" if len(shortest) > _SHOWN else ""
    return ConfigError(
        f"{machine.name} needs at least {len(shortest):,} characters, as in "
        f"{shortest[:_SHOWN] + dots!r}, and length is {length}; raise it"
    )


def _nothing_matches(machine: Machine, vocab: Vocab, is_left: AllowedTokens) -> ConfigError:
    """Say which characters are missing, found in a shortest match of a vocabulary that has all."""
    written = {char for char, each in zip(vocab.alphabet, is_left, strict=False) if each}
    sets = {chars for reads in machine.reads for chars, _ in reads}
    written |= {char for each in sets for char in each.named if byte_ids(char, vocab, is_left)}
    wide = Vocab("".join(sorted(written.union(*map(_examples, sets)))))
    match = Automaton(machine, wide, np.ones(wide.size, np.bool_)).shortest()
    missing = sorted(set(wide.decode(match)) - written) if match else []
    if not missing:
        return ConfigError(f"{machine.name} is matched by no text; correct it")
    is_named = all(any(char in each.named for each in sets) for char in missing)
    named = "" if is_named else "characters such as "
    named += ", ".join(f"{char!r} (U+{ord(char):04X})" for char in missing[:5])
    if set(missing) <= set(vocab.alphabet):
        return ConfigError(f"{machine.name} needs {named}, which only and ban leave out; allow it")
    return ConfigError(
        f"{machine.name} needs {named}, which this model cannot write; ask for other characters"
    )


def _examples(chars: Chars) -> str:
    """Give the characters that a set names, or the first that it holds, if it is any."""
    everything = (chr(code) for code in (*range(0x20, 0xD800), *range(0x20)))
    named = chars.named.encode("utf-8", "ignore").decode()
    if named or chars.matcher is None:
        return named
    return next((char for char in everything if chars.matcher.match(char)), "")


_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")
_PIECE = re.compile(
    r"\\.|[^\\]", re.DOTALL
)  # of a blank: an escaped brace opens and closes nothing


def template_pattern(template: str) -> str:
    """Give the pattern of a template.

    Raises:
        ConfigError: a brace has no partner, or a blank holds no pattern.
    """
    pattern, place = "", 0
    while place < len(template):
        if found := _LITERAL.match(template, place):
            pattern += re.escape(found[0].replace("{{", "{").replace("}}", "}"))
            place = found.end()
        else:
            end = _closing_brace(template, place)
            blank = _checked(template, template[place + 1 : end])
            place = end + 1
            pattern += f"(?:{blank or _piece_before(template, place)})"
    return pattern


def _piece_before(template: str, place: int) -> str:
    """Give the pattern of a blank that says nothing, by the literal character at `place`."""
    is_literal = _LITERAL.match(template, place)
    return rf"[^\n{re.escape(template[place])}]+" if is_literal else r"[^\n]+"


def _closing_brace(template: str, start: int) -> int:
    """Give the place of the brace that closes the one at `start`."""
    depth = 0
    for piece in _PIECE.finditer(template, start):
        depth += {"{": 1, "}": -1}.get(piece[0], 0)
        if depth <= 0:
            break
    if depth:
        brace, hint = template[start], "{{" if depth > 0 else "}}"
        raise ConfigError(
            f"template {template!r} has a {brace} at position {start} without its partner; "
            f"write {hint} for the character itself"
        )
    return piece.start()


def _checked(template: str, blank: str) -> str:
    try:
        re.compile(blank)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"template {template!r} has the blank {blank!r}, which is no pattern: {error}"
        ) from error
    return blank

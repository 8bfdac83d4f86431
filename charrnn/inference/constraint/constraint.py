"""Holds a text to a pattern, to one of several texts, to a template or to balanced brackets.

What is written matches in full. Where the text so far is no full match, only what can still lead
to one within the length may come. Where it is one, the model draws freely, and the text ends
before a character that leads to no other.

V = vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.inference.constraint.alphabet import Left, byte_ids
from charrnn.inference.constraint.automaton import Automaton, States
from charrnn.inference.constraint.brackets import Brackets
from charrnn.inference.constraint.regex import Chars, Machine, read_pattern, read_texts
from charrnn.inference.constraint.template import template_pattern
from charrnn.inference.drawing.guide import Guide
from charrnn.text.vocab import Ids, Vocab

_SHOWN = 40  # characters of an example in a complaint


class Place(NamedTuple):
    """Where a text is in its pattern, and how many characters it may still take."""

    states: States
    remaining: int


class Constraint:
    """A guide that holds a text of at most `length` characters to an automaton."""

    reason = "match"

    def __init__(self, automaton: Automaton, length: int) -> None:
        self._automaton = automaton
        self._length = length

    def start(self, prompt: Ids) -> Place:
        """Give the place before the first character; the prompt is no part of what must match."""
        return Place(self._automaton.start, self._length)

    def bias(self, place: Place) -> NDArray[np.float32] | None:
        """Give −inf for each id that can reach no full match (V,); None where there is one."""
        if self._automaton.look(place.states).is_complete:
            return None
        return self._automaton.mask(place.states, place.remaining)

    def follow(self, place: Place, symbol: int) -> Place | None:
        """Give the place after one more id; None where no full match goes on with it."""
        ways = self._automaton.look(place.states).ways
        need, states = ways.get(self._automaton.class_of[symbol], (np.inf, frozenset()))
        if need > place.remaining:
            return None
        return Place(states, place.remaining - self._automaton.costs[symbol])

    def is_over(self, place: Place) -> bool:
        """Tell whether the text is a full match that can become no other."""
        step = self._automaton.look(place.states)
        return step.is_complete and step.least > place.remaining


def make_constraint(vocab: Vocab, config: SampleConfig, is_left: Left | None) -> Guide | None:
    """Give the guide that `config` asks for, or None; `is_left` (V,) are the ids not banned.

    Raises:
        ConfigError: the pattern is none that can be followed, or nothing that the model can write
            matches it within the length.
    """
    left = np.ones(vocab.size, np.bool_) if is_left is None else is_left
    if config.balanced:
        return Brackets(vocab, config.length, left)
    machine = _make_machine(vocab, config)
    if machine is None:
        return None
    automaton = Automaton(machine, vocab, left)
    shortest = automaton.shortest()
    if shortest is None:
        raise _nothing_matches(machine, vocab, left)
    if vocab.count_characters(np.array(shortest, np.int64)) > config.length:
        raise _too_short(machine, vocab.decode(shortest), config.length)
    return Constraint(automaton, config.length)


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


def _nothing_matches(machine: Machine, vocab: Vocab, is_left: Left) -> ConfigError:
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

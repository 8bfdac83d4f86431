"""A text of a given form: a full match of a pattern, one of several texts, or a filled-in template.

While the text so far is not a full match, only ids that can still lead to one within the length are
allowed. Where it is one, the model samples freely, and the text ends before an id that leads to no
other match. `generator.py` calls `make_constraint`.

V = vocabulary, S = tokens of the prompt.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, VocabError, counted
from charrnn.generation.constraints.automaton import Automaton, States, byte_ids
from charrnn.generation.constraints.brackets import BalancedBrackets
from charrnn.generation.constraints.constraint import AllowedTokens, Constraint
from charrnn.generation.constraints.regex import (
    NFA,
    Chars,
    NotRegularError,
    read_pattern,
    read_texts,
)
from charrnn.text.vocab import Ids, Vocab

_SHOWN = 40  # characters of an example in an error
_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")
_PIECE = re.compile(r"\\.|[^\\]", re.DOTALL)  # of a blank: an escaped brace does not count


class PatternState(NamedTuple):
    """The states of the automaton that a text is in, and how many characters may still come."""

    states: States
    remaining: int


class PatternConstraint:
    """A Constraint by an automaton, on a text of at most `length` characters."""

    reason = "match"

    def __init__(self, automaton: Automaton, length: int) -> None:
        self._automaton = automaton
        self._length = length

    def initial_state(self, prompt: Ids) -> PatternState:
        """Return the state before the first character: the prompt is not part of the match."""
        return PatternState(self._automaton.start, self._length)

    def mask(self, state: PatternState) -> NDArray[np.float32] | None:
        """Return −inf for each id that can reach no full match (V,); None after a full match."""
        if self._automaton.transitions(state.states).is_complete:
            return None
        return self._automaton.mask(state.states, state.remaining)

    def advance(self, token: int, state: PatternState) -> PatternState | None:
        """Return the state after one more id; None where it leads to no full match."""
        targets = self._automaton.transitions(state.states).targets
        need, states = targets.get(self._automaton.class_of[token], (np.inf, frozenset()))
        if need > state.remaining:
            return None
        return PatternState(states, state.remaining - self._automaton.costs[token])

    def is_finished(self, state: PatternState) -> bool:
        """Return whether the text is a full match that can become no other."""
        transitions = self._automaton.transitions(state.states)
        return transitions.is_complete and transitions.least > state.remaining


def make_constraint(
    vocab: Vocab, config: SampleConfig, is_allowed: AllowedTokens | None
) -> Constraint | None:
    """Return the constraint that `config` asks for, or None. is_allowed: (V,), None for all ids.

    Raises:
        ConfigError: no automaton can follow the pattern, or the model can write no match of it
            within the length.
    """
    allowed = np.ones(vocab.size, np.bool_) if is_allowed is None else is_allowed
    if config.balanced:
        return BalancedBrackets(vocab, config.length, allowed)
    if config.regex is not None:
        nfa = read_pattern(config.regex, f"regex {config.regex!r}")
    elif config.template is not None:
        nfa = read_pattern(template_pattern(config.template), f"template {config.template!r}")
    elif config.choices:
        try:
            vocab.encode("".join(config.choices))
        except VocabError as error:
            raise ConfigError(f"choices cannot be written: {error.message}") from error
        nfa = read_texts(config.choices, "choices")
    else:
        return None
    automaton = Automaton(nfa, vocab, allowed)
    ids = automaton.shortest()
    if ids is None:
        raise _nothing_matches(nfa, vocab, allowed)
    if vocab.count_characters(np.array(ids, np.int64)) > config.length:
        shortest = vocab.decode(ids)
        shown = shortest[:_SHOWN] + "…" * (len(shortest) > _SHOWN)
        raise ConfigError(
            f"{nfa.name} needs at least {counted(len(shortest), 'character')}, as in {shown!r}, "
            f"and length is {config.length}; raise it"
        )
    return PatternConstraint(automaton, config.length)


def check_stop_regex(pattern: str, vocab: Vocab) -> None:
    """Refuse a pattern whose every match needs a named character that the model never writes.

    Raises:
        ConfigError: names the character.
    """
    everything = np.ones(vocab.size, np.bool_)
    try:
        nfa = read_pattern(pattern, f"stop_regex {pattern!r}")
    except NotRegularError:
        return
    has_names = any(chars.named for reads in nfa.reads for chars, _ in reads)
    # Alone a match has other anchors than in a text, and bytes can write any character.
    if nfa.has_guards or vocab.has_bytes or not has_names:
        return
    if not Automaton(nfa, vocab, everything).shortest():
        missing, is_named = _missing_characters(nfa, vocab, everything)
        if missing and is_named:
            raise _nothing_matches(nfa, vocab, everything)


def _missing_characters(
    nfa: NFA, vocab: Vocab, is_allowed: AllowedTokens
) -> tuple[list[str], bool]:
    """Return what a shortest match needs and nothing may write, and whether the pattern names it.

    Empty where no text matches.
    """
    written = {char for char, each in zip(vocab.alphabet, is_allowed, strict=False) if each}
    sets = {chars for reads in nfa.reads for chars, _ in reads}
    written |= {char for each in sets for char in each.named if byte_ids(char, vocab, is_allowed)}
    # They are in a shortest match over a vocabulary that lacks nothing.
    wide = Vocab("".join(sorted(written.union(*map(_examples, sets)))))
    match = Automaton(nfa, wide, np.ones(wide.size, np.bool_)).shortest()
    missing = sorted(set(wide.decode(match)) - written) if match else []
    return missing, all(any(char in each.named for each in sets) for char in missing)


def _nothing_matches(nfa: NFA, vocab: Vocab, is_allowed: AllowedTokens) -> ConfigError:
    """Return an error that names the characters which are missing."""
    missing, is_named = _missing_characters(nfa, vocab, is_allowed)
    if not missing:
        return ConfigError(f"no text matches {nfa.name}; correct it")
    named = "" if is_named else "characters such as "
    named += ", ".join(f"{char!r} (U+{ord(char):04X})" for char in missing[:5])
    if set(missing) <= set(vocab.alphabet):
        return ConfigError(f"{nfa.name} needs {named}, which only and ban leave out; allow it")
    return ConfigError(
        f"{nfa.name} needs {named}, which this model cannot write; ask for other characters"
    )


def _examples(chars: Chars) -> str:
    """Return the characters that a set names, or else the first one that it holds."""
    named = chars.named.encode("utf-8", "ignore").decode()
    if named or chars.matcher is None:
        return named
    everything = map(chr, (*range(0x20, 0xD800), *range(0x20)))
    return next(filter(chars.matcher.match, everything), "")


def template_pattern(template: str) -> str:
    """Return the pattern of a template, in which {} is a piece of a line and {…} holds a pattern.

    >>> template_pattern("Name: {}, {[0-9]+}.")
    'Name:\\\\ (?:[^\\\\n,]+),\\\\ (?:[0-9]+)\\\\.'

    Raises:
        ConfigError: a brace has no partner, or a blank holds no pattern.
    """
    pattern = ""
    position = 0
    while position < len(template):
        if found := _LITERAL.match(template, position):
            pattern += re.escape(found[0].replace("{{", "{").replace("}}", "}"))
            position = found.end()
            continue
        end = _closing_brace(template, position)
        blank = template[position + 1 : end]
        try:
            re.compile(blank)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"template {template!r} has the blank {blank!r}, which is not a pattern: {error}"
            ) from error
        position = end + 1
        if not blank:
            # An empty blank takes anything up to the literal character after it, or the line's end.
            is_literal = _LITERAL.match(template, position)
            blank = rf"[^\n{re.escape(template[position])}]+" if is_literal else r"[^\n]+"
        pattern += f"(?:{blank})"
    return pattern


def _closing_brace(template: str, start: int) -> int:
    """Return the position of the brace that closes the one at `start`."""
    depth = 0
    for piece in _PIECE.finditer(template, start):
        depth += {"{": 1, "}": -1}.get(piece[0], 0)
        if depth == 0:
            return piece.start()
        if depth < 0:
            break
    brace = template[start]
    raise ConfigError(
        f"template {template!r} has a {brace} at position {start} without its partner; "
        f"write {brace * 2} for the character itself"
    )

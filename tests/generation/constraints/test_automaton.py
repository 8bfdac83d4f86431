"""An automaton accepts what `re.fullmatch` does, knows the way to a match, and computes it once."""

from __future__ import annotations

import math
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.generation.constraints import automaton as module
from charrnn.generation.constraints.automaton import Automaton
from charrnn.generation.constraints.regex import read_pattern
from charrnn.generation.pattern_search import time_limit
from charrnn.text.vocab import Ids, Vocab
from tests.reference.constraint import random_pattern, texts_up_to

ALPHABET = "\n -1abÉé月"
VOCAB = Vocab("".join(sorted(ALPHABET)))
BYTES = Vocab("\nab", has_bytes=True)


def make(pattern: str, vocab: Vocab = VOCAB) -> Automaton:
    return Automaton(read_pattern(pattern, "regex"), vocab, np.ones(vocab.size, np.bool_))


def accepts(automaton: Automaton, ids: Ids) -> bool:
    states = automaton.start
    for token in ids.tolist():
        _, states = automaton.transitions(states).targets.get(
            automaton.class_of[token], (0, frozenset())
        )
    return automaton.transitions(states).is_complete


@given(st.randoms(use_true_random=False), st.lists(st.text(ALPHABET, max_size=6), max_size=20))
def test_it_accepts_what_re_accepts(source: random.Random, texts: list[str]) -> None:
    pattern = random_pattern(source)
    automaton = make(pattern)
    for text in ["", "\n", "a\n", "\n\n", *texts]:
        expected = re.fullmatch(pattern, text) is not None
        assert accepts(automaton, VOCAB.encode(text)) == expected, (pattern, text)


@pytest.mark.parametrize(
    "pattern",
    [
        r"a$\n?",
        r"a$\n*",
        r"(?:a$|\n)*",
        r"(?m)(?:^a*$\n?)+",
        r"\w+\b \b\w+",
        r"\B",
        r"\b",
        r"a\B\n?",
        r"(?a)\w\b.",
        r"^$",
        r"x*^a\Z",
        "(?x) a  b # and no more",
        r"(?i)é+[a-z]?",
        r"(?i:é)É",
        r"(?-i:a)|(?i:b)",
        r"(?s).\n?",
        r".?\n",
        r"[^\W\d_]{1,2}",
        r"(?:a|b??)*?-",
        r"(?:)*|a",
    ],
)
def test_what_is_easily_mistaken_is_as_in_re(pattern: str) -> None:
    automaton = make(pattern)
    accepted = {text for text in texts_up_to(4, "\n aÉé") if re.fullmatch(pattern, text)}

    assert accepted == {
        text for text in texts_up_to(4, "\n aÉé") if accepts(automaton, VOCAB.encode(text))
    }


@given(st.randoms(use_true_random=False))
def test_the_fewest_characters_to_a_match_are_known_everywhere(source: random.Random) -> None:
    pattern = random_pattern(source, depth=2)
    automaton = make(pattern, Vocab("\nab"))
    matches = [text for text in texts_up_to(5, "\nab") if re.fullmatch(pattern, text)]
    for beginning in texts_up_to(2, "\nab"):
        states = automaton.start
        for token in Vocab("\nab").encode(beginning[:-1]).tolist():
            _, states = automaton.transitions(states).targets.get(
                automaton.class_of[token], (0, frozenset())
            )
        if not beginning:
            continue
        taken = automaton.class_of[Vocab("\nab").encode(beginning[-1]).item()]
        need, _ = automaton.transitions(states).targets.get(taken, (math.inf, None))
        longer = [len(text) for text in matches if text.startswith(beginning)]
        if longer or need <= 5 - len(beginning) + 1:
            assert need == min(longer) - len(beginning) + 1, (pattern, beginning)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("a{3}b|b{5}", "aaab"), ("(?:ab|ba)+?", "ab"), ("", ""), ("[éa]{2}é", None)],
)
def test_a_shortest_match_is_given(pattern: str, text: str | None) -> None:
    found = make(pattern, BYTES).shortest()

    assert found is not None
    assert re.fullmatch(pattern, BYTES.decode(found))
    assert text is None or len(BYTES.decode(found)) == len(text)


def test_without_a_match_there_is_no_shortest_one() -> None:
    assert make("a[^ -月\n]").shortest() is None


def test_ids_that_no_part_tells_apart_share_a_class() -> None:
    automaton = make(r"[A-z]+\d|é", Vocab("".join(map(chr, range(32, 127))) + "é"))

    assert len(set(automaton.class_of)) == 4


# Bytes


def test_a_character_that_the_alphabet_lacks_goes_as_its_bytes() -> None:
    automaton = make("a[月é]b", BYTES)

    for text, expected in (("a月b", True), ("aéb", True), ("a日b", False), ("ab", False)):
        assert accepts(automaton, BYTES.encode(text)) == expected
    assert not accepts(automaton, BYTES.encode("a月b")[:-2])


def test_a_character_of_several_bytes_counts_once() -> None:
    automaton = make("月{3}", BYTES)
    states, costs = automaton.start, []
    for token in BYTES.encode("月月月").tolist():
        need, states = automaton.transitions(states).targets[automaton.class_of[token]]
        costs.append((need, automaton.costs[token]))

    assert costs == [(3, 1), (2, 0), (2, 0), (2, 1), (1, 0), (1, 0), (1, 1), (0, 0), (0, 0)]


@pytest.mark.parametrize("pattern", [".", r"\w", "[^a]", r"\W", "[c-z]"])
def test_classes_hold_what_is_in_the_alphabet_alone(pattern: str) -> None:
    automaton = make(f"{pattern}|a", BYTES)

    assert not accepts(automaton, BYTES.encode("月"))
    assert not accepts(automaton, BYTES.encode("c"))


def test_a_character_that_bytes_write_stands_between_anchors_as_itself() -> None:
    automaton = make(r"é\b-?(?:a|\Bb)", BYTES)

    assert accepts(automaton, BYTES.encode("é-a"))
    assert not accepts(automaton, BYTES.encode("é-b"))
    assert not accepts(automaton, BYTES.encode("éa"))


def test_banned_ids_are_no_part_of_the_alphabet() -> None:
    is_allowed = np.ones(BYTES.size, np.bool_)
    is_allowed[[1, 3 + 0xC3]] = False
    automaton = Automaton(read_pattern(".é?", "regex"), BYTES, is_allowed)

    assert not accepts(automaton, BYTES.encode("a"))
    assert not accepts(automaton, BYTES.encode("bé"))
    assert accepts(automaton, BYTES.encode("b"))


# Cost


def walk(automaton: Automaton, text: str) -> tuple[int, int]:
    """Return how many transitions and masks of a text are not the same object."""
    states = automaton.start
    met, masks = {}, {}
    for index, token in enumerate(VOCAB.encode(text).tolist()):
        transitions = automaton.transitions(states)
        mask = automaton.mask(states, 5000 - index)
        met[id(transitions)] = transitions
        masks[id(mask)] = mask
        _, states = transitions.targets[automaton.class_of[token]]
    return len(met), len(masks)


def test_transitions_and_masks_are_made_for_states_and_not_for_characters() -> None:
    assert walk(make(r"a(?:[ab]| a)*1"), "a" + "bb a" * 500 + "1") == (3, 3)


def test_near_the_end_each_number_of_characters_that_matters_has_a_mask_of_its_own() -> None:
    automaton = make("a*b{3}")
    masks = [automaton.mask(automaton.start, remaining) for remaining in range(9)]
    a_and_b = [(each[VOCAB.encode("ab")] == 0).tolist() for each in masks]

    assert a_and_b == [[False] * 2] * 3 + [[False, True]] + [[True] * 2] * 5
    assert len({id(mask) for mask in masks}) == 5


def test_a_pattern_with_too_many_subsets_for_any_table_is_followed_all_the_same() -> None:
    pattern, text = r"(?:.*a.{60}b)+.*", "ab1- " * 30
    automaton = make(pattern)

    assert accepts(automaton, VOCAB.encode(text)) == bool(re.fullmatch(pattern, text))


def test_what_is_forgotten_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, text = r"(?:ab|[ab]1)*", "aba1b1" * 20
    known = walk(make(pattern), text)
    monkeypatch.setattr(module, "_KEPT_STATES", 1)
    monkeypatch.setattr(module, "_KEPT_MASK_BYTES", 1)

    assert known == (4, 4)
    assert walk(make(pattern), text) == (len(text), len(text))
    assert accepts(make(pattern), VOCAB.encode(text))


@pytest.mark.no_cover  # long
def test_a_pattern_with_too_many_steps_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"regex takes more than 500,000 steps; ask for less"):
        make("(a?){1200}")


@pytest.mark.no_cover  # long
@pytest.mark.parametrize("pattern", ["(((a?){0,40}){0,40}){0,40}", r"((^|$|\b|a)?){0,3000}"])
def test_a_hostile_pattern_is_refused_soon(pattern: str) -> None:
    # It takes a second, and several under coverage; the limit only ends what would take for ever.
    with time_limit(60), pytest.raises(ConfigError, match=r"regex takes more than [0-9,]+ (no|st)"):
        make(pattern)

"""Brackets and quotes close in order and within the length, whatever the model prefers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.constraints.pattern import make_constraint
from charrnn.text.vocab import Vocab
from tests.reference.constraint import (
    enumerate_by_constraint,
    enumerate_by_rule,
    make_model,
    sample_text,
    texts_up_to,
)

PAIRS = ["()", "[]", "{}", "«»", "“”", "「」", "『』", "《》", "（）", "【】", '""']
ALL = Vocab("".join(sorted(set("".join(PAIRS) + "\na月"))))
BYTES = Vocab('"()ab「', has_bytes=True)


def make(vocab: Vocab, length: int, is_allowed: Any = None) -> Constraint:
    constraint = make_constraint(vocab, SampleConfig(balanced=True, length=length), is_allowed)
    assert constraint is not None
    return constraint


def is_balanced(text: str) -> bool:
    """The slow twin: take out pairs that hold nothing until none is left."""
    text = "".join(char for char in text if char in "".join(PAIRS))
    while (shorter := re.sub("|".join(map(re.escape, PAIRS)), "", text)) != text:
        text = shorter
    return not text


@pytest.mark.parametrize("alphabet", ['"(a)', "()[]", "(a", "a)", '"', "「」月"])
def test_texts_have_the_probabilities_of_the_rule(alphabet: str) -> None:
    vocab, length = Vocab("".join(sorted(alphabet))), 5
    model = make_model(vocab.size)
    matches = {text for text in texts_up_to(length, vocab.alphabet) if is_balanced(text)}

    expected = enumerate_by_rule(matches, vocab.alphabet, model, is_free=False)
    found = enumerate_by_constraint(make(vocab, length), vocab, model)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 30])
def test_every_output_is_balanced_and_as_long_as_asked(length: int) -> None:
    constraint = make(ALL, length)
    random = np.random.default_rng(3)
    texts = [sample_text(constraint, ALL, random) for _ in range(30)]

    assert [text for text in texts if not is_balanced(text) or len(text) != length] == []
    assert length < 2 or any(char in "".join(texts) for char in "([{«")


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_brackets_that_bytes_write_are_balanced_too(length: int) -> None:
    constraint = make(BYTES, length)
    random = np.random.default_rng(3)
    texts = [sample_text(constraint, BYTES, random) for _ in range(60)]

    assert [text for text in texts if not is_balanced(text) or len(text) != length] == []


def test_bytes_may_spell_a_closer_of_what_is_open_alone() -> None:
    constraint = make(BYTES, 9)

    def after(text: bytes) -> object:
        state = constraint.initial_state(BYTES.encode(""))
        for byte in text:
            state = constraint.advance(len(BYTES.alphabet) + byte, state)
            if state is None:
                return None
        return state

    assert after(b"[a]") is not None
    assert after(b"[a") is not None
    assert after(b"[)") is None
    assert after("」".encode()) is None
    assert after("「".encode()) is None  # it can be opened, but no id closes it
    assert after("月".encode()) is not None


def test_what_the_prompt_opened_is_closed_before_the_end() -> None:
    constraint = make(ALL, 6)
    random = np.random.default_rng(3)
    for prompt in ("(a[", '"a', "(“a”)「", "a)]«", ""):
        for _ in range(10):
            text = sample_text(constraint, ALL, random, prompt)
            assert is_balanced(prompt.replace("a)]", "") + text), (prompt, text)


def test_a_prompt_that_opens_more_than_the_length_can_close_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves 3 brackets open, and length is 2; raise it"):
        make(ALL, 2).initial_state(ALL.encode("((["))


def test_a_bracket_that_cannot_be_closed_never_opens() -> None:
    is_allowed = np.ones(ALL.size, np.bool_)
    is_allowed[ALL.encode(")")] = False
    constraint = make(ALL, 20, is_allowed)
    mask = constraint.mask(constraint.initial_state(ALL.encode("(")))

    assert mask is not None
    assert np.isneginf(mask[ALL.encode("()")]).all()
    assert (mask[ALL.encode("[a“")] == 0).all()


def test_where_only_a_pair_would_fit_and_there_is_no_room_the_text_ends() -> None:
    constraint = make(Vocab("()"), 3)
    state = constraint.initial_state(np.zeros(0, np.int64))
    for token in (0, 1):
        assert not constraint.is_finished(state)
        state = constraint.advance(token, state)

    assert constraint.is_finished(state)


def test_masks_are_made_for_kinds_of_states_and_not_for_characters() -> None:
    constraint = make(ALL, 3000)
    masks = {}
    state = constraint.initial_state(ALL.encode(""))
    for token in ALL.encode("a(a)月[a]" * 300).tolist():
        masks[id(constraint.mask(state))] = constraint.mask(state)
        state = constraint.advance(token, state)

    assert len(masks) == 3

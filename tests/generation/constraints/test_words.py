"""Words that a text must have or must not have, against every text there is."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.constraints import words
from charrnn.generation.constraints.words import WordsConstraint, is_spaced_part
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.test_generator import make_model
from tests.reference.constraint import sample_text

SMALL = Vocab.from_text(" ab")
CHINESE = Vocab.from_text("a 明月")
BYTES = Vocab(" ab", has_bytes=True)


def make(vocab: Vocab, length: int, is_allowed: Any = None, **settings: Any) -> WordsConstraint:
    return WordsConstraint(vocab, SampleConfig(length=length, **settings), is_allowed)


def starts_of(text: str, word: str) -> list[int]:
    """Return where a word stands in a text: the slow twin."""
    found = []
    for start in range(len(text)):
        end = start + len(word)
        is_in_word = is_spaced_part(word[0]) and start and is_spaced_part(text[start - 1])
        goes_on = is_spaced_part(word[-1]) and end < len(text) and is_spaced_part(text[end])
        if text.startswith(word, start) and not is_in_word and not goes_on:
            found.append(start)
    return found


def is_good(prompt: str, text: str, must: Sequence[str], ban_word: Sequence[str]) -> bool:
    """Return whether a text after a prompt has the words, and completes none that is banned."""
    whole = prompt + text
    first = len(prompt)
    return all(
        any(start >= first for start in starts_of(whole, word)) for word in must
    ) and not any(
        start + len(word) > first for word in ban_word for start in starts_of(whole, word)
    )


def possible_texts(constraint: WordsConstraint, vocab: Vocab, prompt: str) -> set[str]:
    """Return every text that the constraint allows, following its masks."""
    found = set()

    def visit(state: Any, text: str) -> None:
        if constraint.is_finished(state):
            found.add(text)
            return
        mask = constraint.mask(state)
        allowed = range(vocab.size) if mask is None else np.flatnonzero(mask == 0).tolist()
        assert allowed, text  # no dead end
        for token in allowed:
            visit(constraint.advance(token, state), text + vocab.decode([token]))

    visit(constraint.initial_state(vocab.encode(prompt)), "")
    return found


CASES: list[tuple[Vocab, str, dict[str, tuple[str, ...]]]] = [
    (SMALL, "", {"must": ("ab",)}),
    (SMALL, "b", {"must": ("ab", "b")}),
    (SMALL, "a", {"must": ("ab", "b a")}),
    (SMALL, "", {"must": ("a b", "b a", "a")}),
    (SMALL, "", {"ban_word": ("a", "ab")}),
    (SMALL, "a", {"ban_word": ("ab", "aa")}),
    (SMALL, "ab", {"ban_word": ("ab",)}),
    (SMALL, "b a", {"ban_word": ("a b", "b")}),
    (SMALL, " b", {"must": ("a",), "ban_word": ("a b", "b", "aa")}),
    (SMALL, "", {"must": (" a", "b ")}),
    (CHINESE, "明", {"must": ("明月",)}),
    (CHINESE, "明", {"ban_word": ("明月", "a")}),
    (CHINESE, "", {"must": ("月明月", "月月"), "ban_word": ("明明",)}),
    (CHINESE, "a", {"must": ("a明", "a")}),
]


def check_all_texts(
    vocab: Vocab, prompt: str, length: int, must: Sequence[str], ban_word: Sequence[str]
) -> bool:
    """Check what is possible; return whether anything is."""
    every = map("".join, itertools.product(vocab.alphabet, repeat=length))
    good = {text for text in every if is_good(prompt, text, must, ban_word)}
    settings = {"must": tuple(must), "ban_word": tuple(ban_word)}
    if good:
        assert possible_texts(make(vocab, length, **settings), vocab, prompt) == good
    else:
        with pytest.raises(ConfigError, match=r"no text of|needs at least"):
            make(vocab, length, **settings).initial_state(vocab.encode(prompt))
    return bool(good)


@pytest.mark.parametrize(("vocab", "prompt", "settings"), CASES, ids=str)
def test_exactly_the_texts_that_keep_the_words_are_possible(
    vocab: Vocab, prompt: str, settings: dict[str, tuple[str, ...]]
) -> None:
    must, ban_word = (settings.get(name, ()) for name in ("must", "ban_word"))

    longest = 7 if vocab is SMALL else 5

    check_all_texts(vocab, prompt, 3, must, ban_word)
    assert check_all_texts(vocab, prompt, longest, must, ban_word)


@pytest.mark.parametrize("seed", range(40))
def test_random_words_are_kept_exactly(seed: int) -> None:
    source = random.Random(seed)
    vocab = source.choice([SMALL, CHINESE])
    must, ban_word = (
        ["".join(source.choices(vocab.alphabet, k=source.randint(1, 3))) for _ in range(count)]
        for count in (source.randint(0, 2), source.randint(1, 2))
    )
    prompt = "".join(source.choices(vocab.alphabet, k=source.randint(0, 4)))

    check_all_texts(vocab, prompt, 5, must, ban_word)


def test_where_nothing_is_at_stake_the_model_is_free() -> None:
    constraint = make(SMALL, 100, must=("ab",))

    assert constraint.mask(constraint.initial_state(SMALL.encode(""))) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"must": ("aé", "月b"), "length": 9},
        {"must": ("é",), "ban_word": ("a", "b"), "length": 4},
        {"ban_word": ("aé", "月"), "length": 12},
    ],
)
def test_bytes_spell_words_too(settings: dict[str, Any]) -> None:
    random_numbers = np.random.default_rng(3)
    constraint = make(BYTES, **settings)
    for _ in range(50):
        prompt = "ab é"
        text = sample_text(constraint, BYTES, random_numbers, prompt)[: settings["length"]]

        assert len(text) == settings["length"]
        assert is_good(prompt, text, settings.get("must", ()), settings.get("ban_word", ()))


def test_characters_of_every_width_may_be_written_as_bytes() -> None:
    constraint = make(BYTES, 2, ban_word=("ab",))
    for char in "éकक月\U0001f600\U00020000\U0010ffff":
        state = constraint.initial_state(BYTES.encode(""))
        for token in BYTES.encode(char).tolist():
            mask = constraint.mask(state)
            assert mask is None or mask[token] == 0, char
            state = constraint.advance(token, state)


def test_a_word_that_needs_a_banned_or_an_unknown_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must 'ax' has 'x' \(U\+0078\), which this model never"):
        make(SMALL, 9, must=("ax",))
    with pytest.raises(ConfigError, match=r"ban_word 'x' has 'x'"):
        make(SMALL, 9, ban_word=("x",))
    with pytest.raises(ConfigError, match="no text of 9 characters does what must asks for"):
        make(SMALL, 9, SMALL.encode("ab ") == 0, must=("b",))
    with pytest.raises(ConfigError, match="does what must and ban_word asks for"):
        make(SMALL, 9, must=("a",), ban_word=("a",))


def test_a_length_that_is_too_short_is_refused_with_the_least() -> None:
    with pytest.raises(ConfigError, match="must needs at least 5 characters here, and length is 4"):
        make(SMALL, 4, must=("ab", "ba"))
    make(SMALL, 3, must=("a b", "b"))
    with pytest.raises(ConfigError, match="must needs at least 3 characters here, and length is 2"):
        make(SMALL, 2, must=("ab",)).initial_state(SMALL.encode("a"))


def test_too_many_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MOST_STEPS", 500)

    with pytest.raises(ConfigError, match="must have too many words; ask for fewer or shorter"):
        make(Vocab.from_text("abcdefgh "), 99, must=tuple("abcdefgh"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"must": ("a",), "regex": "a+"}, "must and regex cannot be followed together"),
        ({"ban_word": ("a",), "balanced": True}, "ban_word and balanced cannot"),
        ({"ban_word": ("a",), "max_copy": 9}, "ban_word and max_copy cannot"),
        ({"must": ("a",), "beam": 2}, "must and beam cannot"),
        ({"must": ("a",), "lines": 2}, "lines could end the text before must is complete"),
        ({"must": ("",)}, "must is empty"),
        ({"ban_word": (r"a\n",)}, "with backslashes, which are taken literally"),
    ],
)
def test_what_does_not_go_with_words_is_refused_early(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SampleConfig(**settings)


@pytest.mark.parametrize("temperature", [0, 0.8, 5])
def test_a_text_has_its_words_alone_and_among_others(temperature: float) -> None:
    model: Model = make_model()
    config = SampleConfig(
        must=("bad", "é d"), ban_word=("a", "b"), length=12, seed=2, temperature=temperature
    )

    many = [sample.text for sample in model.generate_many("ab", config, count=9)]

    assert many[3] == "".join(model.generate("ab", config, index=3))
    assert all(is_good("ab", text, config.must, config.ban_word) for text in many)


def test_words_are_normalized_as_the_models_text_was() -> None:
    model = make_model(settings={"normalize": "nfc"})

    assert "é" in "".join(model.generate(must=("e\u0301",), length=3))
